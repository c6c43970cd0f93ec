"""Write files whole or not at all: in staging folders, which later runs clear away if a run was killed."""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolchain.errors import ModelFileError
from toolchain.interrupts import uninterrupted

PREFIX = ".qac-deploy-"
"""Start of the name of every staging folder."""

MANIFEST = "manifest.json"
"""Digests of all files of a folder that is written as a whole, such as a build."""

_OTHER_OUT = "choose another with --out"
_LOCK, _UNLOCKED, _NEW, _OLD = "lock", "lock.new", "new", "old"  # names in a staging folder
_LOCKED_WITHIN_S = 10.0
_LOCK_CHARACTERS = 4_096
_SHARED_MEMORY = "/dev/shm"
_HEAD_BYTES = 512  # enough to recognise a kind of file
_OF_OURS = b'"format": "qac-deploy '
_TORCH_MARKS = (b"PK\x03\x04", b"/data.pkl")


@dataclass(frozen=True)
class FileKind:
    """A kind of file, which is recognised before it is replaced.

    Attributes:
        name: the kind with its article, for messages.
        marks: all of these occur in the first bytes of such a file; without marks any file is accepted.
    """

    name: str
    marks: tuple[bytes, ...] = ()


MODEL_FILE = FileKind("a model file", (*_TORCH_MARKS, b"qac-deploy model"))
TRAINING_STATE = FileKind("a training state", (*_TORCH_MARKS, b"qac-deploy training state"))
SIMULATION_JOURNAL = FileKind("the state of a simulation", (b"qac-deploy simulation",))
EXPLORATION_JOURNAL = FileKind("the state of an exploration", (b"qac-deploy exploration",))
HDF5_FILE = FileKind("an HDF5 file", (b"\x89HDF\r\n\x1a\n",))
ONNX_FILE = FileKind("an ONNX file of ours", (b"\x12\nqac-deploy",))  # field 2 is the producer
PNG_FILE = FileKind("a PNG picture", (b"\x89PNG\r\n\x1a\n",))
SVG_FILE = FileKind("an SVG picture", (b"<!DOCTYPE svg",))
REPORT_PAGE = FileKind("a page of ours", (b"<!doctype html>", b"Content-Security-Policy"))
ANY_FILE = FileKind("a file")


@dataclass(frozen=True)
class Staging:
    """Two paths in a locked folder, in which the successor of a destination is prepared.

    Attributes:
        new: path of the successor; nothing is there at first.
        old: path to move the destination to until its successor is in place.
    """

    new: Path
    old: Path


@contextmanager
def whole_file(path: Path, kind: FileKind, *, remedy: str = _OTHER_OUT) -> Iterator[Path]:
    """Give a temporary path of the same name to write to, and move the file to ``path`` at the end.

    On any error or interrupt the new file is removed and ``path`` stays as it was. If ``path`` is a symbolic
    link, the file that it names is replaced.

    Args:
        remedy: end of every error message.

    Raises:
        ModelFileError: another kind of file is at ``path``, or it cannot be written.
    """
    require_replaceable_file(path, kind, remedy=remedy)
    try:
        real = path.resolve()
        with staging(real) as prepared:
            prepared.new.mkdir()
            part = prepared.new / real.name
            yield part
            os.replace(part, real)
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be written ({error}); nothing was changed; {remedy}"
        ) from error


def require_replaceable_file(path: Path, kind: FileKind, *, remedy: str = _OTHER_OUT) -> None:
    """Check, before a long run, that a path is free or holds a file of the same kind.

    Raises:
        ModelFileError: something else is there, or there is no folder to write in.
    """
    try:
        if not path.resolve().parent.is_dir():
            raise ModelFileError(f"{path}: there is no folder {path.parent}; make it first")
        require_writable(path.resolve().parent)
        require_outside_ours(path, remedy=remedy)
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelFileError(f"{path}: is not a regular file, so it is not replaced; {remedy}")
        head = _head(path)
    except FileNotFoundError:
        return
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be written ({error}); {remedy}") from error
    if head and not all(mark in head for mark in kind.marks):
        raise ModelFileError(
            f"{path}: exists and is not {kind.name}, so it is not replaced; {remedy}"
        )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def require_writable(folder: Path) -> None:
    """Check, before a long run, that files can be made in a folder, or in the one that it will be made in.

    Raises:
        OSError: it is read-only, on a read-only disk, or not this user's.
    """
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        is_read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
        number = errno.EROFS if is_read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))


def require_outside_ours(path: Path, *, remedy: str = _OTHER_OUT) -> None:
    """Check that a path is in no folder that qac-deploy wrote, whose digests a new file would break.

    Raises:
        ModelFileError: it is in one.
    """
    for folder in path.resolve().parents:
        manifest = folder / MANIFEST
        with suppress(OSError, ValueError):
            if manifest.is_file() and _OF_OURS in _head(manifest):
                raise ModelFileError(
                    f"{path}: is in {folder}, which stays as qac-deploy wrote it; {remedy}"
                )


@contextmanager
def staging(destination: Path) -> Iterator[Staging]:
    """Make a staging folder next to a destination, and clear away those of killed runs."""
    clear_abandoned(destination.parent)
    folder = lock = None
    try:
        with uninterrupted():
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=destination.parent))
            lock = _lock(folder, destination.name)
        yield Staging(folder / _NEW, folder / _OLD)
    finally:
        try:
            _clear(folder, lock)
        finally:  # once more if an interrupt came before signals were held back
            _clear(folder, lock)


def _clear(folder: Path | None, lock: IO[str] | None) -> None:
    with uninterrupted():
        if folder is not None:
            _remove(folder)
        if lock is not None:
            lock.close()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder, and clear away those of killed runs.

    Raises:
        ModelFileError: no folder for temporary files can be written.
    """
    try:
        parent = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{error.strerror or error}; make room in one, or set TMPDIR to a folder that can be written"
        ) from error
    with staging(parent / "scratch") as prepared:
        prepared.new.mkdir()
        yield prepared.new


def shared_memory_name(scratch: Path) -> str:
    """Start of the names of shared memory that a program may leave if it is killed with this one.

    It is removed with the scratch folder.
    """
    return scratch.parent.name.lstrip(".")


def clear_abandoned(parent: Path) -> None:
    """Remove the staging folders of killed runs, and put back a destination that one had moved away.

    A run keeps a lock on a file in its staging folder until it ends. A folder is only touched if it holds
    such a file, belongs to this user, and holds nothing that a staging folder does not. A run may be killed
    before it has the lock, or after the file is gone: then the folder is empty for longer than a moment.
    """
    with suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(PREFIX):
                with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                    _clear_if_abandoned(parent / name)


def _clear_if_abandoned(folder: Path) -> None:
    found, names = folder.lstat(), {path.name for path in folder.iterdir()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return
    if names <= {_UNLOCKED} and time.time() > found.st_mtime + _LOCKED_WITHIN_S:
        _remove(folder)
    if not {_LOCK} <= names <= {_LOCK, _NEW, _OLD}:
        return
    file = (folder / _LOCK).lstat()
    if not stat.S_ISREG(file.st_mode) or file.st_uid != os.geteuid():
        return
    with (folder / _LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its run lives
        name = json.loads(lock.read(_LOCK_CHARACTERS))["destination"]
        destination = folder.parent / name
        if destination.parent != folder.parent:
            return
        old = folder / _OLD
        if old.exists() and not os.path.lexists(destination):
            old.rename(destination)  # killed between the two steps of the exchange
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a staging folder as far as possible, its lock last: without that no run would clear the rest."""
    for left in Path(_SHARED_MEMORY).glob(f"{glob.escape(folder.name.lstrip('.'))}-*"):
        with suppress(OSError):
            left.unlink()
    for name in (_NEW, _OLD):
        shutil.rmtree(folder / name, ignore_errors=True)
    if not any((folder / name).exists() for name in (_NEW, _OLD)):
        shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path, name: str) -> IO[str]:
    """Lock a file in the folder; it gets its name only then, so that no other run locks it first."""
    lock = (folder / _UNLOCKED).open("x")
    with suppress(OSError):  # on a file system without locks no folder counts as abandoned
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.write(json.dumps({"destination": name}))
        lock.flush()
        (folder / _UNLOCKED).rename(folder / _LOCK)
    return lock
