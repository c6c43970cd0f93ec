"""The designs that were tried or are suggested, by two of their measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.report.markup import NOTHING, Markup, element, fragment
from deploy.report.page.pipeline_views import measured
from deploy.report.page.view import View
from deploy.report.pareto import AXES, ParetoRecord, pareto_plot
from deploy.report.records import Report

_OF_FRONT = {"accuracy", "interval_us", "first_latency_us", "energy_nj", "num_cores"}
_OF_FRONT_IN_TICKS = {"accuracy", "interval_ticks", "first_latency_ticks", "num_cores"}


def design_plot(report: Report) -> Markup:
    """This design, those of a search, and those of the suggestions; nothing if there is no other design."""
    designs = list(_designs(report))
    if len(designs) < 2:
        return NOTHING
    goods = [_goods(design["measures"]) for design in designs]
    for design, own in zip(designs, goods, strict=True):
        design["on_front"] = not any(_dominates(other, own) for other in goods)
    front = (
        "time between results, latency, energy and cores"
        if report["measures"]["interval_us"]
        else "ticks between results, ticks to the first result, and cores"
    )
    if report["measures"]["accuracy"] is not None:
        front = f"accuracy, {front}"
    return fragment(
        element(
            "p",
            "This design, those that the search tried, and the suggested changes. The front is that of "
            f"{front}.",
            class_="quiet",
        ),
        pareto_plot(designs, identifier="design-points", x="interval_us", y="num_cores"),
    )


def _designs(report: Report) -> Iterator[ParetoRecord]:
    yield {
        "label": "this design",
        "command": report["command"],
        "measures": report["measures"],
        "on_front": False,
        "mark": "this design",
    }
    for point in report["design_points"]:
        words = f"{point['change']} ({point['verdict']})"
        yield {
            "label": words,
            "command": point["command"],
            "measures": point,
            "on_front": False,
        }
    for suggestion in report["suggestions"]:
        yield {
            "label": f"suggested: {suggestion['change']}",
            "command": suggestion["command"],
            "measures": suggestion["gives"],
            "on_front": False,
        }


def _goods(measures: Mapping[str, Any]) -> dict[str, float]:
    """The measures of the front, turned so that more is better."""
    goods = {}
    of_front = _OF_FRONT if measures["interval_us"] else _OF_FRONT_IN_TICKS
    for axis in (axis for axis in AXES if axis.key in of_front):
        value = measures.get(axis.key)
        parts = value if isinstance(value, Mapping) else {"": value}
        for name, amount in parts.items():
            if amount is not None:
                goods[f"{axis.key} {name}"] = amount if axis.higher_is_better else -amount
    return goods


def _dominates(other: Mapping[str, float], own: Mapping[str, float]) -> bool:
    shared = other.keys() & own.keys()
    return all(other[key] >= own[key] for key in shared) and any(
        other[key] > own[key] for key in shared
    )


DESIGN_PLOT = View(
    id="design-plot",
    title="Designs compared",
    standing="ticks exact, times and energies estimated",
    basis=measured,
    render=design_plot,
    scripts=("pareto.js",),
)
