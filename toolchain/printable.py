"""Texts of others, such as names from files, in the form in which people see them."""

from __future__ import annotations

import re

_NOT_ASCII_PRINTABLE = re.compile(r"[^ -~]")


def printable(text: object, *, keep: str = "") -> str:
    """A value as text in which each character that does not print is written as its code.

    These are control characters, such as line ends and the start of escape sequences, characters without
    width, marks that turn the direction of what follows, and surrogates, as which Python holds the bytes of
    file names that are not UTF-8. Each becomes ``\\n``, ``\\x1b``, ``\\u202e`` or the like.

    Args:
        keep: characters that stay, such as line ends of a text of our own.
    """
    shown = str(text)
    if shown.isprintable():
        return shown

    def code(found: re.Match[str]) -> str:
        character = found[0]
        if character.isprintable() or character in keep:
            return character
        return character.encode("unicode_escape").decode("ascii")

    return _NOT_ASCII_PRINTABLE.sub(code, shown)
