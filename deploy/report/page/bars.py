"""Bars that fill the width they are given, so that the text next to them stays readable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from deploy.report.array_document import STALLS
from deploy.report.array_records import ArrayRecord
from deploy.report.markup import Markup, breakable, element, number, per_cent
from deploy.report.records import Report, TimeRecord
from hw_models.multicore.cost.tick_cost import TIMES
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES

_LABELLED_FROM = 0.07  # share of the width


def meter(share: float) -> Markup:
    """A bar of which a share, 0 to 1, is filled; the text next to it says how much."""
    return element(
        "svg",
        element("rect", width="100%", height="100%", class_="track"),
        element("rect", width=f"{100 * min(share, 1):.2f}%", height="100%", class_="busy"),
        class_="meter",
        aria_hidden="true",
    )


def stall_bars(report: Report) -> Markup:
    """One stacked bar per stage: its ticks in the run shown, by activity."""
    rows = {stage: r["activity"] for stage, r in report["pipeline"]["stages"].items()}
    return stacked_bars(rows, ACTIVITIES, "ticks")


def time_bars(times: dict[str, TimeRecord]) -> Markup:
    """One stacked bar per population: the time of its cores, in microseconds."""
    seconds = cast("dict[str, dict[str, float]]", times)
    rows = {
        name: {kind: 1e6 * record[f"{kind}_s"] for kind in TIMES}
        for name, record in seconds.items()
    }
    return stacked_bars(rows, TIMES, "µs")


def cycle_bars(on_array: ArrayRecord) -> Markup:
    """One stacked bar per mode of the PE array, at one scale: the cycles of a sample by cause."""
    kinds = ["iterations", *(f"wait-{name}" for name in STALLS), "edges"]
    rows: dict[str, dict[str, int]] = {
        mode["mode"]: {
            "iterations": mode["cycles"],
            **{f"wait-{name}": mode["stalls"][name] for name in STALLS},
            "edges": mode["fill_and_drain_cycles"],
        }
        for mode in on_array["estimates"]
    }
    return stacked_bars(rows, kinds, "cycles", at_one_scale=True)


def stacked_bars(
    rows: Mapping[str, Mapping[Any, float]],
    kinds: Sequence[str],
    unit: str,
    *,
    at_one_scale: bool = False,
) -> Markup:
    """A stacked bar per row; each kind is a class of the style sheet.

    Args:
        rows: amount of each kind, by the name of the row.
        unit: of the amounts.
        at_one_scale: the bars are as long as their sums, which are written after them; otherwise all
            have the same length.
    """
    longest = max(sum(amounts.values()) for amounts in rows.values())
    drawn = []
    for name, amounts in rows.items():
        total = sum(amounts.values())
        bar = _bar(amounts, kinds, unit, longest if at_one_scale else total)
        words = ", ".join(f"{kind} {number(amounts[kind])}" for kind in kinds if amounts[kind])
        drawn += [
            element("span", breakable(name), class_="label"),
            element(
                "svg", *bar, role="img", aria_label=f"{name}, {unit}: {words}", class_="stacked"
            ),
            element("span", f"{number(total)} {unit}" if at_one_scale else "", class_="total"),
        ]
    return element("div", *drawn, class_="bars")


def _bar(
    amounts: Mapping[Any, float], kinds: Sequence[str], unit: str, whole: float
) -> list[Markup]:
    """Boxes from left to right, in per cent of the width; wide ones say their share of the bar."""
    total, x, parts = sum(amounts.values()), 0.0, []
    for kind in kinds:
        share = amounts[kind] / whole if whole else 0
        if not share:
            continue
        title = element("title", f"{kind} {number(amounts[kind])} {unit}")
        parts.append(
            element("rect", title, x=_percent(x), width=_percent(share), height="100%", class_=kind)
        )
        if share > _LABELLED_FROM:
            words = per_cent(amounts[kind] / total)
            middle = _percent(x + share / 2)
            parts.append(element("text", words, x=middle, y=15, class_=f"in-bar on-{kind}"))
        x += share
    return parts


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
