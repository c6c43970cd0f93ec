"""What an exploration writes: all designs as JSON and CSV, the front as CSV, and a page with its plot."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from deploy.build.folder import EXPLORATION, whole_folder, write_json
from deploy.design.arguments import compile_command
from deploy.explore.array_shapes import ArrayExplorationRecord
from deploy.explore.exploration import Explored, ExploredDesign
from deploy.report.records import MeasuresRecord

VERSION = 1
OUT = "build"
"""The build folder in the printed commands."""

FRONT_CSV, DESIGNS_CSV, JSON, PAGE = "front.csv", "designs.csv", "explore.json", "explore.html"
ARRAY_CSV = "array.csv"

_MEASURES = (
    "accuracy", "interval_us", "first_latency_us", "energy_nj", "num_cores", "num_chips", "num_slots",
    "interval_ticks", "first_latency_ticks", "stall_share",
)  # fmt: skip


class DesignRecord(TypedDict):
    """A design that was tried.

    ``command`` compiles it. ``refused`` says why it cannot be built; then there are no measures.
    ``test_accuracy`` is known of the default design and of those that are best in something: once the search
    is over, they are measured on test images, as ``compile`` does it.
    """

    number: int
    change: str
    mark: str
    on_front: bool
    command: str
    measures: MeasuresRecord | None
    test_accuracy: float | None
    refused: str | None


class MeasureRecord(TypedDict):
    """A measure that designs are compared by; its value is a mean over cost profiles where it has several."""

    key: str
    title: str
    best: str
    higher_is_better: bool
    is_share: bool


class ParameterRecord(TypedDict):
    """What differs between designs, and what was tried; null follows the rest of the design."""

    name: str
    choices: list[Any]


class ExplorationRecord(TypedDict):
    """The content of ``explore.json``.

    ``tuning_samples`` are the training images that accuracy is measured on, the last ones.
    """

    format: str
    version: int
    model: str
    targets: list[str]
    data: str | None
    data_note: str | None
    tuning_samples: int
    accuracy_function: str | None
    accuracy_budget: float | None
    budget: int
    seed: int
    space: list[ParameterRecord]
    space_size: int
    tried_all: bool
    compared_by: list[MeasureRecord]
    designs: list[DesignRecord]
    array: ArrayExplorationRecord | None


def exploration_record(
    explored: Explored,
    *,
    test_accuracies: Mapping[int, float | None],
    model: Path,
    targets: Iterable[str],
    data: str | None,
    data_note: str | None,
    tuning_samples: int,
    budget: int,
    seed: int,
    accuracy: str | None,
    accuracy_budget: float | None,
) -> ExplorationRecord:
    """The result as plain data; the same result gives the same record.

    Args:
        test_accuracies: by the number of a design, for those that were measured on test images.
    """
    return {
        "format": "qac-deploy exploration",
        "version": VERSION,
        "model": str(model),
        "targets": list(targets),
        "data": data,
        "data_note": data_note,
        "tuning_samples": tuning_samples,
        "accuracy_function": accuracy,
        "accuracy_budget": accuracy_budget,
        "budget": budget,
        "seed": seed,
        "space": [{"name": p.name, "choices": list(p.choices)} for p in explored.space.parameters],
        "space_size": explored.space.size,
        "tried_all": explored.whole,
        "compared_by": [
            {
                "key": m.key,
                "title": m.title,
                "best": m.best,
                "higher_is_better": m.higher_is_better,
                "is_share": m.is_share,
            }
            for m in explored.measures
        ],
        "designs": [
            _design_record(d, model, accuracy, test_accuracies.get(d.number))
            for d in explored.designs
        ],
        "array": None,
    }


def _design_record(
    design: ExploredDesign, model: Path, accuracy: str | None, test_accuracy: float | None
) -> DesignRecord:
    return {
        "number": design.number,
        "change": design.label,
        "mark": design.mark,
        "on_front": design.on_front,
        "command": compile_command(str(model), design.options, out=OUT, accuracy=accuracy),
        "measures": design.measures,
        "test_accuracy": test_accuracy,
        "refused": design.refused,
    }


def mean(value: Any) -> float | None:
    """A measure, or the mean of one by cost profile."""
    if isinstance(value, dict):
        return sum(value.values()) / len(value) if value else None
    return None if value is None else float(value)


def front_of(record: ExplorationRecord) -> list[DesignRecord]:
    """The designs on the front: those best in something first, then the others, as they were tried."""
    front = [design for design in record["designs"] if design["on_front"]]
    return sorted(front, key=lambda design: (not design["mark"], design["number"]))


def write_exploration(record: ExplorationRecord, out: Path) -> None:
    """Write the folder, whole or not at all.

    Raises:
        ModelFileError: it cannot be written, or something else is there.
    """
    from deploy.explore.page import render_exploration

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
                    design["mark"],
                    design["change"],
                    *(_cell(mean(measures.get(key))) for key in _MEASURES),
                    *(_cell(measures.get(key, {}).get(profile)) for key, profile in profiles),
                    _cell(design["test_accuracy"]),
                    design["refused"] or "",
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
