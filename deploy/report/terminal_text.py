"""Text in a terminal: names from files are text, and lines break between words, so that no figure is cut."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from toolchain.printable import printable

_BREAK = "[none][/none]"
"""Markup without effect: what stands on both sides of it is never one tag."""

_BRACKETS = re.compile(r"(\\*)(\[|$)")
"""A bracket or the end of a text, with the backslashes in front, which would escape a tag behind them."""


def escape(value: object) -> str:
    """A value as Rich markup that shows it as it is, with codes for characters that do not print."""

    def plain(found: re.Match[str]) -> str:
        backslashes, bracket = found.groups()
        end = f"{bracket}{_BREAK}" if bracket else ""
        return f"{backslashes}{backslashes}{_BREAK}{end}" if found[0] else ""

    return _BRACKETS.sub(plain, printable(value))


class TextConsole(Console):
    """A console that is given sentences.

    In a terminal, lines break between words, and go on below their first word. Elsewhere, such as in a log,
    they stay whole. Words that are longer than a line, such as paths, are broken by the terminal itself, so
    that they are whole when they are copied; so is a line printed with ``soft_wrap=True``, such as a command.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        is_text = len(objects) == 1 and isinstance(objects[0], str)
        if is_text and not soft_wrap and self.is_terminal:
            objects = (self._in_lines(objects[0]),)
        super().print(*objects, soft_wrap=is_text or soft_wrap, **options)

    def on_broken_pipe(self) -> None:
        """Leave it to the caller that the reader has closed the output; Rich would end the program."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def render_str(self, text: str, **options: Any) -> Text:
        """Markup as text, without characters that do not print, in case that a name was not escaped."""
        return super().render_str(printable(text, keep="\n"), **options)

    def _in_lines(self, markup: str) -> Text:
        """Text of lines that fit; each continues below its first word."""
        lines = []
        for line in self.render_str(markup).split("\n", allow_blank=True):
            indent = len(line.plain) - len(line.plain.lstrip(" "))
            for part in line[indent:].divide(_breaks(line.plain[indent:], self.width - indent)):
                part.rstrip()
                lines.append(Text(" " * indent).append_text(part))
        return Text("\n").join(lines)


def print_note(words: str) -> None:
    """Tell people something on standard error."""
    console = TextConsole(stderr=True)
    for line in words.split("\n"):
        console.print(escape(line))


def _breaks(text: str, width: int) -> list[int]:
    """Places of the words that start a new line."""
    places, used = [], 0
    for word in re.finditer(r"\S+\s*", text):
        if used and used + cell_len(word[0].rstrip()) > width:
            places.append(word.start())
            used = 0
        used += cell_len(word[0])
    return places
