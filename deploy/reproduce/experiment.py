"""The result of an experiment, a table with notes and a plot, and the files that it is written to."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, cast

from typing_extensions import assert_never

from deploy.build.folder import write_json
from deploy.report.plot_text import drawing, plot_text
from toolchain.files.whole_files import ANY_FILE, PNG_FILE, whole_file
from toolchain.printable import printable

Cell: TypeAlias = str | int | float | None
PlotKind: TypeAlias = Literal["lines", "bars"]

_COLOURS = 10
"""Number of different colours of a plot."""

_MARKDOWN = re.compile(r"[\\`*|$\[\]]|<(?=[a-zA-Z/!?])|&(?=#|\w+;)|(?<!\w)_|_(?!\w)")
"""What Markdown reads as more than text within a line, such as a tag, but not a lone ``<``."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Series over common x positions; None is not drawn.

    Attributes:
        kind: lines, or bars side by side.
        spreads: length of the error bars by series; none for series that are not named.
    """

    kind: PlotKind
    x_label: str
    y_label: str
    x: Sequence[Cell]
    series: Mapping[str, Sequence[float | None]]
    spreads: Mapping[str, Sequence[float | None]] = field(default_factory=dict)


def plot_columns(
    kind: PlotKind,
    y_label: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    series: Mapping[str, str],
) -> Plot:
    """Plot columns of a table over its first column.

    Args:
        series: label of each series, and the column that it shows; in percent if the name ends with "%".
    """

    def values(column: str) -> list[float | None]:
        cells = [cast("float | None", row[columns.index(column)]) for row in rows]
        factor = 100 if column.endswith("%") else 1
        return [None if cell is None else factor * cell for cell in cells]

    return Plot(
        kind=kind,
        x_label=columns[0],
        y_label=y_label,
        x=[row[0] for row in rows],
        series={label: values(column) for label, column in series.items()},
    )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One reproduced table or figure.

    Attributes:
        name: file name without extension.
        columns: headings; accuracies are shares, shown in percent if the heading ends with "%".
        values: further entries of the JSON file.
        spreads: of each cell over the seeds, whose mean the cell is; None for cells without one. Empty for
            one seed.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    plot: Plot | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    spreads: Sequence[Sequence[float | None]] = ()

    def shown(self) -> list[list[str]]:
        """The rows of the table as text."""
        spreads = self.spreads or [[None] * len(self.columns)] * len(self.rows)
        return [
            [
                _text(column, cell) + (f" ± {_text(column, spread)}" if spread is not None else "")
                for column, cell, spread in zip(self.columns, row, of_row, strict=True)
            ]
            for row, of_row in zip(self.rows, spreads, strict=True)
        ]

    def markdown(self) -> str:
        """Heading, table and notes."""
        lines = [f"## {markdown_text(self.title)}", ""]
        lines += [_row(self.columns), f"|{' --- |' * len(self.columns)}"]
        lines += map(_row, self.shown())
        lines += ["", *(f"- {markdown_text(note)}" for note in self.notes), ""]
        return "\n".join(lines)


def markdown_text(text: str) -> str:
    """A text as Markdown that shows it as it is, with codes for characters that do not print."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"


def save_experiment(experiment: Experiment, folder: Path) -> list[Path]:
    """Write CSV, JSON and, if there is a plot, PNG; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(experiment.columns)
    writer.writerows(experiment.rows)
    files = [folder / f"{experiment.name}.csv", folder / f"{experiment.name}.json"]
    with whole_file(files[0], ANY_FILE) as part:
        part.write_text(table.getvalue(), encoding="utf-8")
    document = {
        "title": experiment.title,
        "columns": list(experiment.columns),
        "rows": [list(row) for row in experiment.rows],
        "notes": list(experiment.notes),
        **({"spreads": [list(row) for row in experiment.spreads]} if experiment.spreads else {}),
        **experiment.values,
    }
    with whole_file(files[1], ANY_FILE) as part:
        write_json(part, document)
    if experiment.plot is not None:
        files.append(folder / f"{experiment.name}.png")
        with drawing({}), whole_file(files[-1], PNG_FILE) as part:
            _draw(experiment, part)
    return files


def _text(column: str, cell: Cell) -> str:
    if cell is None:
        return "—"
    if isinstance(cell, float):
        return f"{100 * cell:.2f}" if column.endswith("%") else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _draw(experiment: Experiment, path: Path) -> None:
    from matplotlib import pyplot

    plot = experiment.plot
    assert plot is not None
    figure, axes = pyplot.subplots(figsize=(7.5, 3.6), layout="constrained")
    positions = list(range(len(plot.x)))
    for index, (label, values) in enumerate(plot.series.items()):
        points = [(p, v) for p, v in zip(positions, values, strict=True) if v is not None]
        places, heights = [float(p) for p, _ in points], [v for _, v in points]
        match plot.kind:
            case "lines":
                style = "-" if index < _COLOURS else "--"  # colours repeat from there on
                (line,) = axes.plot(places, heights, style, marker="o", markersize=4, label=label)
                colour = line.get_color()
            case "bars":
                width = 0.8 / len(plot.series)
                offset = (index - (len(plot.series) - 1) / 2) * width
                places, colour = [p + offset for p in places], "black"
                bars = axes.bar(places, heights, width, label=label)
                axes.bar_label(bars, fmt="{:.4g}", fontsize=7)
            case _:
                assert_never(plot.kind)
        if label in plot.spreads:
            drawn = [s for s, v in zip(plot.spreads[label], values, strict=True) if v is not None]
            reach = [(spread or 0) / 2 for spread in drawn]
            axes.errorbar(places, heights, reach, fmt="none", ecolor=colour, capsize=2)
    crowded = max(len(str(x)) for x in plot.x) * len(plot.x) > 80
    axes.set_xticks(positions, [plot_text(x) for x in plot.x], rotation=90 if crowded else 0)
    if crowded:
        axes.tick_params(axis="x", labelsize=7)
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label, title=plot_text(experiment.title))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if len(plot.series) > 1:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)
