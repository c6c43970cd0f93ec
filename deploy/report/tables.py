"""Tables of the report as data: each is built once, and rendered in a terminal and on the page."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text
from typing_extensions import assert_never

from deploy.report.markup import Markup, breakable, command_box, element, join, number
from deploy.report.terminal_text import TextConsole, escape

if TYPE_CHECKING:
    from hw_models.multicore.pipeline.pipeline_ticks import Activity

MARKS: dict[Activity, tuple[str, str]] = {
    "busy": ("#", "green"),
    "starved": ("s", "yellow"),
    "blocked": ("b", "red"),
    "drained": (".", "dim"),
}
"""How a terminal draws each activity: character and colour."""

Record = TypeVar("Record")

_VERDICT_COLOURS = {"better": "green", "worse": "red"}
_BAR_CHARACTERS, _BAR_PIXELS, _METER_PIXELS = 20, 120, 60
_LEAST_SENTENCE = 20
"""Characters that a column of sentences needs, if they are no shorter; a narrower one is hard to read."""
_PIPE_WIDTH = 140
_UNLIMITED_WIDTH = 100_000


class Emphasis(Enum):
    """How much a row stands out; the value is its class on the page."""

    NONE = None
    STRONG = "strong"
    FAINT = "faint"


_TERMINAL_STYLE = {Emphasis.NONE: None, Emphasis.STRONG: "bold", Emphasis.FAINT: "dim"}


class Holds(Enum):
    """Kind of the cells of a column; the value is their class on the page. Only sentences wrap."""

    NAMES = None
    SENTENCES = "sentence"
    NUMBERS = "n"


@dataclass(frozen=True)
class Metered:
    """A number of which the page also draws a bar.

    Attributes:
        share: of the largest in its column, 0 to 1.
    """

    value: float
    share: float


@dataclass(frozen=True)
class Activities:
    """Ticks of a stage by activity, drawn as a stacked bar."""

    ticks: Mapping[Activity, int]


@dataclass(frozen=True)
class EachTick:
    """What a stage does in each tick, a character per tick."""

    activities: Sequence[Activity]


@dataclass(frozen=True)
class Lines:
    """Values one below the other."""

    values: Sequence[float | str]


@dataclass(frozen=True)
class Tag:
    """A word that the page shows framed, in the colour of its class; a terminal colours activities."""

    word: str


@dataclass(frozen=True)
class Judged:
    """A change, and in colour whether it is for the better.

    Attributes:
        verdict: ``better``, ``worse``, or any other word, which is not shown.
    """

    change: str
    verdict: str


@dataclass(frozen=True)
class Command:
    """A command to type, which the page can copy."""

    line: str


Cell: TypeAlias = (
    "str | float | Metered | Activities | EachTick | Lines | Tag | Judged | Command | None"
)
"""Of a table; None if there is nothing to say."""


@dataclass(frozen=True)
class Column(Generic[Record]):
    """A column.

    Attributes:
        heading: on the page.
        short: in a terminal; a column without one is on the page alone.
        cell: of a record.
    """

    heading: str
    short: str | None
    holds: Holds
    cell: Callable[[Record], Cell]


def names(heading: str, short: str | None, cell: Callable[[Record], Cell]) -> Column[Record]:
    """A column of names."""
    return Column(heading, short, Holds.NAMES, cell)


def sentences(heading: str, short: str | None, cell: Callable[[Record], Cell]) -> Column[Record]:
    """A column of text that may be long."""
    return Column(heading, short, Holds.SENTENCES, cell)


def numbers(heading: str, short: str | None, cell: Callable[[Record], Cell]) -> Column[Record]:
    """A column of numbers."""
    return Column(heading, short, Holds.NUMBERS, cell)


@dataclass(frozen=True)
class Row:
    """One cell per column."""

    cells: Sequence[Cell]
    emphasis: Emphasis = Emphasis.NONE


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; its title is shown in a terminal, while the page has a heading or a summary above it."""

    title: str
    columns: Sequence[Column[Any]]
    rows: Sequence[Row]

    def only(self, *headings: str) -> Table:
        """The table with some of its columns."""
        return self._keeping([column.heading in headings for column in self.columns])

    def for_terminal(self, *, folded: bool = False) -> TerminalTable:
        """The columns that have a short heading; the title is left to ``print_table``.

        Args:
            folded: headings that are wider than their column take several lines.
        """
        shown = self._keeping([column.short is not None for column in self.columns])
        table = TerminalTable(box=None, padding=(0, 1, 0, 0))
        cells = [[_in_terminal(cell) for cell in row.cells] for row in shown.rows]
        for index, column in enumerate(shown.columns):
            wraps = column.holds is Holds.SENTENCES
            widest = _widest_line(row[index] for row in cells)
            heading = column.short or ""
            if not wraps:
                heading = _folded(heading, widest) if folded else heading
                widest = max(widest, *map(cell_len, heading.split("\n")))
            table.add_column(
                Text(heading),
                justify="right" if column.holds is Holds.NUMBERS else "left",
                no_wrap=not wraps,
                overflow="fold",
                min_width=min(widest, _LEAST_SENTENCE) if wraps else widest,
            )
        for row, shown_cells in zip(shown.rows, cells, strict=True):
            table.add_row(*shown_cells, style=_TERMINAL_STYLE[row.emphasis])
        return table

    def in_lines(self) -> Iterator[str]:
        """Markup of one line per cell; the first cell of a row stands out, the others follow below it."""
        shown = self._keeping([column.short is not None for column in self.columns])
        for row in shown.rows:
            for index, (column, cell) in enumerate(zip(shown.columns, row.cells, strict=True)):
                text = ", ".join(_in_terminal(cell).split("\n"))
                if index == 0:
                    yield f"[bold]{text}[/bold]"
                elif text:
                    yield f"  {column.short}: {text}" if column.short else f"  {text}"

    def for_page(self) -> Markup:
        classes = [column.holds.value for column in self.columns]
        head = (
            element("th", column.heading, class_=c, scope="col")
            for column, c in zip(self.columns, classes, strict=True)
        )
        body = (
            element(
                "tr",
                *(
                    element("td", _on_page(cell), class_=c, data_label=column.heading)
                    for cell, c, column in zip(row.cells, classes, self.columns, strict=True)
                ),
                class_=row.emphasis.value,
            )
            for row in self.rows
        )
        return element("table", element("thead", element("tr", *head)), element("tbody", *body))

    def _keeping(self, chosen: Sequence[bool]) -> Table:
        def keep(cells: Sequence[Cell]) -> list[Cell]:
            return [cell for cell, is_kept in zip(cells, chosen, strict=True) if is_kept]

        columns = [column for column, is_kept in zip(self.columns, chosen, strict=True) if is_kept]
        rows = [replace(row, cells=keep(row.cells)) for row in self.rows]
        return replace(self, columns=columns, rows=rows)


def tabulate(
    title: str,
    records: Iterable[Record],
    *columns: Column[Record],
    emphasis: Callable[[Record], Emphasis] = lambda record: Emphasis.NONE,
) -> Table:
    """Make a table with one row per record."""
    rows = [
        Row([column.cell(record) for column in columns], emphasis(record)) for record in records
    ]
    return Table(title=title, columns=columns, rows=rows)


def print_table(table: Table, console: Console) -> None:
    """Print a table under its title; if the output is no terminal, as wide as the table needs to be.

    Where the terminal is too narrow for a column, each row is a list of its cells, so that no figure is cut.
    """
    if table.title:
        console.print(f"\n[italic]{escape(table.title)}[/italic]")
    if not console.is_terminal:
        console = TextConsole(file=console.file, width=max(console.width, _PIPE_WIDTH))
    unlimited = console.options.update_width(_UNLIMITED_WIDTH)
    for folded in (False, True):
        in_columns = table.for_terminal(folded=folded)
        if console.measure(in_columns, options=unlimited).minimum <= console.width:
            console.print(in_columns)
            return
    for line in table.in_lines():
        console.print(line)


def _folded(heading: str, width: int) -> str:
    """A heading in lines of a width, or as wide as its longest word."""
    width = max([width, *map(len, heading.split())])
    return "\n".join(textwrap.wrap(heading, width)) if heading else heading


def _widest_line(cells: Iterable[str]) -> int:
    """Characters of the widest line without markup: Rich takes a cell to be as narrow as its longest word."""
    lines = (line for cell in cells for line in Text.from_markup(cell).split())
    return max((line.cell_len for line in lines), default=0)


def _in_terminal(cell: Cell) -> str:
    match cell:
        case None:
            return "-"
        case str() | float() | int():
            return escape(number(cell))
        case Metered():
            return number(cell.value)
        case Activities():
            return _bar(cell.ticks)
        case EachTick():
            return "".join(_coloured(*MARKS[activity]) for activity in cell.activities)
        case Lines():
            return "\n".join(map(_in_terminal, cell.values))
        case Tag():
            colours = (colour for activity, (_, colour) in MARKS.items() if activity == cell.word)
            return _coloured(escape(cell.word), next(colours, None))
        case Judged():
            return _coloured(escape(_judged(cell)), _VERDICT_COLOURS.get(cell.verdict))
        case Command():
            return escape(cell.line)
        case _:
            assert_never(cell)


def _coloured(markup: str, colour: str | None) -> str:
    return markup if colour is None else f"[{colour}]{markup}[/{colour}]"


def _judged(cell: Judged) -> str:
    return f"{cell.change} {cell.verdict}" if cell.verdict in _VERDICT_COLOURS else cell.change


def _bar(ticks: Mapping[Activity, int]) -> str:
    """A stacked bar; rounding by running totals keeps its width exact."""
    total, seen, drawn, bar = sum(ticks.values()), 0, 0, ""
    for activity, (mark, colour) in MARKS.items():
        seen += ticks[activity]
        width = round(seen / total * _BAR_CHARACTERS) - drawn
        drawn += width
        bar += _coloured(mark * width, colour) if width else ""
    return bar


def _on_page(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case str():
            return breakable(cell)
        case float() | int():
            return number(cell)
        case Judged():
            is_judged = cell.verdict in _VERDICT_COLOURS
            return element("span", _judged(cell), class_=cell.verdict if is_judged else None)
        case Tag():
            return element("span", cell.word, class_=f"kind {cell.word}")
        case Command():
            return command_box(cell.line)
        case Metered():
            bar = ("busy", cell.share * _METER_PIXELS)
            return join([number(cell.value), _bar_picture([bar], _METER_PIXELS)])
        case EachTick():
            return "".join(MARKS[activity][0] for activity in cell.activities)
        case Lines():
            return join(map(_on_page, cell.values), element("br"))
        case Activities():
            total = sum(cell.ticks.values())
            parts = [(a, cell.ticks[a] / total * _BAR_PIXELS) for a in MARKS]
            return _bar_picture(parts, _BAR_PIXELS)
        case _:
            assert_never(cell)


def _bar_picture(parts: Sequence[tuple[str, float]], width: int) -> Markup:
    """Boxes from left to right, each of a kind and so many pixels wide."""
    drawn, x = [], 0.0
    for kind, pixels in parts:
        drawn.append(element("rect", x=x, width=pixels, height=10, class_=kind))
        x += pixels
    return element("svg", *drawn, width=width, height=10, class_="bar", aria_hidden="true")
