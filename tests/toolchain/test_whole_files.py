"""Files and folders that are put in place whole or not at all, whenever a run is interrupted."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time

import pytest

from toolchain.files import exchange
from toolchain.files.whole_files import ANY_FILE, PREFIX, clear_abandoned, staging, whole_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_the_staging_folder_is_removed_waits(tmp_path, monkeypatch, number):
    remove, reached = shutil.rmtree, []

    def interrupted(folder, **options):
        for _ in range(2):  # an impatient user
            signal.raise_signal(number)
        reached.append(folder)
        remove(folder, **options)

    def write():
        with whole_file(tmp_path / "table.csv", ANY_FILE) as part:
            part.write_text("whole")
            monkeypatch.setattr(shutil, "rmtree", interrupted)

    earlier = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write()
    finally:
        signal.signal(number, earlier)
    assert reached
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("left", [[], ["lock.new"]])
def test_an_empty_staging_folder_is_abandoned_after_a_moment(tmp_path, left):
    """A run may be killed before it has its lock, or after that is removed."""
    folder = tmp_path / f"{PREFIX}killed"
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    clear_abandoned(tmp_path)
    assert folder.exists()
    os.utime(folder, (time.time() - 60,) * 2)
    clear_abandoned(tmp_path)
    assert not folder.exists()


@pytest.fixture(params=["in one step", "in two steps"])
def way(request, monkeypatch):
    if request.param == "in two steps":
        monkeypatch.setattr(exchange, "exchange", lambda new, destination: False)
    elif not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("needs renameat2 of Linux")
    return request.param


def folder_of(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another_one(tmp_path, way):
    folder_of(tmp_path / "build", "1")
    with staging(tmp_path / "build") as prepared:
        exchange.put_in_place(folder_of(prepared.new, "2"), tmp_path / "build", prepared.old)
        replaced = prepared.new if way == "in one step" else prepared.old
        assert (replaced / "file").read_text() == "1"
    assert (tmp_path / "build" / "file").read_text() == "2"
    assert names(tmp_path) == ["build"]


def test_a_folder_takes_a_free_place(tmp_path, way):
    exchange.put_in_place(folder_of(tmp_path / "new", "1"), tmp_path / "build", tmp_path / "old")
    assert names(tmp_path) == ["build"]


def test_a_folder_that_cannot_be_moved_leaves_the_other_one(tmp_path, way):
    folder_of(tmp_path / "build", "1")
    with pytest.raises(OSError, match="new"):
        exchange.put_in_place(tmp_path / "new", tmp_path / "build", tmp_path / "old")
    assert (tmp_path / "build" / "file").read_text() == "1"
    assert names(tmp_path) == ["build"]


def test_a_folder_that_another_run_puts_in_place_meanwhile_is_replaced(tmp_path, monkeypatch):
    """Where a system cannot exchange two folders, another run finds the place free for a moment."""
    folder_of(tmp_path / "build", "1")
    monkeypatch.setattr(exchange, "exchange", lambda new, destination: False)
    rename = os.rename

    def slow(source, target, **options):
        rename(source, target, **options)
        if str(target) == str(tmp_path / "old"):
            monkeypatch.setattr(os, "rename", rename)
            folder_of(tmp_path / "build", "2")

    monkeypatch.setattr(os, "rename", slow)
    exchange.put_in_place(folder_of(tmp_path / "new", "3"), tmp_path / "build", tmp_path / "old")
    assert (tmp_path / "build" / "file").read_text() == "3"
    assert (tmp_path / "old" / "file").read_text() == "2"
