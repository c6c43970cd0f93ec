"""Checks of JSON documents, made of small ones; each returns the value written anew, of what it allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from toolchain.shown_values import shown

Check = Callable[[str, Any], Any]
"""Takes the place of a value, such as ``a.b[2]``, and the value; raises ValueError with the place."""

MAX_TEXT = 20_000
"""Most characters of a text, such as the frames of a stack trace."""

LARGEST = 2**63 - 1
_UNENCODABLE = {"Infinity", "-Infinity", "NaN"}


def refuse(where: str, wanted: str, value: Any) -> ValueError:
    return ValueError(f"{where[:200]} must be {wanted}, not {shown(value)}")


def record(where: str, value: Any, fields: Mapping[str, Check]) -> dict[str, Any]:
    """A record of these fields; one that is missing is checked as None."""
    if not isinstance(value, dict):
        raise refuse(where, "a record", value)
    return {name: check(f"{where}.{name}", value.get(name)) for name, check in fields.items()}


def record_of(fields: Mapping[str, Check]) -> Check:
    return lambda where, value: record(where, value, fields)


def list_of(check: Check) -> Check:
    def checked(where: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise refuse(where, "a list", value)
        return [check(f"{where}[{index}]", part) for index, part in enumerate(value)]

    return checked


def by_key(check_key: Check, check: Check) -> Check:
    def checked(where: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise refuse(where, "a record", value)
        return {check_key(where, k): check(f"{where}.{str(k)[:80]}", v) for k, v in value.items()}

    return checked


def one_of(kinds: Mapping[str, Check], instead: Mapping[str, str] | None = None) -> Check:
    """A record with one field, which says what its value is."""

    def checked(where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) != 1:
            raise refuse(where, f"a record of one of {', '.join(kinds)}", value)
        ((kind, content),) = value.items()
        if instead and kind in instead:
            raise ValueError(f"{where[:200]}: {instead[kind]}")
        if kind not in kinds:
            raise ValueError(f"{where[:200]}: {shown(kind)} is not among {', '.join(kinds)}")
        return {kind: kinds[kind](f"{where}.{kind}", content)}

    return checked


def optional(check: Check) -> Check:
    return lambda where, value: None if value is None else check(where, value)


def integer(where: str, value: Any) -> int:
    if type(value) is not int or abs(value) > LARGEST:
        raise refuse(where, "an integer of at most 64 bits", value)
    return value


def length(where: str, value: Any) -> int:
    if integer(where, value) < 0:
        raise refuse(where, "an integer that is not negative", value)
    return int(value)


def number(where: str, value: Any) -> Any:
    if type(value) is float or (isinstance(value, str) and value in _UNENCODABLE):
        return value
    return integer(where, value)


def flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise refuse(where, "true or false", value)
    return value


def text(where: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise refuse(where, f"a text of at most {MAX_TEXT:,} characters", value)
    return value


def constant(result: Any) -> Check:
    return lambda where, value: result


def below(limit: int) -> Check:
    def checked(where: str, value: Any) -> int:
        if type(value) is not int or not 0 <= value < limit:
            raise refuse(where, f"a number below {limit}", value)
        return value

    return checked
