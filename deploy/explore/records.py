"""The result of an exploration as plain data, which its files and its page show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from deploy.design.arguments import compile_command
from deploy.explore.array_shapes import ArrayExplorationRecord
from deploy.explore.exploration import Explored, ExploredDesign
from deploy.report.measure_records import MeasuresRecord

VERSION = 1


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
        "command": compile_command(str(model), design.options, accuracy=accuracy),
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
