"""Values and names of a file in a message: on one line, and short."""

from __future__ import annotations

from collections.abc import Mapping

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
    text = str(name)[: _SHOWN_CHARACTERS + 1]
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def reason_line(error: Exception) -> str:
    """What an error of a library says, on one line and at most 160 characters long."""
    text = " ".join((str(error) or type(error).__name__).split())[:_REASON_CHARACTERS]
    return "".join(character if character.isprintable() else "?" for character in text)
