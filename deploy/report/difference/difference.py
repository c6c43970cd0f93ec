"""What differs between the reports of two builds, figure by figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from typing_extensions import assert_never

from deploy.report.difference.figures import PARTS, Better, Part, Value
from deploy.report.records import Report

FORMAT, VERSION = "qac-deploy difference", 1

DIGESTS: Mapping[str, tuple[str, ...]] = {
    "model": ("model.pt",),
    "integer network": ("network.json", "network.safetensors"),
    "mapping": ("mapping.json",),
    "target": ("target.yaml",),
    "PE array": ("array.yaml",),
}
"""What the files of a build hold, by whose digests two builds are compared."""

Verdict = Literal["better", "worse", "neither"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two builds.

    Attributes:
        folder: as it was typed.
        digests: SHA-256 of each file of the build.
    """

    folder: str
    report: Report
    digests: Mapping[str, str]


class SideRecord(TypedDict):
    folder: str
    model: str
    target: str
    command: str
    sha256: dict[str, str]


class FigureDifference(TypedDict):
    """A figure that differs.

    Attributes:
        of: population, edge, cost profile and so on; empty for a figure of the whole build.
        figure: empty if ``of`` names it, as for an option.
        change: b - a, in the unit; None for texts, and where one build has no such figure.
        relative: change as a share of a; None as well if a is 0.
        verdict: whether b is ``better`` or ``worse`` than a, or neither.
    """

    part: str
    of: str
    figure: str
    unit: str
    a: Value
    b: Value
    change: float | None
    relative: float | None
    verdict: Verdict


class LoneRecord(TypedDict):
    """A population, edge and so on that one of the builds does not have, with its figures there."""

    part: str
    of: str
    only_in: Literal["a", "b"]
    figures: dict[str, Value]


class Difference(TypedDict):
    """The comparison of two builds; ``equal`` counts the figures that do not differ."""

    format: str
    version: int
    a: SideRecord
    b: SideRecord
    same: dict[str, bool]
    differing: list[FigureDifference]
    only_in_one: list[LoneRecord]
    equal: dict[str, int]


def difference(a: Side, b: Side) -> Difference:
    """Compare two builds: all figures of ``PARTS``, and the digests of what their files hold."""
    differing: list[FigureDifference] = []
    only_in_one: list[LoneRecord] = []
    equal: dict[str, int] = {}
    for part in PARTS:
        in_a, in_b = part.records(a.report), part.records(b.report)
        common = [name for name in in_a if name in in_b]
        found = [f for name in common for f in _differing(part, name, in_a[name], in_b[name])]
        differing += found
        equal[part.heading] = len(common) * len(part.figures) - len(found)
        only_in_one += [_lone(part, n, "a", in_a[n]) for n in in_a if n not in in_b]
        only_in_one += [_lone(part, n, "b", in_b[n]) for n in in_b if n not in in_a]
    return {
        "format": FORMAT,
        "version": VERSION,
        "a": _side(a),
        "b": _side(b),
        "same": {
            what: all(a.digests.get(file) == b.digests.get(file) for file in files)
            for what, files in DIGESTS.items()
        },
        "differing": differing,
        "only_in_one": only_in_one,
        "equal": equal,
    }


def _side(side: Side) -> SideRecord:
    files = [file for group in DIGESTS.values() for file in group]
    return {
        "folder": side.folder,
        "model": side.report["model"]["file"],
        "target": side.report["target"]["name"],
        "command": side.report["command"],
        "sha256": {file: side.digests[file] for file in files if file in side.digests},
    }


def _differing(part: Part[Any], of: str, in_a: Any, in_b: Any) -> Iterator[FigureDifference]:
    for figure in part.figures:
        a, b = figure.read(in_a), figure.read(in_b)
        if a == b:
            continue
        change = relative = None
        if not isinstance(a, str) and not isinstance(b, str) and a is not None and b is not None:
            change = b - a
            relative = None if a == 0 else change / abs(a)
        yield {
            "part": part.heading,
            "of": of,
            "figure": figure.name,
            "unit": figure.unit,
            "a": a,
            "b": b,
            "change": change,
            "relative": relative,
            "verdict": _verdict(figure.better, change),
        }


def _verdict(better: Better, change: float | None) -> Verdict:
    if change is None:
        return "neither"
    match better:
        case Better.LESS:
            return "better" if change < 0 else "worse"
        case Better.MORE:
            return "better" if change > 0 else "worse"
        case Better.NEITHER:
            return "neither"
        case _:
            assert_never(better)


def _lone(part: Part[Any], of: str, only_in: Literal["a", "b"], record: Any) -> LoneRecord:
    figures = {figure.title: figure.read(record) for figure in part.figures}
    return {
        "part": part.heading,
        "of": of,
        "only_in": only_in,
        "figures": {name: value for name, value in figures.items() if value is not None},
    }
