"""Tables and text of pages that are made from the code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from docutils import nodes


def table(
    heading: Sequence[str], rows: Sequence[Sequence[list[nodes.Node]]], widths: Sequence[int]
) -> nodes.table:
    """A table of cells that hold inline nodes."""
    columns = [nodes.colspec(colwidth=width) for width in widths]
    head = nodes.thead("", _row([[nodes.Text(word)] for word in heading]))
    body = nodes.tbody("", *(_row(cells) for cells in rows))
    group = nodes.tgroup("", *columns, head, body, cols=len(widths))
    return nodes.table("", group, classes=["reference-table"])


def _row(cells: Sequence[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def inline(text: str) -> Iterator[nodes.Node]:
    """Text in which backticks mark code, as do the names of options."""
    for index, part in enumerate(re.split(r"``?([^`]+)``?", text)):
        if part:
            yield from [nodes.literal(text=part)] if index % 2 else _options(part)


def _options(text: str) -> Iterator[nodes.Node]:
    for index, part in enumerate(re.split(r"(?<![\w-])(--[a-z][a-z-]*[a-z])", text)):
        if part:
            yield nodes.literal(text=part) if index % 2 else nodes.Text(part)
