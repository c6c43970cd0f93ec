"""``--json`` of every command: one document on standard output, whatever happens, and an exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from installed_command import COMMAND, run_command, started, wait_until
from small_networks import two_neurons

from deploy.cli.endings import EXIT_CODES
from deploy.cli.json_output import as_json
from deploy.cli.main import _COMMANDS
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.files.whole_files import PREFIX


@pytest.fixture(scope="module")
def place(trained, compiled, tmp_path_factory):
    """A folder with a trained model and its build, and a small model."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(compiled[1], folder / "build")
    shutil.copy(trained[1], folder / "model.pt")
    save_checkpoint(folder / "small.pt", Checkpoint(two_neurons(), {}))
    (folder / "results").mkdir()
    (folder / "results" / "summary-x.json").write_text(
        '{"title": "x", "columns": [], "rows": [], "notes": []}'
    )
    return SimpleNamespace(folder=folder)


def slow(*arguments, marks=()):
    return pytest.param(arguments, None, marks=[pytest.mark.slow, *marks])


def document_of(text):
    """The only document, which has no number that JSON lacks."""

    def refuse(name):
        raise AssertionError(name)

    assert text.isascii()
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (("report", "build"), {"pipeline", "mapping", "costs"}),
        (("report", "--diff", "build", "build"), {"differing", "only_in_one", "same"}),
        (("compile", "small.pt", "--out", "small"), {"pipeline", "mapping", "costs"}),
        (("simulate", "build", "--samples", "8"), {"accuracy", "logits_sha256"}),
        (("trace", "build", "--population", "join"), {"build", "data"}),
        (("compare", "build"), {"comparison", "pe_array_equals_stepped"}),
        (("export", "build", "--format", "nir"), {"file", "format", "losses"}),
        (("reproduce", "page"), {"page"}),
        (("train", "--epochs", "1", "--out", "t.pt"), {"model", "timesteps", "training"}),
        (("doctor",), None),
        slow("verify", "build", "--lava-python", "absent"),
        slow("calibrate", "model.pt", "--epochs", "1", "--samples", "8", "--out", "t.pt"),
        slow("cross-check", "build", marks=[pytest.mark.sanafe]),
        slow("explore", "model.pt", "--budget", "3", "--workers", "2"),
        slow("demo", "--lava-python", "absent"),
        slow("reproduce", "summary", "--data", "digits", "--network", "resnet-mini", "--epochs", "1",
             "--further-epochs", "1"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_success_is_one_document(place, arguments, fields):
    process = run_command(*arguments, "--json", cwd=place.folder)
    assert process.returncode == 0, process.stderr
    document = document_of(process.stdout)
    assert "error" not in document
    assert fields is None or fields <= document.keys()


REFUSED = {
    "demo": ("--out", "model.pt"),
    "train": ("--data", "absent.npz"),
    "convert": ("absent.onnx",),
    "calibrate": ("absent.pt",),
    "compile": ("absent.pt",),
    "explore": ("absent.pt",),
    "simulate": ("absent",),
    "trace": ("absent",),
    "verify": ("absent",),
    "report": ("absent",),
    "compare": ("absent",),
    "cross-check": ("absent",),
    "export": ("absent",),
    "reproduce": ("page", "--out", "absent"),
    "doctor": (),
}


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_refusal_and_a_wrong_option_are_one_document(place, command):
    if REFUSED[command]:
        refused = run_command(command, *REFUSED[command], "--json", cwd=place.folder)
        assert refused.returncode == 2
        error = document_of(refused.stdout)["error"]
        assert error.keys() == {"type", "message", "exit_code"}
        assert error["exit_code"] == 2
        assert error["type"].endswith("Error")
        assert refused.stderr == f"error: {error['message']}\n"
    misused = run_command(command, "--json", "--no-such-option", cwd=place.folder)
    assert misused.returncode == 2
    assert document_of(misused.stdout) == {
        "error": {
            "type": "UsageError",
            "message": "No such option: --no-such-option",
            "exit_code": 2,
        }
    }
    assert "No such option" in misused.stderr
    assert f"qac-deploy {command} --help" in misused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", "--json"), "No such command 'nothing'"),
        (("report", "--json"), "Missing argument"),
        (("simulate", "build", "--json", "--samples", "x"), "'--samples': "),
        (("simulate", "build", "--json", "--engine", "x"), "must be one of "),
    ],
)
def test_other_usage_errors_are_documents(place, arguments, message):
    process = run_command(*arguments, cwd=place.folder)
    assert process.returncode == 2
    assert message in document_of(process.stdout)["error"]["message"]


def test_a_difference_is_the_usual_document_with_exit_code_1(place, tmp_path):
    build = tmp_path / "build"
    shutil.copytree(place.folder / "build", build)
    (build / "report.html").write_text("changed")
    process = run_command("verify", build, "--lava-python", "absent", "--json", cwd=place.folder)
    assert process.returncode == 1
    assert document_of(process.stdout)["rungs"][0]["status"] == "different"


PRINTING = """\
import os, subprocess, sys
import deploy.build.load as load
real = load.load_report

def noisy(*arguments):
    print("printed")
    os.write(1, b"from C")
    subprocess.run(["echo", "from a child"])
    return real(*arguments)

load.load_report = noisy
"""
FAILING = """\
import deploy.build.load as load

def fail(*arguments):
    raise {error}

load.load_report = fail
"""


def patched(folder, source, *arguments, **options):
    """Run a command with a change to the program, as a package of others may behave."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(source)
    return run_command(*arguments, PYTHONPATH=str(folder), **options)


def test_what_others_print_is_not_in_the_document(place, tmp_path):
    process = patched(tmp_path / "patch", PRINTING, "report", "build", "--json", cwd=place.folder)
    assert process.returncode == 0
    assert document_of(process.stdout)["pipeline"]
    for line in ("printed", "from C", "from a child"):
        assert line in process.stderr


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ("MemoryError('8 GiB')", "MemoryError", 2),
        ("OSError(28, 'No space left on device', 'x')", "OSError", 2),
        ("KeyError('x')", "KeyError", 70),
        ("KeyboardInterrupt", "KeyboardInterrupt", 130),
    ],
)
def test_each_other_ending_is_a_document(place, tmp_path, error, kind, code):
    source = FAILING.format(error=error)
    process = patched(tmp_path / "patch", source, "report", "build", "--json", cwd=place.folder)
    assert process.returncode == code
    told = document_of(process.stdout)["error"]
    assert (told["type"], told["exit_code"]) == (kind, code)
    assert ("Traceback" in process.stderr) == (code == 70)


def test_an_interrupt_is_a_document(tmp_path):
    arguments = ("train", "--epochs", "1000", "--out", "model.pt", "--json")
    process = started(*arguments, cwd=tmp_path)
    wait_until((tmp_path / "model.pt.qac.training").exists, process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    message = "interrupted; run the same command with --resume to continue"
    error = {"type": "KeyboardInterrupt", "message": message, "exit_code": 130}
    assert document_of(stdout) == {"error": error}
    assert message in stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(PREFIX)]


@pytest.mark.parametrize("json_option", [(), ("--json",)])
def test_a_closed_output_has_its_own_code(place, json_option):
    command = " ".join([str(COMMAND), "report", "build", *json_option])
    script = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.run(
        ["bash", "-c", script], cwd=place.folder, capture_output=True, text=True, env=environment,
        check=True,
    )  # fmt: skip
    assert process.stdout == "141\n"
    assert process.stderr == ""


def test_a_document_that_cannot_be_written_is_refused(place):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [COMMAND, "report", "build", "--json"],
            cwd=place.folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert process.returncode == 2
    assert "No space left on device; make room on the disk" in process.stderr


@pytest.mark.parametrize("arguments", [("report", "absent"), ("report", "--absent")])
def test_an_error_that_cannot_be_shown_is_still_in_the_document(place, arguments):
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [COMMAND, *arguments, "--json"],
            cwd=place.folder, stdout=subprocess.PIPE, stderr=full, text=True, check=False,
        )  # fmt: skip
    assert process.returncode == 2
    assert document_of(process.stdout)["error"]["exit_code"] == 2


def test_closed_streams_are_no_bug(place):
    script = f"{COMMAND} report build >&- 2>&- <&-"
    assert subprocess.run(["bash", "-c", script], cwd=place.folder, check=False).returncode == 0


def test_a_deleted_current_folder_is_refused(tmp_path):
    script = f"mkdir gone; cd gone; rmdir ../gone; {COMMAND} report build --json"
    process = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    message = "the current folder was deleted; change to another"
    assert document_of(process.stdout)["error"]["message"] == message


def test_a_current_folder_that_is_deleted_meanwhile_is_refused(place, tmp_path):
    source = (
        "import os\nimport deploy.build.load as load\n"
        "def fail(folder):\n    os.rmdir(os.getcwd())\n    os.path.abspath(folder)\n"
        "load.load_report = fail\n"
    )
    (tmp_path / "gone").mkdir()
    process = patched(
        tmp_path / "patch", source, "report", "build", "--json", cwd=tmp_path / "gone"
    )
    assert process.returncode == 2
    assert "the current folder was deleted" in document_of(process.stdout)["error"]["message"]


def test_numbers_that_json_lacks_are_null():
    assert json.loads(as_json({"x": [float("nan"), float("inf"), 1.5]})) == {"x": [None, None, 1.5]}


def test_a_file_name_that_is_not_utf8_comes_back(place):
    name = os.fsdecode(b"no\xff")
    process = run_command("report", name, "--json", cwd=place.folder)
    assert "no\\udcff/manifest.json" in document_of(process.stdout)["error"]["message"]
    shutil.copytree(place.folder / "build", place.folder / name)
    process = run_command("trace", name, "--population", "join", "--json", cwd=place.folder)
    assert os.fsencode(document_of(process.stdout)["build"]) == b"no\xff"


def test_help_and_documentation_name_every_exit_code_and_document(place):
    shown = run_command("--help", cwd=place.folder).stdout
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"{code}: {meaning[:40]}" in shown
        assert f"\n| {code} | " in page
    documents = page[page.index("| command | document |") :].partition("\n\n")[0]
    for command in _COMMANDS:
        assert re.search(rf"^\|.*`{command}`.*\|.*\|$", documents, re.MULTILINE), command
