"""Stalls before and after each change: the steps of a search, or the changes suggested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from deploy.report.markup import NOTHING, Markup, command_box, element, number, per_cent
from deploy.report.page.live.figures import SHARED_SCRIPT, live_figure
from deploy.report.page.pipeline_views import measured
from deploy.report.page.view import View
from deploy.report.records import Report

_MEASURES = {
    "interval_ticks": "Ticks between results",
    "interval_us": "µs between results",
    "first_latency_us": "µs to the first result",
    "energy_nj": "nJ per sample",
    "num_cores": "Cores",
    "num_slots": "Buffer slots",
}
"""Measures that a reader may put beside the stalls, with their labels; the first is shown without scripts."""

FOR_COMPARISON = "for comparison"


class Step(NamedTuple):
    """A row: a design, and the one that it is compared with.

    Attributes:
        kind: ``whole`` for a design by itself, ``kept`` for a step or change, ``refused`` for a step that the
            search did not keep.
        before, after: measures of both designs; ``before`` is None for a design by itself.
    """

    label: str
    note: str
    kind: str
    command: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


def stall_steps(report: Report) -> Markup:
    """A row per change, with a bar from the measure before it to that after it."""
    searched = bool(report["design_points"])
    steps = _searched(report) if searched else _suggested(report)
    if searched:
        caption = (
            "From the network as compiled to the design of this report, step by step. A bar goes from the "
            "value before a step to that after it. Pale steps were refused: no later step builds on them."
        )
    else:
        caption = (
            "Each suggested change by itself: a bar goes from the value of this design to that with the "
            "change. The last row is what no buffers can go below with these firing windows."
        )
    stalls = _values("stall_share", steps)
    others = {key: values for key in _MEASURES if _is_known(values := _values(key, steps))}
    key = next(iter(others))
    head = element(
        "li", element("span", "Change"), element("span", "Stalled, share of a stage's ticks"),
        element("span", _MEASURES[key], class_="measure"), class_="head",
    )  # fmt: skip
    rows = (
        _row(step, _bar(step, stalls[i], stalls, per_cent), _bar(step, pair, others[key], number))
        for i, (step, pair) in enumerate(zip(steps, others[key], strict=True))
    )
    return live_figure(
        "stall-steps",
        {
            "measures": [[name, _MEASURES[name], values] for name, values in others.items()],
            "kinds": [step.kind for step in steps],
        },
        caption=caption,
        legend=element("ol", head, *rows, class_="steps"),
    )


def _searched(report: Report) -> list[Step]:
    """The steps of a search; the designs for comparison are in its table."""
    steps: list[Step] = []
    before: Mapping[str, Any] | None = None
    for point in report["design_points"]:
        if point["verdict"] == FOR_COMPARISON:
            continue
        kept = before is None or point["verdict"] == "kept"
        kind = "whole" if before is None else "kept" if kept else "refused"
        note = "" if kept else point["verdict"]
        steps.append(Step(point["change"], note, kind, point["command"], before, point))
        before = point if kept else before
    return [*steps, _own(report)]


def _suggested(report: Report) -> list[Step]:
    pipeline, now = report["pipeline"], report["measures"]
    least = {
        "stall_share": pipeline["least_stall_share"],
        "interval_ticks": pipeline["ideal_interval_ticks"],
    }
    return [
        _own(report),
        *(
            Step(s["change"], "", "kept", s["command"], now, s["gives"])
            for s in report["suggestions"]
        ),
        Step("the least that buffers can reach", "", "whole", "", None, least),
    ]


def _own(report: Report) -> Step:
    return Step(
        "the design of this report", "", "whole", report["command"], None, report["measures"]
    )


_Pair = tuple[float | None, float | None]


def _values(key: str, steps: Sequence[Step]) -> list[_Pair]:
    """A measure before and after each step; a design by itself starts at 0."""
    return [
        (0 if step.before is None else _value(step.before, key), _value(step.after, key))
        for step in steps
    ]


def _value(measures: Mapping[str, Any], key: str) -> float | None:
    """A measure; that of the cost profiles is their mean."""
    value = measures.get(key)
    if isinstance(value, Mapping):
        return fmean(value.values()) if value else None
    return value


def _is_known(values: list[_Pair]) -> bool:
    return any(after is not None for _, after in values)


def _row(step: Step, *bars: Markup) -> Markup:
    words = element("span", step.label, class_="what")
    note = element("span", step.note, class_="note") if step.note else NOTHING
    command = (
        element("details", element("summary", "Command"), command_box(step.command))
        if step.command
        else NOTHING
    )
    return element("li", element("div", words, note, command), *bars, class_=step.kind)


def _bar(step: Step, pair: _Pair, column: list[_Pair], written: Any) -> Markup:
    """A bar from before to after, and both as text."""
    before, after = pair
    if before is None or after is None:
        return element("span", "not measured", class_="bar-cell quiet")
    top = max((value for values in column for value in values if value is not None), default=0) or 1
    left, right = 100 * min(before, after) / top, 100 * max(before, after) / top
    start, width = f"{min(left, 99.4):.2f}%", f"{max(right - left, 0.6):.2f}%"
    kind = "same" if after == before else "down" if after < before else "up"
    kind = "total" if step.before is None else kind
    text = written(after)
    if step.before is not None:
        text = f"{written(before)} → {text}" if before != after else f"{text}, unchanged"
    return element(
        "span",
        element(
            "svg",
            element("rect", width="100%", height="100%", class_="track"),
            element("rect", x=start, width=width, height="100%", class_=kind),
            aria_hidden="true",
        ),
        element("span", text, class_="value"),
        class_="bar-cell",
    )


STALL_STEPS = View(
    id="stall-steps",
    title="Stalls before and after each change",
    standing="ticks exact, times and energies estimated",
    basis=measured,
    render=stall_steps,
    scripts=(SHARED_SCRIPT, "stall_steps.js"),
)
