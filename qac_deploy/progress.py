"""Progress as one line that changes: in a terminal, in a notebook, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from toolchain.printable import printable

Show: TypeAlias = "Callable[[str], None]"


@contextmanager
def progress_line(words: str, shown: bool | None) -> Iterator[Show]:
    """Show words while the block runs; the block gets a function that changes them.

    Args:
        shown: None shows them where somebody looks: in a terminal or a notebook.
    """
    from rich.text import Text

    from deploy.report.terminal_text import TextConsole, escape

    console = TextConsole(stderr=True)
    if shown is False or (shown is None and not (console.is_terminal or console.is_jupyter)):
        yield lambda words: None
    elif console.is_jupyter:
        yield from _in_notebook(words)
    elif console.is_terminal:
        with console.status(Text(printable(words))) as status:
            yield lambda words: status.update(Text(printable(words)))
    else:
        console.print(escape(words))
        yield lambda words: console.print(escape(words))


def _in_notebook(words: str) -> Iterator[Show]:
    """One output of the cell, which is empty in the end."""
    from IPython.display import DisplayHandle

    handle = DisplayHandle()

    def content(words: str) -> dict[str, str]:
        return {"text/plain": words}

    handle.display(content(words), raw=True)
    try:
        yield lambda words: handle.update(content(words), raw=True)
    finally:
        handle.update(content(""), raw=True)
