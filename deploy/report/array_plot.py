"""Pipeline against PE array as one picture: designs, cycles by cause, layers, and the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deploy.report.array_document import STALLS
from deploy.report.array_records import ArrayRecord, SweepRecord, UnrollingRecord
from deploy.report.markup import number
from deploy.report.plot_text import drawing, plot_text
from deploy.report.records import Report
from toolchain.files.whole_files import PNG_FILE, SVG_FILE, FileKind, whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "iterations": "#2f6db3",
    "weight": "#c2410c",
    "input": "#e3a008",
    "psum": "#7a5aa8",
    "membrane": "#9c4f7c",
    "output": "#3f8f6b",
    "parameter": "#6b6f7a",
    "node": "#1d2430",
    "fill, drain": "#c9ced6",
}
MODE_COLOURS = {
    "snn_temporal": "#2f6db3",
    "snn_bit_planes": "#e3a008",
    "ann_multiplier": "#3f8f6b",
    "ann_bit_serial": "#9c4f7c",
}
UNROLLING_COLOUR = "#9aa4b2"
_SKIPPING_MARKS = {"lockstep": "^", "per_lane": "s", "compacted": "o"}


def plot_kind(path: Path) -> FileKind:
    """The kind of picture that the name of a file asks for."""
    return SVG_FILE if path.suffix == ".svg" else PNG_FILE


def draw_comparison(report: Report, sweeps: Sequence[SweepRecord], path: Path) -> None:
    """Draw a report's comparison into a PNG or SVG file; equal reports give equal pictures.

    Raises:
        ModelFileError: the file cannot be written.
    """
    from matplotlib import pyplot

    with drawing({"svg.hashsalt": "qac-deploy", "font.size": 9}):
        num_rows = len(report["comparison"])
        heights = [1 + 0.27 * num_rows, 2.8, 3.8] + ([4.2] if sweeps else [])
        figure = pyplot.figure(figsize=(11, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        interval, energy = parts[0].subplots(1, 2, sharey=True)
        _designs(interval, report, "interval_us", "µs between results")
        _designs(energy, report, "energy_nj", "nJ per sample (estimate)")
        interval.invert_yaxis()
        _cycles(parts[1].subplots(), report["pe_array"])
        _layers(parts[2].subplots(), report["pe_array"])
        if sweeps:
            panels = parts[3].subplots(1, len(sweeps), squeeze=False)[0]
            for axes, sweep in zip(panels, sweeps, strict=True):
                _sweep(axes, sweep)
        _settle(figure)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        try:
            with whole_file(path, plot_kind(path), remedy="choose another with --plot") as part:
                figure.savefig(part, dpi=130, metadata=metadata)
        finally:
            pyplot.close(figure)


def _settle(figure: Figure) -> None:
    """Keep the layout, rounded: the solver's last digits vary, and a picture is to have the same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(edge, 4) for edge in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def _designs(
    axes: Axes, report: Report, value: Literal["interval_us", "energy_nj"], label: str
) -> None:
    from matplotlib.ticker import NullFormatter

    rows = report["comparison"]
    for row in rows:
        colour = "#6b6f7a" if row["kind"] == "pipeline" else "#2f6db3"
        place = (row[value], plot_text(row["design"]))
        axes.plot(*place, "o", color=colour)
        axes.annotate(number(row[value]), place, (7, -3), textcoords="offset points", fontsize=8)
    smallest, largest = (pick(row[value] for row in rows) for pick in (min, max))
    axes.set(xlabel=label, xscale="log", xlim=(smallest / 2, largest * 4))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _cycles(axes: Axes, on_array: ArrayRecord) -> None:
    """Cycles of each mode by cause, and the totals with zero skipping."""
    modes = on_array["estimates"]
    names = [mode["mode"] for mode in modes]
    left = [0.0] * len(modes)
    parts = {"iterations": [mode["cycles"] for mode in modes]}
    parts |= {name: [mode["stalls"][name] for mode in modes] for name in STALLS}
    parts["fill, drain"] = [mode["fill_and_drain_cycles"] for mode in modes]
    for name, cycles in parts.items():
        if not any(cycles):
            continue
        label = name if name in ("iterations", "fill, drain") else f"waits for {name}"
        axes.barh(names, cycles, left=left, height=0.6, color=COLOURS[name], label=label)
        left = [start + more for start, more in zip(left, cycles, strict=True)]
    for kind, mark in _SKIPPING_MARKS.items():
        totals = [mode["skipping"][kind]["total_cycles"] for mode in modes if mode["skipping"]]
        if totals:
            label = f"zeros skipped, {kind.replace('_', ' ')}"
            axes.plot(totals, names, mark, color="black", markerfacecolor="white", label=label)
    axes.invert_yaxis()
    axes.set(
        xlabel="cycles per sample", title=plot_text(f"{on_array['array']}: where the cycles go")
    )
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)


def _layers(axes: Axes, on_array: ArrayRecord) -> None:
    modes = on_array["estimates"]
    names = [plot_text(layer["name"]) for layer in modes[0]["layers"]]
    width = 0.8 / len(modes)
    for index, mode in enumerate(modes):
        offset = (index - (len(modes) - 1) / 2) * width
        axes.bar(
            [position + offset for position in range(len(names))],
            [layer["total_cycles"] for layer in mode["layers"]],
            width,
            color=MODE_COLOURS[mode["mode"]],
            label=mode["mode"],
        )
    many = len(names) > 14
    axes.set_xticks(
        range(len(names)), names, rotation=90 if many else 30, ha="center" if many else "right"
    )
    axes.tick_params(axis="x", labelsize=7 if many else 8)
    axes.set(ylabel="cycles", title="layer by layer", xlim=(-0.6, len(names) - 0.4))
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)


def _sweep(axes: Axes, sweep: SweepRecord) -> None:
    """Every unrolling by cycles and buffer traffic; the Pareto front is named."""
    designs = sweep["designs"]
    front = sorted((d for d in designs if d["on_front"]), key=lambda d: d["total_cycles"])

    def points(chosen: list[UnrollingRecord]) -> tuple[list[float], list[float]]:
        return [d["total_cycles"] for d in chosen], [d["port_bytes"] / 1000 for d in chosen]

    axes.loglog(*points(designs), ".", color=UNROLLING_COLOUR, markersize=4, label="unrollings")
    axes.loglog(*points(front), "o-", color="#c2410c", markersize=4, label="Pareto front")
    own = [d for d in designs if d["is_own"]]
    axes.loglog(*points(own), "*", color="#2f6db3", markersize=12, label="this array")
    for index, design in enumerate(front):
        if index in (0, len(front) - 1):
            name = "x".join(str(size) for size in design["unrolling"].values())
            place = (design["total_cycles"], design["port_bytes"] / 1000)
            shift = (4, 8) if index == 0 else (4, -12)
            axes.annotate(name, place, shift, textcoords="offset points", fontsize=8)
    axes.set(
        xlabel="cycles per sample",
        ylabel="kB through the ports",
        title=f"{sweep['elements']:,} elements unrolled M x N x S x V, {sweep['mode']}",
    )
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
