"""Plain text and HTML around the pictures, which work in light and dark notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deploy.report.markup import NOTHING, Markup, element

_QUIET = "opacity:.72"
_CELL = "text-align:left;vertical-align:top;padding:2px 16px 2px 0;border:0;background:none"


def aligned_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, with columns of equal width."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def figure(name: str, title: str, content: Markup, notes: Iterable[str] = ()) -> Markup:
    """A title, a picture or table, and notes."""
    return element(
        "div",
        element("div", element("strong", name), " ", title, style="margin:2px 0 6px"),
        content,
        *(element("div", note, style=f"{_QUIET};margin-top:2px") for note in notes),
        style="max-width:1000px;line-height:1.4;color:inherit",
    )


def table(rows: Iterable[Sequence[str]], head: Sequence[str] | None = None) -> Markup:
    """Rows of text; the first cell names the row."""
    header: Markup = NOTHING
    if head is not None:
        cells = (element("th", cell, style=f"{_CELL};{_QUIET};font-weight:normal") for cell in head)
        header = element("thead", element("tr", *cells, style="background:none;border:0"))
    body = (
        element(
            "tr",
            element("th", row[0], style=f"{_CELL};white-space:nowrap", scope="row"),
            *(element("td", cell, style=f"{_CELL};overflow-wrap:anywhere") for cell in row[1:]),
            style="background:none;border:0",
        )
        for row in rows
    )
    return element(
        "table",
        header,
        element("tbody", *body),
        style="border-collapse:collapse;border:0;margin:0 0 8px;table-layout:auto",
    )
