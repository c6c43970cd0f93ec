"""Spike counts and spike trains of a population, for a few samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.report.markup import Markup, per_cent, scrolling, shape_text
from deploy.report.page.live.figures import SHARED_SCRIPT, live_figure
from deploy.report.page.view import View
from deploy.report.records import Report
from deploy.report.tables import names, numbers, tabulate


def activity_map(report: Report) -> Markup:
    """What every population does on the samples shown; neuron by neuron where scripts run."""
    activity = report["activity"]
    rows = list(_rows(report))
    table = tabulate(
        "spikes of the samples shown",
        rows,
        names("Population", "population", lambda row: row["name"]),
        numbers("neurons", "neurons", lambda row: shape_text(row["shape"])),
        numbers("T", "T", lambda row: row["timesteps"]),
        numbers("mean spikes", "mean", lambda row: f"{row['mean']:.2f}"),
        numbers("silent", "silent", lambda row: per_cent(row["silent"])),
        numbers("saturated (T spikes)", "saturated", lambda row: per_cent(row["saturated"])),
    )
    return live_figure(
        "activity-figure",
        {
            **activity,
            "readout": next(p["name"] for p in report["populations"] if p["kind"] == "readout"),
            "first": _liveliest(rows),
            "commands": not activity["is_random"],
        },
        scrolling(table.for_page()),
        caption=_samples(report),
    )


def _samples(report: Report) -> str:
    activity = report["activity"]
    if activity["is_random"]:
        return (
            f"Spikes of {activity['num_samples']} samples of random pixels, since there is no data set. "
            f"Networks behave differently on real samples: choose some with --data."
        )
    return f"Spikes of the first {activity['num_samples']} test samples of {report['data']}."


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    for name, shown in report["activity"]["populations"].items():
        amounts = [sum(column) for column in zip(*shown["histogram"], strict=True)]
        total = sum(amounts)
        yield {
            "name": name,
            "shape": shown["shape"],
            "timesteps": shown["timesteps"],
            "mean": sum(n * amount for n, amount in enumerate(amounts)) / total,
            "silent": amounts[0] / total,
            "saturated": amounts[-1] / total,
        }


def _liveliest(rows: list[dict[str, Any]]) -> str | None:
    """The population that is shown first: the first with maps, or else the first."""
    maps = [row["name"] for row in rows if row["shape"][1] * row["shape"][2] > 1]
    return next(iter([*maps, *(row["name"] for row in rows)]), None)


ACTIVITY = View(
    id="activity",
    title="Activity",
    standing="exact",
    basis=lambda report: (
        "random pixels" if report["activity"]["is_random"] else "test samples, one at a time"
    ),
    render=activity_map,
    scripts=(SHARED_SCRIPT, "activity.js"),
)
