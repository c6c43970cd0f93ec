"""What a suggested change gives, in words, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.report.measure_records import SuggestionRecord
from deploy.report.outputs import accuracy_number
from deploy.report.records import Report

_SHOWN = 0.01
"""Relative change from which on a measure is mentioned."""


def effects(report: Report, suggestion: SuggestionRecord) -> list[str]:
    """The measures that a change moves, before and after, with their units.

    Times and energies are listed in the order of the cost profiles.
    """
    now, gives = report["measures"], suggestion["gives"]
    found = [
        _change([now["interval_ticks"]], [gives["interval_ticks"]], "ticks between results", "g"),
        _change(
            now["interval_us"].values(), gives["interval_us"].values(), "us per sample", ",.1f"
        ),
        _change(now["energy_nj"].values(), gives["energy_nj"].values(), "nJ per sample", ",.0f"),
        _change([now["num_cores"]], [gives["num_cores"]], "cores", ","),
        _change([now["num_chips"]], [gives["num_chips"]], "chips", ","),
    ]
    return [*(words for words in found if words), _accuracy(report, suggestion)]


def _change(before: Iterable[float], after: Iterable[float], unit: str, form: str) -> str:
    """One pair of values per cost profile; nothing if no value moves by a hundredth."""
    pairs = list(zip(before, after, strict=True))
    if all(abs(b - a) < _SHOWN * abs(a) for a, b in pairs):
        return ""
    return f"{', '.join(f'{a:{form}} -> {b:{form}}' for a, b in pairs)} {unit}"


def _accuracy(report: Report, suggestion: SuggestionRecord) -> str:
    before, after = report["measures"]["accuracy"], suggestion["gives"]["accuracy"]
    if suggestion["keeps_integers"]:
        return "every spike stays" if before is None else "every spike and the accuracy stay"
    if before is None or after is None:
        return "other spikes, not measured"
    function = None if report["fidelity"] is None else report["fidelity"]["accuracy_function"]
    name = "accuracy" if function is None else function
    return f"{name} {accuracy_number(function, before)} -> {accuracy_number(function, after)}"
