"""Files that appear whole or not at all, written in staging folders that no ended run leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolchain.errors import ModelFileError

PREFIX = ".qac-deploy-"
"""What the name of every staging folder begins with."""

MANIFEST = "manifest.json"
"""In a folder that is written as a whole, such as a build: the digests of its files."""

_LOCK, _UNLOCKED = "lock", "lock.new"
_NEW, _OLD = "new", "old"
_HEAD_BYTES = 512


@dataclass(frozen=True)
class FileKind:
    """Files of one kind, and how one is recognised before it is replaced.

    Attributes:
        name: with its article, for messages.
        marks: all of these occur in the first bytes of such a file; without marks any file will do.
    """

    name: str
    marks: tuple[bytes, ...] = ()


MODEL_FILE = FileKind("a model file", (b"PK\x03\x04", b"/data.pkl"))
TRAINING_STATE = FileKind("a training state", (b"PK\x03\x04", b"/data.pkl"))
SIMULATION_JOURNAL = FileKind("the state of a simulation", (b"qac-deploy simulation",))
HDF5_FILE = FileKind("an HDF5 file", (b"\x89HDF\r\n\x1a\n",))
PNG_FILE = FileKind("a PNG picture", (b"\x89PNG\r\n\x1a\n",))
SVG_FILE = FileKind("an SVG picture", (b"<!DOCTYPE svg",))
ANY_FILE = FileKind("a file")


@dataclass(frozen=True)
class Staging:
    """A locked folder in which something is prepared that is to take a destination's place.

    Attributes:
        new: where to prepare it; does not exist at first.
        old: where what was at the destination waits until its successor is in place.
    """

    folder: Path

    @property
    def new(self) -> Path:
        return self.folder / _NEW

    @property
    def old(self) -> Path:
        return self.folder / _OLD


@contextmanager
def whole_file(path: Path, kind: FileKind, *, option: str = "--out") -> Iterator[Path]:
    """A path of the same name to write to; what is written takes the place of ``path`` at the end.

    On any error or interrupt nothing is left of it, and what was there before stays. Where ``path`` is a
    symbolic link, the file that it names is replaced.

    Args:
        option: of the command line, with which another path can be chosen.

    Raises:
        ModelFileError: what is at ``path`` is not of that kind, or it cannot be written.
    """
    require_replaceable_file(path, kind, option=option)
    try:
        real = path.resolve()
        with staging(real) as prepared:
            prepared.new.mkdir()
            part = prepared.new / real.name
            yield part
            os.replace(part, real)
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be written ({error}); nothing was changed; choose another with {option}"
        ) from error


def require_replaceable_file(path: Path, kind: FileKind, *, option: str = "--out") -> None:
    """Nothing is at a path, or a file of a kind; asked early by what runs long before it writes.

    Raises:
        ModelFileError: something else is there, or no folder to write it in.
    """
    try:
        if not path.resolve().parent.is_dir():
            raise ModelFileError(f"{path}: no such folder as {path.parent}; make it first")
        require_outside_ours(path, option=option)
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelFileError(
                f"{path}: is not a regular file, so it is not replaced; choose another with {option}"
            )
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"{path}: cannot be written ({error}); choose another with {option}"
        ) from error
    if head and not all(mark in head for mark in kind.marks):
        raise ModelFileError(
            f"{path}: exists and is not {kind.name}, so it is not replaced; choose another with {option}"
        )


def require_outside_ours(path: Path, *, option: str = "--out") -> None:
    """A path does not lie in a folder that is written as a whole, and would not be as it was written then.

    Raises:
        ModelFileError: it does.
    """
    for folder in path.resolve().parents:
        with suppress(OSError, ValueError), (folder / MANIFEST).open() as file:
            if '"format": "qac-deploy ' in file.read(_HEAD_BYTES):
                raise ModelFileError(
                    f"{path}: lies in {folder}, which is kept as qac-deploy wrote it; choose another with "
                    f"{option}"
                )


@contextmanager
def staging(destination: Path) -> Iterator[Staging]:
    """A staging folder next to a destination; those that killed runs left there are removed first."""
    clear_abandoned(destination.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=destination.parent))
    lock = None
    try:
        lock = _lock(folder, destination.name)
        yield Staging(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.close()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder; what killed runs left among the temporary files is cleared away first."""
    with staging(Path(tempfile.gettempdir()) / "scratch") as prepared:
        prepared.new.mkdir()
        yield prepared.new


def clear_abandoned(parent: Path) -> None:
    """Remove the staging folders of runs that were killed; put back what waited in one.

    A run holds a lock on a file in its staging folder for as long as it lives. Only folders are touched
    that hold such a file, are this user's, and hold nothing but what a staging folder does.
    """
    with suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(PREFIX):
                with suppress(OSError, ValueError, KeyError, TypeError):
                    _clear_if_abandoned(parent / name)


def _clear_if_abandoned(folder: Path) -> None:
    found, file = folder.lstat(), (folder / _LOCK).lstat()
    if not stat.S_ISDIR(found.st_mode) or not stat.S_ISREG(file.st_mode):
        return
    if {found.st_uid, file.st_uid} != {os.geteuid()}:
        return
    if not {path.name for path in folder.iterdir()} <= {_LOCK, _NEW, _OLD}:
        return
    with (folder / _LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its run lives
        name = json.loads(lock.read())["destination"]
        destination = folder.parent / name
        if destination.parent != folder.parent:
            return
        old = folder / _OLD
        if old.exists() and not os.path.lexists(destination):
            old.rename(destination)  # killed between the two steps of the exchange
        shutil.rmtree(folder)


def _lock(folder: Path, name: str) -> IO[str]:
    """The lock has its name only once it is held, so that no other run takes it in between."""
    lock = (folder / _UNLOCKED).open("x")
    with suppress(OSError):  # a file system without locks: nothing there ever counts as abandoned
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.write(json.dumps({"destination": name}))
        lock.flush()
        (folder / _UNLOCKED).rename(folder / _LOCK)
    return lock
