"""Commands that are printed to be copied: a shell reads from them the words that were meant."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_WORD = re.compile(r"""\$'(?:[^'\\]|\\.)*'|(?:[^\s'"]|'[^']*'|"[^"]*")+""")


def shell_command(*words: object) -> str:
    """A command as one line of printable characters, its words quoted as far as a shell needs it.

    Args:
        words: a ``Path`` that starts with a dash gets ``./`` in front, so that it is no option.
    """
    return " ".join(_quoted(word) for word in words)


def words_of(command: str) -> list[str]:
    """The words of a command that ``shell_command`` has made."""
    return [_unquoted(found[0]) for found in _WORD.finditer(command)]


def _quoted(word: object) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)  # noqa: TID251
    codes = (_code(character) for character in text)
    return f"$'{''.join(codes)}'"  # Bash, Zsh and POSIX of 2024 read the codes


def _code(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    encoded = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\{byte:03o}" for byte in encoded)  # always three digits, whatever follows


def _unquoted(word: str) -> str:
    if not word.startswith("$'"):
        return shlex.split(word)[0]
    plain = re.sub(
        rb"\\([0-7]{3}|.)",
        lambda found: bytes([int(found[1], 8)]) if len(found[1]) == 3 else found[1],
        word[2:-1].encode("utf-8", "surrogateescape"),
    )
    return plain.decode("utf-8", "surrogateescape")
