"""The Pareto front of designs: those that no other design beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.report.measure_records import MeasuresRecord

_DIGITS = 9
"""Significant digits in which measures are compared: sums in another order differ after that."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure that an exploration improves.

    Attributes:
        key: its field in the measures; of a field by cost profile, the mean is taken.
        title: column heading.
        best: what the design with the best value is called.
        higher_is_better: otherwise lower is.
        is_share: of 1.
    """

    key: str
    title: str
    best: str
    higher_is_better: bool = False
    is_share: bool = False

    def of(self, measures: MeasuresRecord) -> float:
        value: Any = measures[self.key]  # type: ignore[literal-required]
        if isinstance(value, Mapping):
            return float(sum(value.values()) / len(value))
        return float(value)

    def cost(self, measures: MeasuresRecord) -> float:
        """The value, negated if higher is better, rounded for comparison."""
        value = float(f"{self.of(measures):.{_DIGITS}g}")
        return -value if self.higher_is_better else value


_CORES = Measure(key="num_cores", title="cores", best="fewest cores")
_WITH_DATA = (
    Measure(key="interval_us", title="µs between results", best="highest throughput"),
    Measure(key="first_latency_us", title="latency µs", best="lowest latency"),
    Measure(key="energy_nj", title="nJ per sample", best="least energy"),
)
_WITHOUT_DATA = (
    Measure(key="interval_ticks", title="ticks between results", best="highest throughput"),
    Measure(key="first_latency_ticks", title="latency ticks", best="lowest latency"),
)
KNEE = "best compromise"


def chosen_measures(
    *, with_data: bool, with_accuracy: bool, accuracy: str | None = None
) -> tuple[Measure, ...]:
    """The measures that designs are compared by.

    Args:
        with_data: times and energies are measured, else ticks.
        accuracy: name of the user's own; None takes the share of right classes.
    """
    times = _WITH_DATA if with_data else _WITHOUT_DATA
    of_accuracy = Measure(
        key="accuracy",
        title=accuracy or "accuracy",
        best="most accurate",
        higher_is_better=True,
        is_share=accuracy is None,
    )
    return (*((of_accuracy,) if with_accuracy else ()), *times, _CORES)


def pareto_front(costs: np.ndarray) -> np.ndarray:
    """Which rows no other row beats; of equal rows only the first.

    Args:
        costs: lower is better, shape ``(designs, measures)``.

    Returns:
        Bool of shape ``(designs,)``.
    """
    count = len(costs)
    on_front = np.ones(count, bool)
    for row in range(count):
        if not on_front[row]:
            continue
        no_better = (costs >= costs[row]).all(axis=1)
        equal = (costs == costs[row]).all(axis=1)
        on_front &= ~no_better | (equal & (np.arange(count) <= row))
    return on_front


def best_designs(costs: np.ndarray, measures: Sequence[Measure]) -> dict[int, str]:
    """Rows of a front that are best in a measure, and the one nearest to the best of all, with their names.

    Of several with the best value, the one that is best in the first measure is named, and of those the one
    nearest to the best in all measures.
    """
    if not len(costs):
        return {}
    low = costs.min(axis=0)
    span = costs.max(axis=0) - low
    distance = np.sqrt((((costs - low) / np.where(span > 0, span, 1)) ** 2).sum(axis=1))
    names: dict[int, list[str]] = {}
    for column, measure in enumerate(measures):
        if span[column] > 0 or len(costs) == 1:
            best = np.flatnonzero(costs[:, column] == low[column])
            first = best[np.lexsort((distance[best], costs[best, 0]))[0]]
            names.setdefault(int(first), []).append(measure.best)
    names.setdefault(int(distance.argmin()), []).append(KNEE)
    return {row: ", ".join(found) for row, found in sorted(names.items())}
