"""A signal ends a command with exit code 130 and without a traceback, wherever it arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from installed_command import started, wait_until
from proc import processes_in

COMMAND = [sys.executable, "-c", "from deploy.cli.entry import main; main()"]

AT_IMPORT = """\
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == os.environ["AT_IMPORT_OF"]:
            sys.meta_path.remove(self)
            signal.raise_signal(int(os.environ["SIGNAL"]))

sys.meta_path.insert(0, Finder())
"""

AT_EXIT = """\
import atexit, os, signal

atexit.register(lambda: signal.raise_signal(int(os.environ["SIGNAL"])))
"""

LOST = """\
import signal, time
from deploy.cli.signals import ended_by_signals

class Closed:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

with ended_by_signals():
    closed = Closed()
    del closed
    time.sleep(600)
"""

SWALLOWED = """\
import signal
from deploy.cli.signals import ended_by_signals

with ended_by_signals():
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException:
        raise ImportError("a module that cannot be imported")
"""


def ended(tmp_path, patch, *arguments, **environment):
    """A command that runs with a patch."""
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(patch)
    variables = {**os.environ, "PYTHONPATH": str(tmp_path / "patch"), **environment}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=tmp_path, env=variables, capture_output=True, text=True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("typer", signal.SIGINT),
        ("deploy.cli.train", signal.SIGHUP),
        ("torch", signal.SIGTERM),
        ("numpy.linalg", signal.SIGINT),
    ],
)
def test_a_signal_while_modules_are_imported(tmp_path, module, number):
    run = ended(tmp_path, AT_IMPORT, "train", AT_IMPORT_OF=module, SIGNAL=str(int(number)))
    assert (run.returncode, run.stderr) == (130, "")


def test_a_signal_while_the_interpreter_ends(tmp_path):
    run = ended(tmp_path, AT_EXIT, "--version", SIGNAL=str(int(signal.SIGTERM)))
    assert run.returncode == 130
    assert run.stdout.startswith("qac-deploy ")
    assert run.stderr == ""


@pytest.mark.parametrize("code", [LOST, SWALLOWED], ids=["lost", "swallowed"])
def test_a_signal_that_a_library_loses(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (130, "")


def test_an_ignored_signal_stays_ignored():
    """As below ``nohup``."""
    code = (
        "import signal\nfrom deploy.cli.signals import ended_by_signals\n"
        "with ended_by_signals(): signal.raise_signal(signal.SIGHUP)"
    )
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


KILLED = (
    "train",
    "compile",
    "explore --workers",
    "simulate --workers",
    "report --diff",
    "export c",
    "lava",
)
"""Commands that resume, have workers, replace a folder or a file, or run Lava."""


@pytest.mark.slow
def test_killed_runs_leave_nothing_and_go_on():
    """Eight times; ``make kills`` does it 200 times, to every command."""
    kills = Path(__file__).parent.parent / "kills"
    arguments = ("--number", "8", "--only", ",".join(KILLED))
    run = subprocess.run([sys.executable, kills, *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "8 kills" in run.stdout


@pytest.mark.slow
def test_the_workers_of_a_killed_training_end(tmp_path):
    """Each device has a process of its own; that of the second one may wait for the first without end."""
    command = ("train", "--devices", 2, "--epochs", 1000, "--width", 0.25)
    process = started(*command, cwd=tmp_path)
    try:
        wait_until(lambda: len(processes_in(tmp_path)) > 1, process)
        time.sleep(2)  # the second one has begun
        process.kill()
        process.communicate()
        wait_until(lambda: not processes_in(tmp_path), seconds=20)
    finally:
        process.kill()
