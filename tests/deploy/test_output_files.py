"""What a command writes appears whole or not at all, and takes the place of nothing but its own kind."""

from __future__ import annotations

import fcntl
import json
import os
import stat

import pytest

from toolchain.errors import ModelFileError
from toolchain.files.whole_files import ANY_FILE, MODEL_FILE, PREFIX, staging, whole_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_training_refuses_a_device_before_it_trains(qac_deploy):
    process = qac_deploy("train", "--out", "/dev/null", "--epochs", 1000, timeout=60)
    assert process.returncode == 2
    assert process.stderr == (
        "error: /dev/null: is not a regular file, so it is not replaced; choose another with --out\n"
    )
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize(
    ("thing", "command"),
    [
        ("a text", ("train", "--out")),
        ("a pipe", ("train", "--epochs", "1000", "--out", "model.pt")),  # its state file
        ("a text", ("convert", "qcfs.pth", "--arch", "resnet-20", "--out")),
        ("a pipe", ("calibrate", "{model}", "--out")),
        ("a text", ("export", "{build}", "--out")),
        ("a pipe", ("compare", "{build}", "--plot")),
        ("a text", ("simulate", "{copy}")),  # its journal
    ],
)
def test_every_file_that_is_written_replaces_its_own_kind_alone(
    qac_deploy, trained, compiled, tmp_path, thing, command
):
    os.symlink(compiled[1], tmp_path / "copy")
    target = {
        "--plot": tmp_path / "thesis.png",
        "model.pt": tmp_path / "model.pt.qac.training",
        "{copy}": compiled[1].with_name("build.simulation"),
    }.get(command[-1], tmp_path / "thesis.tex")
    filled = [
        part.format(model=trained[1], build=compiled[1], copy=tmp_path / "copy") for part in command
    ]
    if command[-1].startswith("--"):
        filled.append(target.name)
    if thing == "a pipe":
        os.mkfifo(target)
    else:
        target.write_text("years of work")
    try:
        process = qac_deploy(*filled, timeout=120)
        assert process.returncode == 2, process.stdout
        assert target.name in process.stderr
        assert "so it is not replaced; " in process.stderr
        if thing == "a text":
            assert target.read_text() == "years of work"
        else:
            assert stat.S_ISFIFO(target.lstat().st_mode)
    finally:
        target.unlink()
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_a_symbolic_link_stays_and_the_file_that_it_names_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real").write_text("old")
    (tmp_path / "link").symlink_to("disk/real")
    with whole_file(tmp_path / "link", ANY_FILE) as part:
        part.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "real").read_text() == "new"
    assert names(tmp_path) == ["disk", "link"]
    assert names(tmp_path / "disk") == ["real"]


def test_an_error_while_writing_leaves_the_earlier_file(tmp_path):
    (tmp_path / "table.csv").write_text("old")

    def write():
        with whole_file(tmp_path / "table.csv", ANY_FILE) as part:
            part.write_text("half")
            raise OSError("No space left on device")

    with pytest.raises(ModelFileError, match=r"cannot be written \(No space left on device\)"):
        write()
    assert (tmp_path / "table.csv").read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


@pytest.fixture
def abandoned(tmp_path):
    """A staging folder as a killed run leaves it, with an earlier build that had just stepped aside."""
    folder = tmp_path / f"{PREFIX}killed"
    (folder / "new").mkdir(parents=True)
    (folder / "old").mkdir()
    (folder / "old" / "file").write_text("the earlier build")
    (folder / "lock").write_text(json.dumps({"destination": "build"}))
    return folder


def test_what_a_killed_run_left_is_cleared_and_what_waited_in_it_put_back(tmp_path, abandoned):
    with staging(tmp_path / "other"):
        assert not abandoned.exists()
    assert names(tmp_path) == ["build"]
    assert (tmp_path / "build" / "file").read_text() == "the earlier build"


def test_what_waited_is_dropped_where_its_successor_is_in_place(tmp_path, abandoned):
    (tmp_path / "build").mkdir()
    with staging(tmp_path / "other"):
        pass
    assert names(tmp_path) == ["build"]
    assert names(tmp_path / "build") == []


def test_a_staging_folder_in_use_is_left_alone(tmp_path, abandoned):
    with (abandoned / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with staging(tmp_path / "other"):
            pass
        assert abandoned.exists()


@pytest.mark.parametrize(
    "change", ["a file more", "no lock", "a strange lock", "a deep lock", "a link"]
)
def test_a_folder_that_only_looks_like_staging_is_left_alone(tmp_path, abandoned, change):
    match change:
        case "a file more":
            (abandoned / "notes.txt").write_text("mine")
        case "no lock":
            (abandoned / "lock").unlink()
        case "a strange lock":
            (abandoned / "lock").write_text("mine")
        case "a deep lock":
            (abandoned / "lock").write_text("[" * 100_000)
        case "a link":
            abandoned.rename(tmp_path / "real")
            abandoned.symlink_to(tmp_path / "real")
    with staging(tmp_path / "other"):
        pass
    assert (abandoned / "old" / "file").read_text() == "the earlier build"


def test_a_model_may_be_replaced_by_a_model(trained, tmp_path):
    (tmp_path / "model.pt").write_bytes(trained[1].read_bytes())
    with whole_file(tmp_path / "model.pt", MODEL_FILE) as part:
        part.write_bytes(b"new")
    assert (tmp_path / "model.pt").read_bytes() == b"new"
