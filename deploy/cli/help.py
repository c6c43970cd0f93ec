"""Help of commands from their docstrings: tables where a terminal has room for them, otherwise plain text."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import typer

from deploy.report.terminal_text import escape

_COLUMNS = shutil.get_terminal_size().columns

HAS_ROOM = _COLUMNS >= 72
"""Whether a terminal has room for tables; in narrower ones they would be cut."""

CONTEXT_SETTINGS: dict[str, Any] = {} if HAS_ROOM else {"terminal_width": _COLUMNS}


class _Formatter(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    """Plain help whose column of options leaves two thirds of the line for their meaning."""

    def write_dl(self, rows: Sequence[Any], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class HelpContext(typer.Context):
    """Context of a command whose help fits its terminal."""

    formatter_class = _Formatter


def bold(text: str) -> str:
    """A text of the help in bold, if there is markup."""
    return f"[bold]{escape(text)}[/bold]" if HAS_ROOM else text


def help_of(command: Callable[..., None]) -> str:
    """The paragraphs of a docstring, the last of which is an example; their brackets are no markup."""
    *paragraphs, example = _paragraphs(command)
    return "\n\n".join([*map(_shown, paragraphs), bold(example)])


def short_help_of(command: Callable[..., None]) -> str:
    """The first paragraph of a docstring."""
    return _shown(_paragraphs(command)[0])


def _paragraphs(command: Callable[..., None]) -> list[str]:
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs]


def _shown(text: str) -> str:
    return escape(text) if HAS_ROOM else text
