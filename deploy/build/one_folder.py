"""Read a folder that another run may replace meanwhile, all of it as one run wrote it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

from toolchain.errors import ModelFileError, QacDeployError
from toolchain.files.whole_files import PREFIX

_ATTEMPTS = 20
_PAUSE_S = 0.02

Content = TypeVar("Content")

Identity: TypeAlias = tuple[int, ...]
"""What differs between a folder and its successor."""


def identity_of(folder: Path) -> Identity | None:
    """None if there is no folder."""
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def of_one_folder(folder: Path, read: Callable[[], Content]) -> Content:
    """Read a folder; read again if it was replaced during that.

    Raises:
        QacDeployError: that of ``read``, if the folder was not replaced during the last attempt.
    """
    for attempt in range(_ATTEMPTS):
        before = identity_of(folder)
        try:
            content = read()
        except (ModelFileError, OSError):
            if before is not None and identity_of(folder) == before:
                raise
            if before is None and not _is_being_replaced(folder):
                raise
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            if before is not None and identity_of(folder) == before:
                return content
        time.sleep(_PAUSE_S)
    raise ModelFileError(
        f"{folder}: was replaced {_ATTEMPTS} times while it was read; wait until `qac-deploy compile` ends"
    )


@contextmanager
def still_the_same(folder: Path, identity: Identity | None) -> Iterator[None]:
    """What the block reads is of the folder that was read before.

    Args:
        identity: of the folder when it was read before.

    Raises:
        ModelFileError: the folder was replaced since.
    """

    def require() -> None:
        if identity_of(folder) != identity:
            raise ModelFileError(
                f"{folder}: was replaced since it was read, such as by `qac-deploy compile`; read it again"
            )

    try:
        yield
    except (QacDeployError, OSError):
        require()
        raise
    require()


def _is_being_replaced(folder: Path) -> bool:
    """Whether a run is about to put another folder in its place, on a system that cannot exchange two."""
    try:
        return any(path.name.startswith(PREFIX) for path in folder.resolve().parent.iterdir())
    except OSError:
        return False
