"""A lock between runs, for work whose result they share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
    file, held = path.open("w"), False
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
                file = path.open("w")
        yield
    finally:
        if held:
            path.unlink(missing_ok=True)
        file.close()
