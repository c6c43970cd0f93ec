"""A trace as a picture: potential against threshold, spikes, and the input of each step by source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.report.array_plot import plot_kind
from deploy.report.plot_text import drawing, plot_text
from deploy.trace.engines import EngineTrace
from deploy.trace.neurons import neuron_text
from deploy.trace.trace import Trace
from hw_models.multicore.pipeline.pipeline_ticks import Activity
from toolchain.files.whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 8
"""Neurons of one picture: more would be too small to read."""

_POTENTIAL, _THRESHOLD, _INK, _BIAS = "#1f4e79", "#c2410c", "#1d2430", "#c9ced6"
_SOURCES = ("#7a5aa8", "#2a9d9a", "#d1719c", "#8a6d3b", "#5aa0c8", "#6b7d2a")
_ACTIVITIES: dict[Activity, str] = {
    "busy": "#2f6db3",
    "starved": "#e3a008",
    "blocked": "#c2410c",
    "drained": "#dfe3e9",
}
_MARKERS = {"lava": ("o", 8.0), "rtl": ("x", 5.0)}
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 9.0, 0.95, 0.95, 0.4, 0.55  # inches
_LEGEND_ROW, _LEGEND_COLUMNS = 0.17, 5
_POTENTIAL_HEIGHT, _INPUT_HEIGHT, _STRIP_HEIGHT = 1.35, 0.75, 0.2
_BETWEEN, _APART = 0.1, 0.45  # panels of one neuron, and neurons
_LOGITS_HEIGHT = 3.2


def draw_trace(trace: Trace, engines: Sequence[EngineTrace], path: Path) -> None:
    """Draw the first ``MOST_PANELS`` neurons, or a readout's logits; equal traces give equal pictures.

    Args:
        path: a PNG or SVG file.

    Raises:
        ModelFileError: the file cannot be written.
    """
    from matplotlib import pyplot

    style: Any = {"svg.hashsalt": "qac-deploy", "font.size": 9, "axes.titlesize": 9}
    with drawing(style):
        draw = _logits if trace.steps.threshold is None else _neurons
        figure = draw(trace, engines)
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        try:
            with whole_file(path, plot_kind(path), remedy="choose another with --plot") as part:
                figure.savefig(part, dpi=140, metadata=metadata)
        finally:
            pyplot.close(figure)


def _neurons(trace: Trace, engines: Sequence[EngineTrace]) -> Figure:
    """For each neuron its potential, and below it its input; at the end what the population does."""
    shown = range(min(len(trace.neurons), MOST_PANELS))
    num_stages = len(trace.run.schedule.pipeline.stages(trace.name))
    num_labels = 3 + len(trace.steps.inputs) + len(engines) + len(_ACTIVITIES)
    legend = _LEGEND_ROW * -(-num_labels // _LEGEND_COLUMNS)
    per_neuron = _POTENTIAL_HEIGHT + _BETWEEN + _INPUT_HEIGHT + _APART
    strip = _STRIP_HEIGHT * num_stages
    figure, place = _canvas(_TOP + legend + per_neuron * len(shown) + strip + _BOTTOM)
    axes, top = [], _TOP + legend
    for neuron in shown:
        axes.append(place(top, _POTENTIAL_HEIGHT))
        _draw_potential(axes[-1], trace, neuron, engines)
        axes.append(place(top + _POTENTIAL_HEIGHT + _BETWEEN, _INPUT_HEIGHT))
        _draw_inputs(axes[-1], trace, neuron)
        top += per_neuron
    ticks = trace.ticks[trace.is_done]
    seen = (int(ticks.min()) - 1, int(ticks.max()) + 1) if len(ticks) else (0, 0)
    axes.append(place(top - _APART / 2, strip))
    _draw_activity(axes[-1], trace, *seen)
    for one in axes:
        one.set_xlim(seen[0] - 0.5, seen[1] + 0.5)
        one.xaxis.get_major_locator().set_params(integer=True)
        one.tick_params(axis="x", labelbottom=one is axes[-1], length=3 if one is axes[-1] else 0)
    axes[-1].set_xlabel("tick of the run")
    _legend(figure, axes)
    return figure


def _canvas(height: float) -> tuple[Figure, Any]:
    """A figure, and a function that makes axes at a distance from its top, in inches."""
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(_WIDTH, height))

    def place(top: float, own_height: float) -> Axes:
        left, width = _LEFT / _WIDTH, 1 - (_LEFT + _RIGHT) / _WIDTH
        return figure.add_axes((left, 1 - (top + own_height) / height, width, own_height / height))

    return figure, place


def _draw_potential(axes: Axes, trace: Trace, neuron: int, engines: Sequence[EngineTrace]) -> None:
    """In each step the potential jumps by the input; a spike takes the threshold from it."""
    steps = trace.steps
    before, reached = steps.before[..., neuron], steps.reached[..., neuron]
    after, spikes = steps.potentials[..., neuron], steps.spikes[..., neuron]
    for sample, ticks in enumerate(trace.ticks):
        done = trace.is_done[sample]
        corners = np.array([-0.5, -0.2, -0.2, 0.2, 0.2, 0.5])
        levels = [level[sample] for level in (before, before, reached, reached, after, after)]
        times = (ticks[done][:, None] + corners).reshape(-1)
        axes.plot(
            times,
            np.stack(levels, axis=1)[done].reshape(-1),
            color=_POTENTIAL,
            linewidth=1.6,
            label="membrane potential",
        )
        fires = done & spikes[sample]
        axes.plot(
            ticks[fires], reached[sample][fires], "^", color=_INK, markersize=6, label="spike"
        )
        for engine in engines:
            if engine.found is not None:
                marker, size = _MARKERS[engine.engine]
                axes.plot(
                    ticks[done] + 0.35,
                    engine.found.potentials[sample, :, neuron][done],
                    marker,
                    color=_INK,
                    fillstyle="none",
                    markersize=size,
                    label=f"after the step in {engine.engine}",
                )
    assert steps.threshold is not None
    threshold = int(steps.threshold[neuron])
    axes.axhline(threshold, color=_THRESHOLD, linestyle="--", linewidth=1)
    axes.annotate(
        "threshold",
        (1, threshold),
        (4, -3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=_THRESHOLD,
        fontsize=8,
    )
    who = neuron_text(trace.neurons[neuron], trace.population.shape)
    axes.set_title(plot_text(f"{trace.name}, neuron {who}"), loc="left", weight="bold")
    axes.set_ylabel("potential")
    axes.margins(y=0.12)
    _tidy(axes)


def _draw_inputs(axes: Axes, trace: Trace, neuron: int) -> None:
    done = trace.is_done
    parts = {f"input from {s}": v[..., neuron][done] for s, v in trace.steps.inputs.items()}
    parts["bias"] = np.full(int(done.sum()), trace.steps.bias[neuron])
    _stacked(axes, trace.ticks[done], parts, 0.7)
    axes.set_ylabel("input")
    _tidy(axes)


def _stacked(axes: Axes, places: np.ndarray, parts: dict[str, np.ndarray], width: float) -> None:
    """Stacked bars, positive parts up and negative ones down."""
    above, below = np.zeros(len(places)), np.zeros(len(places))
    for index, (label, values) in enumerate(parts.items()):
        colour = _BIAS if label == "bias" else _SOURCES[index % len(_SOURCES)]
        bottom = np.where(values >= 0, above, below)
        axes.bar(places, values, width, bottom, color=colour, label=label)
        above, below = above + np.maximum(values, 0), below + np.minimum(values, 0)
    axes.axhline(0, color=_INK, linewidth=0.6)


def _draw_activity(axes: Axes, trace: Trace, first: int, last: int) -> None:
    """What the population does in each tick from the first to the last; a row per replica."""
    stages = trace.run.schedule.pipeline.stages(trace.name)
    for row, stage in enumerate(stages):
        for span in trace.run.schedule.spans[stage]:
            start, stop = max(span.start, first), min(span.stop, last + 1)
            if start >= stop:
                continue
            axes.barh(
                row,
                stop - start,
                left=start - 0.5,
                height=0.9,
                color=_ACTIVITIES[span.activity],
                label=span.activity,
            )
        for sample in trace.samples:
            ticks = trace.run.schedule.step_ticks[trace.name][sample]
            if trace.stage(sample) == stage and first <= ticks[0] and ticks[-1] <= last:
                room = len(ticks) / (last - first + 1)  # of the width
                text = f"sample {sample}" if room > 0.06 else str(sample) if room > 0.02 else ""
                axes.text(
                    ticks.mean(), row, text, color="white", fontsize=7, ha="center", va="center"
                )
    axes.set_yticks(range(len(stages)), list(map(plot_text, stages)))
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.tick_params(labelsize=8)
    axes.spines[:].set_visible(False)


def _logits(trace: Trace, engines: Sequence[EngineTrace]) -> Figure:
    """The logits of the last sample that is shown, each with what every source adds."""
    legend = _LEGEND_ROW * -(-(2 + len(trace.steps.inputs) + len(engines)) // _LEGEND_COLUMNS)
    figure, place = _canvas(_TOP + legend + _LOGITS_HEIGHT + _BOTTOM)
    axes = place(_TOP + legend, _LOGITS_HEIGHT)
    names = [str(neuron) for neuron in trace.neurons]
    if trace.samples:
        done = trace.is_done[-1][:, None]
        num_steps = int(done.sum())
        places = np.arange(len(names))
        parts = {
            f"input from {source}": (values[-1] * done).sum(axis=0)
            for source, values in trace.steps.inputs.items()
        }
        _stacked(axes, places, parts | {"bias": trace.steps.bias * num_steps}, 0.6)
        last = num_steps - 1
        axes.plot(
            places, trace.steps.potentials[-1, last], "D", color=_INK, markersize=4, label="logit"
        )
        for engine in engines:
            if engine.found is not None:
                marker, size = _MARKERS[engine.engine]
                logits = engine.found.potentials[-1, last]
                axes.plot(
                    places,
                    logits,
                    marker,
                    color=_THRESHOLD,
                    fillstyle="none",
                    markersize=size + 3,
                    label=f"in {engine.engine}",
                )
        title = f"{trace.name}, sample {trace.samples[-1]}, tick {trace.ticks[-1, last]}"
        axes.set_title(plot_text(title), loc="left", weight="bold")
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 20 else 0)
    axes.set(xlabel="neuron", ylabel="logit, integer")
    axes.grid(axis="y", alpha=0.25)
    _tidy(axes)
    _legend(figure, [axes])
    return figure


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all axes, above them."""
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()),
        list(map(plot_text, handles)),
        loc="upper center",
        ncols=_LEGEND_COLUMNS,
        fontsize=8,
        frameon=False,
    )


def _tidy(axes: Axes) -> None:
    from matplotlib.ticker import EngFormatter

    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_label_coords(-0.075, 0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
