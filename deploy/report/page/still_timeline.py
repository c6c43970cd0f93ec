"""The timeline of the pipeline as one picture: stages over ticks, a path per colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from deploy.report.markup import Markup, element, join, shortened
from deploy.report.records import PipelineRecord, SpanRecord

SAMPLE_COLOURS = 8

Paint: TypeAlias = Callable[[str], Mapping[str, object]]
"""Attributes of a kind of mark: ``sample-0`` to ``sample-7``, an activity, ``grid``, ``axis``, ``stage`` or
``in-box``."""

_WIDTH, _LABELS = 1000, 150
_FEW_STAGES = 30
_STALL_HEIGHT = {"starved": 0.3, "blocked": 0.55, "drained": 0.08}
"""Height of a bar as a share of that of a firing window, so that stalls differ not by colour alone."""


def still_timeline(pipeline: PipelineRecord, paint: Paint, num_ticks: int | None = None) -> Markup:
    """Firing windows and stalls of every stage, however many windows there are.

    Args:
        num_ticks: first ticks that are shown; None shows the whole run.
    """
    stages = pipeline["stages"]
    ticks = pipeline["num_ticks"] if num_ticks is None else min(num_ticks, pipeline["num_ticks"])
    row = 26 if len(stages) <= _FEW_STAGES else 14
    scale = (_WIDTH - _LABELS) / max(ticks, 1)
    bottom = 4 + len(stages) * row
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    every = next((n for n in steps if n * scale >= 45), max(ticks, 1))
    parts = []
    for tick in range(0, ticks + 1, every):
        x = _LABELS + tick * scale
        parts.append(element("line", x1=x, x2=x, y1=2, y2=bottom, **paint("grid")))
        parts.append(element("text", tick, x=x, y=bottom + 14, **paint("axis")))
    boxes: dict[str, list[str]] = {}
    numbers = []
    for index, (name, stage) in enumerate(stages.items()):
        y = 4.0 + index * row
        title = element("title", name)
        label = shortened(name, 20)
        parts.append(element("text", title, label, x=0, y=y + row * 0.66, **paint("stage")))
        for start, stop, *rest in stage["spans"]:
            if start >= ticks:
                continue
            span: SpanRecord = (start, min(stop, ticks), *rest)  # type: ignore[assignment]
            kind, path = _box(span, y, row, scale)
            boxes.setdefault(kind, []).append(path)
            start, stop, activity, sample, _ = span
            if activity == "busy" and (stop - start) * scale >= 7 * len(str(sample)) + 3:
                x = _LABELS + (start + stop) / 2 * scale
                numbers.append(element("text", sample, x=x, y=y + row * 0.66, **paint("in-box")))
    parts += [element("path", d="".join(paths), **paint(kind)) for kind, paths in boxes.items()]
    return element(
        "svg", join(parts), join(numbers), viewBox=f"0 0 {_WIDTH} {bottom + 20}", role="img",
        class_="few" if len(stages) <= _FEW_STAGES else "many",
        aria_label=f"timeline of {len(stages)} stages over {ticks} ticks",
        **paint("picture"),
    )  # fmt: skip


def _box(span: SpanRecord, y: float, row: int, scale: float) -> tuple[str, str]:
    """The kind of a span, and its box as a part of a path."""
    start, stop, activity, sample, _ = span
    x, width, full = _LABELS + start * scale, (stop - start) * scale, row - 4.0
    if activity == "busy":
        gap = min(1.0, width / 4)
        return f"sample-{sample % SAMPLE_COLOURS}", _rectangle(x + gap / 2, y, width - gap, full)
    height = full * _STALL_HEIGHT[activity]
    return activity, _rectangle(x, y + full - height, width, height)


def _rectangle(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:.2f} {y:.1f}h{width:.2f}v{height:.1f}h{-width:.2f}z"
