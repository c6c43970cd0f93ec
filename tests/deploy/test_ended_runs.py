"""Runs that are ended from outside leave nothing behind, or the next run clears it away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from installed_command import started, wait_until
from small_networks import two_neurons

from deploy.build.load import load_build
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.files.whole_files import PREFIX, scratch_folder

SLOW = """\
import os, pathlib, shutil, time

def slow(*arguments, **options):
    pathlib.Path("reached").touch()
    time.sleep(600)

shutil.copyfile = os.replace = slow
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """One whose build takes little time."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_checkpoint(path, Checkpoint(two_neurons(), {}))
    return path


def started_slowly(*arguments, cwd):
    """A command that has prepared its output and takes long over the last step."""
    (cwd / "patch").mkdir()
    (cwd / "patch" / "sitecustomize.py").write_text(SLOW)
    process = started(*arguments, cwd=cwd, PYTHONPATH=str(cwd / "patch"))
    wait_until((cwd / "reached").exists, process)
    shutil.rmtree(cwd / "patch")
    (cwd / "reached").unlink()
    return process


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_compile_run_that_is_ended_leaves_nothing(model, tmp_path, number):
    process = started_slowly("compile", model, cwd=tmp_path)
    assert [name for name in names(tmp_path) if name.startswith(PREFIX)]
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert names(tmp_path) == []


def test_an_export_that_is_ended_leaves_nothing(compiled, tmp_path):
    process = started_slowly("export", compiled[1], cwd=tmp_path)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert names(tmp_path) == []


def test_the_next_run_clears_away_what_a_killed_one_left(model, tmp_path, qac_deploy):
    process = started_slowly("compile", model, cwd=tmp_path)
    process.kill()
    process.communicate(timeout=60)
    (left,) = names(tmp_path)
    assert left.startswith(PREFIX)
    assert qac_deploy("compile", model).returncode == 0
    assert names(tmp_path) == ["build"]
    load_build(tmp_path / "build")


def processes_of(folder):
    """Numbers of the processes of a run in Lava."""
    listing = subprocess.run(["ps", "-wweo", "stat,pid,args"], capture_output=True, text=True)
    lines = [line for line in listing.stdout.splitlines() if f"--out {folder}" in line]
    return [int(line.split()[1]) for line in lines if line[0] != "Z"]


def shared_memory():
    return sorted(os.listdir("/dev/shm"))


@pytest.mark.lava
@pytest.mark.parametrize(
    "command", [("simulate", "--engine", "lava"), ("verify",)], ids=lambda command: command[0]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_lava_ends_with_the_command(compiled, tmp_path, monkeypatch, command, number):
    """A request lets the command clean up; when it is killed, Lava notices, and the next run cleans up."""
    name, *options = command
    process = started(
        *(name, compiled[1], *options, "--samples", 540), cwd=tmp_path, TMPDIR=str(tmp_path)
    )
    wait_until(lambda: len(processes_of(tmp_path)) >= 4, process)  # Lava's own processes, too
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_until(lambda: not processes_of(tmp_path), seconds=30)
    left = [entry for entry in names(tmp_path) if entry.startswith(PREFIX)]
    assert bool(left) == (number == signal.SIGKILL)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent.parent == Path(tmp_path)
    assert not [entry for entry in names(tmp_path) if entry.startswith(PREFIX)]


@pytest.mark.lava
def test_shared_memory_of_processes_killed_all_at_once_is_removed(compiled, tmp_path, monkeypatch):
    """None of them is left to remove it, so the next run does, and nothing of others."""
    (other := Path("/dev/shm/qac-deploy-of-another")).write_text("mine")
    command = ("simulate", compiled[1], "--engine", "lava", "--samples", 540)
    process = started(*command, cwd=tmp_path, TMPDIR=str(tmp_path))
    try:
        wait_until(lambda: len(processes_of(tmp_path)) >= 4, process)
        stopped = [process.pid, *processes_of(tmp_path)]
        tracker = [pid for pid in children_of(stopped) if pid not in stopped]
        for pid in (*stopped, *tracker):
            os.kill(pid, signal.SIGSTOP)  # so that none notices the end of another
        for pid in (*stopped, *tracker):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        started_names = {path.name.lstrip(".") for path in tmp_path.glob(f"{PREFIX}*")}
        left = [name for name in shared_memory() if name.rpartition("-")[0] in started_names]
        assert left
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with scratch_folder():
            pass
        assert not set(left) & set(shared_memory())
        assert other.read_text() == "mine"
    finally:
        process.kill()
        other.unlink()


def children_of(parents):
    listing = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True).stdout
    pairs = [[int(word) for word in line.split()] for line in listing.splitlines()[1:]]
    return [pid for pid, parent in pairs if parent in parents]
