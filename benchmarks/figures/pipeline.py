"""docs/pipeline.md: what removes the stalls of a ResNet-20, a quarter wide."""

from __future__ import annotations

from typing import Any

from benchmarks.figures.commands import Commands
from benchmarks.figures.pages import table

SEARCH = (
    "compile narrow-resnet-20.pt --optimize stalls --accuracy-budget 1 --interval 1 --out stalls"
)
SHOWN = (
    "change", "verdict", "mean_timesteps", "interval_ticks", "stall_share", "num_cores", "num_slots",
    "accuracy", "interval_us", "replicas",
)  # fmt: skip


def measure(commands: Commands) -> dict[str, Any]:
    commands.model("narrow-resnet-20.pt")
    report = commands.run(SEARCH)
    points = [{name: point[name] for name in SHOWN} for point in report["design_points"]]
    return {"designs": points}


def show(found: dict[str, Any]) -> dict[str, str]:
    rows = []
    for design in found["designs"]:
        if design["verdict"].startswith("no gain"):
            continue
        interval = design["interval_us"]
        refused = (
            "" if design["verdict"] in ("kept", "for comparison") else f" ({design['verdict']})"
        )
        rows.append(
            (
                design["change"] + refused,
                f"{design['mean_timesteps']:.2f}",
                f"{design['interval_ticks']:g}",
                f"{design['stall_share']:.0%}".replace("%", " %"),
                f"{design['num_cores']:,}",
                design["num_slots"],
                f"{100 * design['accuracy']:.1f} %",
                " / ".join(f"{value:,.0f}" for value in interval.values()),
            )
        )
    profiles = " / ".join(found["designs"][0]["interval_us"])
    return {
        "pipeline": table(
            ("design", "mean T", "ticks between results", "stalled", "cores", "slots", "correct",
             f"µs between results ({profiles})"),
            rows,
        )
    }  # fmt: skip
