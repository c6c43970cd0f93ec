"""A lock between runs, for work whose result they share."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def one_run_at_a_time(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let one run at a time into the block, while others wait.

    The lock ends with its process, however that ends. Its file is removed by the last run.

    Args:
        path: a file that no one else uses; its folder exists.
        on_wait: called if another run is in the block.

    Raises:
        OSError: the file cannot be written.
    """
    file, held = open_lock(path), False
    try:
        while not held:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                break
            with suppress(FileNotFoundError):
                held = os.path.samestat(path.stat(), os.fstat(file.fileno()))
            if not held:  # a run that ended has removed the file meanwhile
                file.close()
                file = open_lock(path)
        yield
    finally:
        if held:
            path.unlink(missing_ok=True)
        file.close()


def open_lock(path: Path) -> IO[str]:
    """Open an empty file to lock it, or make it.

    What someone else put there stays: no symbolic link is followed, no file shortened, no FIFO waited for.

    Raises:
        OSError: something else is there, or it cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, "a file that is no lock of qac-deploy", str(path))
    return os.fdopen(descriptor, "w")
