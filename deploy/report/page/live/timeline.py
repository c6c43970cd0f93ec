"""The timeline of the pipeline: stages over ticks."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.report.markup import Markup, element, join, shortened
from deploy.report.page.live.figures import SAMPLE_COLOURS, SHARED_SCRIPT, live_figure
from deploy.report.page.pipeline_views import run_shown
from deploy.report.page.view import View
from deploy.report.records import Report, SpanRecord
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES

_WIDTH, _LABELS = 1000, 150
_FEW_STAGES = 30
_STALL_HEIGHT = {"starved": 0.3, "blocked": 0.55, "drained": 0.08}
"""Height of a bar as a share of that of a firing window, so that stalls differ not by colour alone."""


def timeline(report: Report) -> Markup:
    """Firing windows and stalls of every stage; tick by tick where scripts run."""
    return live_figure(
        "timeline-figure",
        _data(report),
        _still(report),
        caption="Stages over ticks. A box is the firing window of one sample, with its number if it fits.",
        legend=element("div", *_legend(), class_="legend"),
    )


def _data(report: Report) -> dict[str, object]:
    """Spans as flat lists of start, stop, activity, sample and number of the edge, -1 for none."""
    pipeline = report["pipeline"]
    edges: dict[tuple[str, ...], int] = {}
    stages = []
    for name, stage in pipeline["stages"].items():
        flat: list[int] = []
        for start, stop, activity, sample, cause in stage["spans"]:
            edge = -1 if cause is None else edges.setdefault(tuple(cause), len(edges))
            flat += [start, stop, [*ACTIVITIES].index(activity), sample, edge]  # type: ignore[arg-type]
        stages.append({"name": name, "population": stage["population"], "spans": flat})
    return {
        "ticks": pipeline["num_ticks"],
        "samples": pipeline["samples"],
        "first": pipeline["first_latency_ticks"],
        "timesteps": {p["name"]: p["timesteps"] for p in report["populations"]},
        "stages": stages,
        "edges": [list(edge) for edge in edges],
        "synapses": [[s["source"], s["target"]] for s in report["synapses"]],
        "path": [
            [segment["population"], segment["sample"], segment["start"], segment["stop"]]
            for segment in pipeline["critical_paths"]["0"]
        ],
    }


def _legend() -> Iterator[Markup]:
    yield element("span", element("i", class_="busy"), "busy: fires; one colour per sample")
    for activity, words in (
        ("starved", "waits for spikes of a source"),
        ("blocked", "waits for a free slot at a target"),
        ("drained", "no sample left, or none has reached it"),
    ):
        yield element("span", element("i", class_=activity), f"{activity}: {words}")


def _still(report: Report) -> Markup:
    """The whole run as one picture: a path per colour, however many windows there are."""
    pipeline = report["pipeline"]
    stages, ticks = pipeline["stages"], pipeline["num_ticks"]
    row = 26 if len(stages) <= _FEW_STAGES else 14
    scale = (_WIDTH - _LABELS) / max(ticks, 1)
    bottom = 4 + len(stages) * row
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    every = next((n for n in steps if n * scale >= 45), max(ticks, 1))
    parts = []
    for tick in range(0, ticks + 1, every):
        x = _LABELS + tick * scale
        parts.append(element("line", x1=x, x2=x, y1=2, y2=bottom, class_="grid"))
        parts.append(element("text", tick, x=x, y=bottom + 14, class_="axis"))
    boxes: dict[str, list[str]] = {}
    numbers = []
    for index, (name, stage) in enumerate(stages.items()):
        y = 4.0 + index * row
        title = element("title", name)
        label = shortened(name, 20)
        parts.append(element("text", title, label, x=0, y=y + row * 0.66, class_="stage"))
        for span in stage["spans"]:
            kind, path = _box(span, y, row, scale)
            boxes.setdefault(kind, []).append(path)
            start, stop, activity, sample, _ = span
            if activity == "busy" and (stop - start) * scale >= 7 * len(str(sample)) + 3:
                x = _LABELS + (start + stop) / 2 * scale
                numbers.append(element("text", sample, x=x, y=y + row * 0.66, class_="in-box"))
    parts += [element("path", d="".join(paths), class_=kind) for kind, paths in boxes.items()]
    return element(
        "svg", join(parts), join(numbers), viewBox=f"0 0 {_WIDTH} {bottom + 20}", role="img",
        class_="few" if len(stages) <= _FEW_STAGES else "many",
        aria_label=f"timeline of {len(stages)} stages over {ticks} ticks",
    )  # fmt: skip


def _box(span: SpanRecord, y: float, row: int, scale: float) -> tuple[str, str]:
    """The class of a span's colour, and its box as a part of a path."""
    start, stop, activity, sample, _ = span
    x, width, full = _LABELS + start * scale, (stop - start) * scale, row - 4.0
    if activity == "busy":
        gap = min(1.0, width / 4)
        return f"sample-{sample % SAMPLE_COLOURS}", _rectangle(x + gap / 2, y, width - gap, full)
    height = full * _STALL_HEIGHT[activity]
    return activity, _rectangle(x, y + full - height, width, height)


def _rectangle(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:.2f} {y:.1f}h{width:.2f}v{height:.1f}h{-width:.2f}z"


TIMELINE = View(
    id="timeline",
    title="Timeline",
    standing="exact",
    basis=run_shown,
    render=timeline,
    scripts=(SHARED_SCRIPT, "timeline.js"),
)
