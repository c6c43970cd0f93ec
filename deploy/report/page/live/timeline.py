"""The timeline of the pipeline: stages over ticks."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.report.markup import Markup, element
from deploy.report.page.live.figures import SHARED_SCRIPT, live_figure
from deploy.report.page.pipeline_views import run_shown
from deploy.report.page.still_timeline import still_timeline
from deploy.report.page.view import View
from deploy.report.records import Report
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES


def timeline(report: Report) -> Markup:
    """Firing windows and stalls of every stage; tick by tick where scripts run."""
    return live_figure(
        "timeline-figure",
        _data(report),
        still_timeline(report["pipeline"], _classes),
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
            flat += [start, stop, [*ACTIVITIES].index(activity), sample, edge]
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


def _classes(kind: str) -> dict[str, object]:
    """The style sheet of the page has a class for each kind."""
    return {} if kind == "picture" else {"class_": kind}


TIMELINE = View(
    id="timeline",
    title="Timeline",
    standing="exact",
    basis=run_shown,
    render=timeline,
    scripts=(SHARED_SCRIPT, "timeline.js"),
)
