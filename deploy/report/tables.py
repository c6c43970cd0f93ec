"""Tables of the report as data, built once and rendered twice: for a terminal and for the HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table as TerminalTable

from deploy.report import markup
from deploy.report.markup import Markup, element, number, per_cent


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        heading: on the page; numbers are right-aligned, and their headings begin in lower case.
        short: in a terminal.
    """

    heading: str
    short: str

    @property
    def holds_numbers(self) -> bool:
        return self.heading[0].islower()


@dataclass(frozen=True)
class Metered:
    """A number of which the page also draws a bar.

    Attributes:
        share: of the largest in its column, 0 to 1.
    """

    value: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table. Cells are text, numbers, ``Metered``, or None where there is nothing to say."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]

    def only(self, *headings: str) -> Table:
        """The table with some of its columns."""
        chosen = [i for i, column in enumerate(self.columns) if column.heading in headings]
        return Table(
            title=self.title,
            columns=[self.columns[i] for i in chosen],
            rows=[[row[i] for i in chosen] for row in self.rows],
        )

    def for_terminal(self) -> TerminalTable:
        table = TerminalTable(
            title=self.title, title_justify="left", box=None, padding=(0, 2, 0, 0)
        )
        for index, column in enumerate(self.columns):
            table.add_column(
                column.short,
                justify="right" if column.holds_numbers else "left",
                no_wrap=index == 0,
            )
        for row in self.rows:
            table.add_row(*("-" if cell is None else escape(_text(cell)) for cell in row))
        return table

    def for_page(self) -> Markup:
        return markup.table(
            [column.heading for column in self.columns],
            [["" if cell is None else _on_page(cell) for cell in row] for row in self.rows],
        )


def _text(cell: object) -> str:
    return number(cell.value if isinstance(cell, Metered) else cell)


def _on_page(cell: object) -> object:
    if not isinstance(cell, Metered):
        return number(cell)
    meter = element("span", class_="meter", style=f"width:{cell.share * 60:.1f}px")
    return markup.join([_text(cell), meter])


IN_SUMMARY = (
    "Design",
    "latency, µs",
    "between results, µs",
    "results/s",
    "energy/sample, nJ",
    "busy",
)
"""Columns of ``comparison_table`` that fit a narrow terminal."""


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The pipeline under each cost profile, and the array in each mode."""
    slowest = max((row["interval_us"] for row in rows), default=1)
    hungriest = max((row["energy_nj"] for row in rows), default=1)
    columns = {
        "Design": "design",
        "latency, µs": "latency us",
        "between results, µs": "every us",
        "results/s": "per s",
        "energy/sample, nJ": "energy nJ",
        "busy": "busy",
        "stalled": "stalled",
        "off chip, kB": "off chip kB",
    }
    return Table(
        title="estimates per sample",
        columns=[Column(heading=heading, short=short) for heading, short in columns.items()],
        rows=[
            [
                row["design"],
                row["latency_us"],
                Metered(row["interval_us"], row["interval_us"] / slowest),
                f"{row['throughput_per_s']:,.0f}",
                Metered(row["energy_nj"], row["energy_nj"] / hungriest),
                per_cent(row["utilisation"]),
                per_cent(row["stalled"]),
                None if row["off_chip_bytes"] is None else row["off_chip_bytes"] / 1000,
            ]
            for row in rows
        ],
    )
