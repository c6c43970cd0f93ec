"""Compute a build's report again, from its network, mapping, target, options and data set."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.build.load import MODEL, REPORT, Build
from deploy.check.lowered_again import images_of_build
from deploy.compile.measure_design import measure_design
from deploy.design.compilation import Design
from deploy.design.design import lower_model
from deploy.optimize.measurements import Measurements
from deploy.report.chrome_trace import chrome_trace
from deploy.report.html import render_html
from deploy.report.report_document import report_document
from toolchain.datasets import Dataset, load_recorded
from toolchain.errors import DataError
from toolchain.files.checkpoint import load_checkpoint

_OF_OTHER_DESIGNS = (
    "design_points",
    "sensitivity",
    "alignment_trade",
    "suggestions",
)
"""Fields of a search and of comparisons, which take longer than all others."""

_OF_DATA = (
    "fidelity",
    "measures",
    "costs",
    "asynchronous",
    "cost_samples",
    "comparison",
    "data",
    "data_sha256",
    "data_contents",
    "activity",
)
"""Fields that need the data set."""

_ROUNDING = 1e-6
"""Relative difference of floats that two machines may have."""

_FLOAT_NETWORK = 0.005
"""Difference of shares that involve the float network in single precision, on another machine."""


def report_difference(build: Build) -> tuple[str | None, str]:
    """The first figure of a report that is not what the build gives, and what was left out, for people.

    The page, the array's file and the trace are compared with the report and the schedule.
    """
    found: Any = build.report
    dataset = _dataset(build)
    checkpoint = load_checkpoint(build.folder / MODEL)
    try:
        images = images_of_build(build, checkpoint.graph)
    except DataError:
        images = None
    graph, lowered = lower_model(checkpoint.graph, build.target, build.options, images)
    compilation = measure_design(
        Design(options=build.options, graph=graph, mapping=build.mapping, lowering=lowered),
        Measurements(
            model=checkpoint.graph,
            target=build.target,
            dataset=dataset,
            on_stage=lambda stage: None,
            images=images,
        ),
        build.array,
        model=build.folder / MODEL,
        checkpoint=checkpoint,
        out=build.folder,
        with_other_designs=False,
    )
    expected = _plain(report_document(compilation))
    left_out = [field for field in _OF_OTHER_DESIGNS if found.get(field)]
    _take(expected, found, (*_OF_OTHER_DESIGNS, "suggestions_left_out", "data_note", "command"))
    _take(expected["model"], found.get("model"), ("file", "path"))
    if images is None and found["lowering"]["images_sha256"] is not None:
        left_out.append("lowering on images")
        _take(expected, found, ("lowering",))
    if dataset is None and found.get("data") is not None:
        left_out.append("what needs its data set")
        _take(expected, found, _OF_DATA)
        _take(expected["pe_array"], found.get("pe_array"), ("skipping_samples",))
        for ours, theirs in _pairs(expected["pe_array"], found.get("pe_array"), "estimates"):
            _take(ours, theirs, ("skipping",))
    function = build.report["fidelity"] and build.report["fidelity"].get("accuracy_function")
    if dataset is not None and function:
        left_out.append(f"accuracies by {function}")
        accuracies = ("accuracy_function", "float_accuracy", "integer_accuracy")
        _take(expected["fidelity"], found["fidelity"], accuracies)
        _take(expected["measures"], found.get("measures"), ("accuracy",))
    difference = first_difference(expected, found, "")
    if difference is not None:
        return f"{REPORT}: {difference}", ""
    files: dict[str, Any] = {
        "report.html": _page(build),
        "pe_array.json": found["pe_array"],
        "pipeline.trace.json": _plain(chrome_trace(compilation.schedule)),
    }
    for name, content in files.items():
        if not _holds(build.folder / name, content):
            return f"{name} is not what {REPORT} and the mapping give; compile again", ""
    return None, ", ".join(left_out)


def first_difference(expected: Any, found: Any, where: str) -> str | None:
    """The first field of a report that differs by more than rounding, with its path."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected | found:
            path = f"{where}.{key}".lstrip(".")
            if key not in found or key not in expected:
                return f"{path} is {'missing' if key not in found else 'not a field of a report'}"
            if difference := first_difference(expected[key], found[key], path):
                return difference
        return None
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return next(
            (d for i, (a, b) in pairs if (d := first_difference(a, b, f"{where}[{i}]"))), None
        )
    if expected == found and type(expected) is type(found):
        return None
    if _is_number(expected) and _is_number(found) and _is_close(expected, found, where):
        return None
    return f"{where} is {_short(found)}, must be {_short(expected)}"


def _is_close(expected: float, found: float, where: str) -> bool:
    exact = ("fidelity.samples", "fidelity.integer_accuracy")
    tolerance = 0.0
    if where.startswith(("fidelity.", "lowering.")) and where not in exact:
        tolerance = _FLOAT_NETWORK * max(1.0, abs(expected))
    return math.isclose(expected, found, rel_tol=_ROUNDING, abs_tol=tolerance)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dataset(build: Build) -> Dataset | None:
    """The build's data set; None if it has none, or if that is missing or has changed."""
    if build.report.get("data") is None:
        return None
    try:
        dataset, changed = load_recorded(build.report, build.folder)
    except DataError:
        return None
    return None if changed else dataset


def _page(build: Build) -> str | None:
    """The page of a report; None if fields that were not compared are not those of a report."""
    try:
        return render_html(build.report)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None


def _pairs(expected: Any, found: Any, field: str) -> Iterator[tuple[Any, Any]]:
    """Entries of a list that both have, in turn."""
    theirs = found.get(field) if isinstance(found, dict) else None
    return zip(expected[field], theirs if isinstance(theirs, list) else [], strict=False)


def _take(expected: Any, found: Any, fields: tuple[str, ...]) -> None:
    """Fields that are not compared: as found."""
    for field in fields:
        if isinstance(found, dict) and field in found:
            expected[field] = found[field]


def _plain(document: Any) -> Any:
    """A document as JSON has it."""
    return json.loads(json.dumps(document))


def _holds(path: Path, content: Any) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
        return (text if isinstance(content, str) else json.loads(text)) == content
    except (OSError, ValueError):
        return False
