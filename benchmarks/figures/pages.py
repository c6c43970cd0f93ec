"""Put measured figures into pages, between two marks that name the figure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """The lines of a page between which the figure of this name lies."""
    return f"<!-- figure {name}: start -->", f"<!-- figure {name}: end -->"


def replaced(text: str, name: str, figure: str) -> str:
    """The page's text with another figure between the marks.

    Raises:
        ValueError: the page does not have both marks once.
    """
    start, end = marks(name)
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"the page must have the lines {start} and {end} once each")
    return re.sub(
        re.escape(start) + ".*?" + re.escape(end),
        lambda _: f"{start}\n\n{figure}\n\n{end}",
        text,
        flags=re.DOTALL,
    )


def write_figure(page: Path, name: str, figure: str) -> None:
    """Replace a figure in a page."""
    page.write_text(replaced(page.read_text("utf-8"), name, figure), "utf-8")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def made_by(command: str, made_with: dict[str, str] | None = None) -> str:
    """The line below a figure that says which command makes it."""
    remark = "" if made_with is None else f" (qac-deploy {made_with['qac-deploy']})"
    return f"*Made by `{command}`{remark}.*"
