"""Values and names of a file in a message: on one line, and short."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.printable import printable

_SHOWN_CHARACTERS = 60
_SHOWN_PARTS = 30
_LARGEST_SHOWN = 10**80
_REASON_CHARACTERS = 160


def shown(value: object) -> str:
    """A value in a message: at most 60 characters."""
    match value:
        case str() | bytes():
            value = value[:_SHOWN_CHARACTERS]
        case list() | tuple():
            value = type(value)(value[:_SHOWN_PARTS])
        case Mapping():
            value = {key: value[key] for key in list(value)[:_SHOWN_PARTS]}
        case int() if (
            abs(value) > _LARGEST_SHOWN
        ):  # Python writes no integer of thousands of digits
            return f"an integer of {value.bit_length():,} bits"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def shown_name(name: object) -> str:
    """A name in the path of a field, on one line and at most 60 characters long."""
    return shown_text(name, _SHOWN_CHARACTERS)


def shown_text(text: object, most: int = 80) -> str:
    """A text from a file, in printable characters and no more than ``most`` of them."""
    plain = printable(str(text)[: most + 1])
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def first_line(error: BaseException) -> str:
    """What a library says of a file, which may quote all that the file holds."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return shown_text(lines[0], _REASON_CHARACTERS)
