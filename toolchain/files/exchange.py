"""Put a folder in the place of another one, if the system can, with no moment at which there is none."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
_ATTEMPTS = 100


def put_in_place(new: Path, destination: Path, old: Path) -> None:
    """Move a folder to a destination on the same file system.

    Other runs may do the same at the same time: then the last one stays.

    Args:
        new: the folder; afterwards what was at the destination may be here.
        old: a free path, where what was at the destination may be afterwards.

    Raises:
        OSError: it cannot be moved; the destination is as it was.
    """
    for attempt in range(_ATTEMPTS):
        try:
            if not exchange(new, destination):
                _replace_in_two_steps(new, destination, old)
            return
        except OSError as error:
            if error.errno not in _TAKEN or attempt == _ATTEMPTS - 1:
                raise


def exchange(new: Path, destination: Path) -> bool:
    """Exchange two folders in one step, or move the first where there is none; False if it cannot be done.

    Raises:
        OSError: the destination was made meanwhile, or may not be written.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if sys.platform != "linux" or rename is None:
        return False
    paths = os.fsencode(new), os.fsencode(destination)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    if number != errno.ENOENT:
        raise OSError(number, os.strerror(number), str(destination))
    new.rename(destination)
    return True


def _replace_in_two_steps(new: Path, destination: Path, old: Path) -> None:
    if old.exists():  # from an earlier attempt; another run's folder is in its place by now
        shutil.rmtree(old)
    with suppress(FileNotFoundError):
        destination.rename(old)
    try:
        new.rename(destination)
    except OSError as error:
        if error.errno not in _TAKEN and old.exists():
            old.rename(destination)
        raise
