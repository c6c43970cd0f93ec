"""Numbers that a user gives, as plain Python numbers, which files hold."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from operator import index
from typing import Any, TypeVar

from toolchain.errors import OptionError

Number = TypeVar("Number", int, float)


def whole_number(option: str, number: Any, least: int | None = None) -> int:
    """A whole number of any type, such as one of NumPy.

    Raises:
        OptionError: it is none, or below ``least``.
    """
    try:
        found = index(number)
    except TypeError:
        raise OptionError(f"{option} must be a whole number, not {number!r}") from None
    if least is not None and found < least:
        raise OptionError(f"{option} must be at least {least}, not {found}")
    return found


def real_number(option: str, number: Any) -> float:
    """A finite number of any type; a text is none.

    Raises:
        OptionError: it is none.
    """
    try:
        found = float("" if isinstance(number, str | bytes) else number)
    except (TypeError, ValueError):
        raise OptionError(f"{option} must be a number, not {number!r}") from None
    if not isfinite(found):
        raise OptionError(f"{option} must be a finite number, not {found}")
    return found


def optional(read: Callable[[str, Any], Number], option: str, number: Any) -> Number | None:
    """The number as ``read`` takes it, or None."""
    return None if number is None else read(option, number)
