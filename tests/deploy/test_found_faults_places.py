"""Places that cannot be read or written: a message and exit code 2, and what was there stays."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess

import pytest
from installed_command import run_command


def refused(process, *names):
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    for name in names:
        assert name in re.sub(r"[\s│]", "", process.stderr)  # a box may break it


OUTPUTS = {"no name": "", "a long name": "n" * 300, "no folder": "/proc/none/x"}
COMMANDS = {
    "compile": ("compile", "{model}", "--out"),
    "train": ("train", "--epochs", "1000", "--out"),
    "calibrate": ("calibrate", "{model}", "--epochs", "1000", "--out"),
    "export": ("export", "{build}", "--out"),
    "explore": ("explore", "{model}", "--out"),
    "compare": ("compare", "{build}", "--plot"),
    "reproduce": ("reproduce", "page", "--out"),
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_is_refused_before_any_work(
    qac_deploy, small_build, tmp_path, command, output
):
    filled = [
        part.format(model=small_build / "model.pt", build=small_build) for part in COMMANDS[command]
    ]
    path = OUTPUTS[output]
    refused(qac_deploy(*filled, path, timeout=60), path)
    assert list(tmp_path.iterdir()) == []


def test_markup_in_the_name_of_an_output_is_a_name(qac_deploy, small_build, tmp_path):
    model = small_build / "model.pt"
    process = qac_deploy("compile", model, "--out", "[/x]", "--samples", 2)
    assert process.returncode == 0, process.stderr
    assert "[/x]/report.html" in process.stdout
    assert (tmp_path / "[" / "x]" / "report.html").is_file()


@contextlib.contextmanager
def full_disk(folder, size="2m"):
    """A file system of its own that holds nearly nothing more."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


EXPORTS = ("nir", "onnx", "sanafe")


def test_a_full_disk_under_an_export_and_a_simulation(small_build, tmp_path):
    with full_disk(tmp_path / "disk") as disk:
        shutil.copytree(small_build, disk / "build")
        with contextlib.suppress(OSError), (disk / "ballast").open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        before = contents(disk)
        for form in EXPORTS:
            refused(run_command("export", "build", "--format", form, cwd=disk), "Nospaceleft")
            assert contents(disk) == before
        refused(run_command("simulate", "build", cwd=disk), "Nospaceleft")
        assert contents(disk) == before


def contents(folder):
    return {
        path.relative_to(folder): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


def test_a_home_that_cannot_be_written(qac_deploy, small_build, tmp_path):
    """Nothing is needed there."""
    (tmp_path / "home").write_text("a file")
    for command in (
        ("report", small_build),
        ("compare", small_build, "--plot", "array.png"),
        ("compile", small_build / "model.pt", "--samples", 2),
    ):
        process = qac_deploy(
            *command, HOME=str(tmp_path / "home"), XDG_CACHE_HOME="", MPLCONFIGDIR=""
        )
        assert process.returncode == 0, process.stderr
        assert "Traceback" not in process.stderr
    assert (tmp_path / "home").read_text() == "a file"


def test_nothing_waits_for_a_fifo(qac_deploy, small_build, tmp_path):
    model = small_build / "model.pt"
    os.mkfifo(tmp_path / "manifest.json")  # read to see whether the folder is one of ours
    os.mkfifo(tmp_path / "pipe.pt")
    refused(qac_deploy("compile", "pipe.pt", timeout=60), "pipe.pt")
    os.mkfifo(tmp_path / "out.exploration.lock")
    refused(
        qac_deploy("explore", model, "--out", "out", "--budget", 1, timeout=60),
        "nolockofqac-deploy",
    )
    for name in ("report.json", "lava/weights.npz"):
        shutil.copytree(small_build, tmp_path / "b")
        (tmp_path / "b" / name).unlink()
        os.mkfifo(tmp_path / "b" / name)
        refused(qac_deploy("verify", "b", timeout=60), f"b/{name}:isnoregularfile")
        shutil.rmtree(tmp_path / "b")


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_in_the_place_of_a_lock_stays(qac_deploy, small_build, tmp_path, is_link):
    lock, precious = tmp_path / "out.exploration.lock", tmp_path / "precious"
    (precious if is_link else lock).write_text("precious")
    if is_link:
        lock.symlink_to(precious)
    model = small_build / "model.pt"
    refused(qac_deploy("explore", model, "--out", "out", "--budget", 1), lock.name)
    assert lock.is_symlink() == is_link
    assert lock.read_text() == "precious"
