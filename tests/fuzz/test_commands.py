"""Random command lines and odd environments: no traceback, one message, no other file changed."""

from __future__ import annotations

import json
import shutil

import pytest
from fuzz import command_lines, environments
from fuzz.judged_commands import Ending, changed, contents, faults_of


def test_random_command_lines():
    result = command_lines.run(seconds=600, seed=7, count=20)
    assert result["cases"] == 20
    assert result["findings"] == [], json.dumps(result["findings"], indent=1)
    assert result["codes"].keys() >= {"0", "2"}


def test_a_seed_and_a_number_give_one_command_line():
    known = command_lines.commands()
    lines = [command_lines.command_line(3, n, known, "given") for n in range(300)]
    assert lines == [command_lines.command_line(3, n, known, "given") for n in range(300)]
    assert {line[0] for line in lines} == known.keys()
    assert not {part for line in lines for part in line} & command_lines.NEVER


ODD = [
    ("shown", ["output in ASCII", "COLUMNS=0", "no HOME"]),
    (
        "simulate",
        ["HOME is under /proc", "TERM is unknown", "COLUMNS is no number", "no assertions"],
    ),
    ("refused", ["errors are closed", "output is full"]),
    ("report", ["folder is deleted"]),
    ("export", ["small files alone"]),
    ("plot", ["MPLBACKEND is unknown", "MPLCONFIGDIR is read-only", "umask 777"]),
]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return environments.Runner(tmp_path_factory.mktemp("odd"))


@pytest.mark.parametrize(
    ("command", "names"),
    ODD,
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_odd_environments(runner, command, names):
    _, faults = runner.judge(command, names)
    assert faults == []


MESSAGE = "error: model.pt: no such file; make one\n"


@pytest.mark.parametrize(
    ("ending", "with_json", "fault"),
    [
        ({"code": 2, "stderr": MESSAGE}, False, None),
        ({"code": 1}, False, None),
        ({"code": 3}, False, "exit code 3"),
        ({"code": -9}, False, "exit code -9"),
        ({"code": 1, "stderr": "Traceback (most recent call last):"}, False, "a traceback"),
        ({"code": 2}, False, "0 messages"),
        ({"code": 2, "stderr": 2 * MESSAGE}, False, "2 messages"),
        ({"code": 2, "stderr": "error: x\n"}, False, "a message without a reason"),
        ({"code": 130, "was_interrupted": True}, False, "more than 20 s"),
        ({"code": 0, "peak_bytes": 2 * 10**9}, False, "2.0 GB"),
        ({"code": 0, "stdout": "{}"}, True, None),
        ({"code": 0, "stdout": "{}\n{}"}, True, "standard output is not one JSON document"),
        ({"code": 2, "stdout": "{}"}, True, "a refusal whose JSON document has no error"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(ending, with_json, fault):
    faults = faults_of(Ending(**{"stdout": "", "stderr": "", **ending}), with_json=with_json)
    assert faults == ([] if fault is None else [fault])


def test_any_change_of_a_file_is_found(tmp_path):
    (tmp_path / "a").write_text("1")
    before = contents(tmp_path)
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").symlink_to("a")
    assert changed(before, contents(tmp_path)) == ["a", "b"]
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert changed(before, contents(tmp_path)) == ["a"]
