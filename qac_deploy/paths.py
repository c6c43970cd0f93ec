"""Paths that a user gives."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TypeAlias

from toolchain.errors import OptionError

AnyPath: TypeAlias = "str | PathLike[str]"


def as_path(path: object, what: str) -> Path:
    """A path.

    Args:
        what: it is the path of, for the message.

    Raises:
        OptionError: it is none.
    """
    if isinstance(path, str | PathLike):
        return Path(path)
    raise OptionError(f"{what} must be a path, not {type(path).__name__}")
