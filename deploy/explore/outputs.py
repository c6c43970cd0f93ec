"""What an exploration writes: all designs as JSON and CSV, the front as CSV, and a page with its plot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.build.folder import EXPLORATION, whole_folder, write_json
from deploy.explore.array_shapes import ArrayExplorationRecord
from deploy.explore.page import render_exploration
from deploy.explore.records import DesignRecord, ExplorationRecord, front_of, mean
from toolchain.printable import printable

FRONT_CSV, DESIGNS_CSV, JSON, PAGE = "front.csv", "designs.csv", "explore.json", "explore.html"
ARRAY_CSV = "array.csv"

_MEASURES = (
    "accuracy", "interval_us", "first_latency_us", "energy_nj", "num_cores", "num_chips", "num_slots",
    "interval_ticks", "first_latency_ticks", "stall_share",
)  # fmt: skip


def write_exploration(record: ExplorationRecord, out: Path) -> None:
    """Write the folder, whole or not at all.

    Raises:
        ModelFileError: it cannot be written, or something else is there.
    """
    with whole_folder(out, EXPLORATION) as folder:
        write_json(folder / JSON, record)
        _write_csv(folder / FRONT_CSV, front_of(record))
        _write_csv(folder / DESIGNS_CSV, record["designs"])
        if record["array"] is not None:
            _write_array_csv(folder / ARRAY_CSV, record["array"])
        (folder / PAGE).write_text(render_exploration(record), encoding="utf-8")


def _write_csv(path: Path, designs: Sequence[DesignRecord]) -> None:
    """One row per design; measures by cost profile get a column each and one for their mean."""
    profiles = {
        (key, profile): None
        for design in designs
        if design["measures"] is not None
        for key in _MEASURES
        if isinstance(values := design["measures"][key], dict)  # type: ignore[literal-required]
        for profile in values
    }
    columns = [f"{key} {profile}" for key, profile in profiles]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            [
                "number",
                "on_front",
                "best_in",
                "change",
                *_MEASURES,
                *columns,
                "test_accuracy",
                "refused",
                "command",
            ]
        )
        for design in designs:
            measures: Any = design["measures"] or {}
            table.writerow(
                [
                    design["number"],
                    int(design["on_front"]),
                    printable(design["mark"]),
                    printable(design["change"]),
                    *(_cell(mean(measures.get(key))) for key in _MEASURES),
                    *(_cell(measures.get(key, {}).get(profile)) for key, profile in profiles),
                    _cell(design["test_accuracy"]),
                    printable(design["refused"] or ""),
                    design["command"],
                ]
            )


def _write_array_csv(path: Path, record: ArrayExplorationRecord) -> None:
    """One row per network, mode and shape of the array."""
    keys = list(record["designs"][0]["measures"]) if record["designs"] else []
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["design", "mode", "M", "N", "S", "V", "on_front", *keys, "command"])
        for design in record["designs"]:
            table.writerow(
                [
                    design["design"],
                    design["mode"],
                    *design["unrolling"],
                    int(design["on_front"]),
                    *(_cell(design["measures"][key]) for key in keys),
                    design["command"],
                ]
            )


def _cell(value: float | None) -> object:
    if value is None:
        return ""
    return int(value) if value == int(value) else value
