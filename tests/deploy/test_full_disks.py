"""Disks that are full or read-only: one line, exit code 2, the earlier output whole, and nothing left."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from installed_command import COMMAND, run_command
from small_networks import two_neurons

from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.files.whole_files import PREFIX

ROOM = 8_192


@pytest.fixture
def disk(tmp_path):
    """An own small disk, with a model and builds of two runs."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a disk")
    save_checkpoint(place / "model.pt", Checkpoint(two_neurons(), {}))
    yield place
    subprocess.run(["umount", place], check=True)


def fill(disk):
    """Leave room for little."""
    with (disk / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            file.truncate(file.tell() - ROOM)


def make_read_only(disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "fill"}


COMMANDS = {
    "compile": ("compile", "model.pt", "--slots", 3),
    "export c": ("export", "build", "--format", "c"),
    "export nir": ("export", "build", "--format", "nir"),
    "report --diff": ("report", "--diff", "build", "other", "--out", "diff.html"),
    "compare --plot": ("compare", "build", "--plot", "compare.png"),
    "calibrate": ("calibrate", "model.pt", "--data", "digits", "--out", "model.pt"),
    "train": ("train", "--epochs", 1, "--data", "digits", "--width", 0.25, "--out", "model.pt"),
}
"""Commands that write more than there is room for."""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("spoil", [fill, make_read_only])
def test_output_that_finds_no_room(disk, spoil, name):
    check_output_that_finds_no_room(disk, spoil, name)


@pytest.mark.parametrize("spoil", [fill, make_read_only])
def test_a_build_that_finds_no_room(disk, spoil):
    check_output_that_finds_no_room(disk, spoil, "compile")


def check_output_that_finds_no_room(disk, spoil, name):
    for earlier in (
        ("compile", "model.pt"),
        ("compile", "model.pt", "--slots", 4, "--out", "other"),
        *([COMMANDS[name]] if name not in ("calibrate", "compile", "train") else []),
    ):
        process = run_command(*earlier, cwd=disk)
        assert process.returncode == 0, process.stderr
    if name == "calibrate":
        shutil.copy(trained_on_digits(disk), disk / "model.pt")
    before = contents(disk)
    spoil(disk)
    process = run_command(*COMMANDS[name], cwd=disk)
    assert process.returncode == 2, process.stdout
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    assert ("No space left" if spoil is fill else "Read-only") in process.stderr
    assert contents(disk) == before
    assert not list(disk.glob(f"{PREFIX}*"))


def trained_on_digits(disk):
    path = disk.parent / "trained.pt"
    process = run_command(*COMMANDS["train"][:-1], path, cwd=disk.parent)
    assert process.returncode == 0, process.stderr
    return path


@pytest.mark.parametrize("temporary", ["/nonexistent", "{disk}"])
def test_no_folder_for_temporary_files(disk, compiled, temporary, tmp_path):
    """A missing one is passed over, as Python does; a full one is said."""
    fill(disk)
    if "disk" in temporary:
        with (disk / "fill").open("ab") as file, contextlib.suppress(OSError):
            file.write(bytes(ROOM))
    command = ("trace", compiled[1], "--population", "join", "--engine", "rtl")
    process = run_command(*command, cwd=tmp_path, TMPDIR=temporary.format(disk=disk))
    assert "Traceback" not in process.stderr
    assert process.returncode in (0, 2)
    assert not list(disk.glob(f"{PREFIX}*"))


@pytest.mark.parametrize(
    ("redirections", "code"),
    [("0<&-", 0), (">&-", 0), ("2>&-", 0), ("0<&- >&- 2>&-", 0), (">/dev/full", 2), ("2>/dev/full", 0)],
)  # fmt: skip
def test_streams_that_are_closed_or_full(compiled, tmp_path, redirections, code):
    """No file of ours gets the number of a stream that a shell closed, and a full one is said."""
    shutil.copytree(compiled[1], tmp_path / "build")
    line = f'exec "{COMMAND}" report build {redirections}'
    run = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    if code:
        assert run.stderr.startswith("error: a file or the output: No space left on device")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["build"]
