"""``qac-deploy demo``: the whole flow, each step shown as the command that does the same."""

from __future__ import annotations

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli.demo import demo
from deploy.cli.json_output import print_json

STEPS = (
    "qac-deploy train --data digits --out demo/model.pt",
    "qac-deploy compile demo/model.pt --target loihi-sim --out demo/build",
    "qac-deploy simulate demo/build --engine exact",
    "qac-deploy simulate demo/build --engine lava --samples 16",
    "qac-deploy compare demo/build",
)


def app_of_steps(codes):
    """Commands that print their names and end with given codes."""
    app = typer.Typer()
    app.command("demo")(demo)

    def add(name, code):
        @app.command(name, context_settings={"ignore_unknown_options": True})
        def command(context: typer.Context, words: list[str]):
            print_json([name, *words])
            raise typer.Exit(code)

    for name in ("train", "compile", "simulate", "compare"):
        add(name, codes.get(name, 0))
    return app


@pytest.fixture
def no_lava(monkeypatch, tmp_path):
    monkeypatch.setenv("QAC_DEPLOY_LAVA_PYTHON", str(tmp_path / "absent"))
    monkeypatch.chdir(tmp_path)


def test_steps_are_the_commands_shown_and_lava_is_skipped_with_a_reason(no_lava):
    result = CliRunner().invoke(app_of_steps({}), ["demo", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert tuple(step["command"] for step in document["steps"]) == STEPS
    for step in document["steps"]:
        if "lava" in step["command"]:
            assert step["result"] is None
            assert "doctor --create-lava-env" in step["skipped"]
        else:
            assert ["qac-deploy", *step["result"]] == [*step["command"].split(), "--json"]
            assert step["skipped"] is None
    assert document["report"] == "demo/build/report.html"


def test_a_step_that_fails_ends_the_demo_with_its_code(no_lava):
    result = CliRunner().invoke(app_of_steps({"simulate": 1}), ["demo"])
    assert result.exit_code == 1
    shown = re.findall(r"\$ (qac-deploy .*)", result.stdout)
    assert tuple(shown) == STEPS[:3]


def test_places_that_cannot_be_written_are_refused_before_the_training(qac_deploy, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full" / "build").mkdir(parents=True)
    (tmp_path / "full" / "build" / "mine").touch()
    in_file = qac_deploy("demo", "--out", "file")
    assert in_file.returncode == 2
    assert in_file.stderr.startswith("error: file: cannot be made (")
    in_full = qac_deploy("demo", "--out", "full")
    assert in_full.returncode == 2
    assert "full/build: exists and is not a build folder, so it is not replaced" in in_full.stderr
    assert not (tmp_path / "full" / "model.pt").exists()


@pytest.mark.slow
def test_the_whole_demo(qac_deploy, tmp_path):
    process = qac_deploy("demo", timeout=900, OMP_NUM_THREADS="1")
    assert process.returncode == 0, process.stderr
    assert tuple(re.findall(r"^\$ (.*)$", process.stdout, re.MULTILINE)) == STEPS
    assert "exact engine: 9" in process.stdout
    assert "equal  PE array = stepped engine" in process.stdout
    assert (
        "equal  counts, trains and logits = stepped engine" in process.stdout
        or "skipped: " in process.stdout
    )
    *_, last = process.stdout.splitlines()
    assert last == "demo/build/report.html is the report: open it in a browser"
    assert (tmp_path / "demo" / "build" / "report.html").stat().st_size > 100_000
