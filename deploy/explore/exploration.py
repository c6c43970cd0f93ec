"""Explore the designs of a model: propose, measure here or on many workers, and keep the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from deploy.design.compilation import CompileOptions
from deploy.explore.front import Measure, best_designs, pareto_front
from deploy.explore.measure import DesignMeter, Outcome
from deploy.explore.proposals import Costs, all_designs, every_design, sampled_designs
from deploy.explore.space import Choices, Space, design_key, in_words
from deploy.report.measure_records import MeasuresRecord
from toolchain.errors import MappingError

_ROUNDING = 1e-9

Spread: TypeAlias = Callable[[Sequence[CompileOptions]], Iterator[tuple[int, Outcome]]]
"""Measures designs: yields their indices and outcomes, in any order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExploredDesign:
    """A design that was tried.

    Attributes:
        number: in the order of proposal, from 0.
        label: what differs from the design as compiled by default.
        mark: what it is best in; empty if in nothing.
        refused: why it cannot be built; None if it can, and then it has measures.
    """

    number: int
    options: CompileOptions
    label: str
    measures: MeasuresRecord | None
    refused: str | None
    on_front: bool = False
    mark: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explored:
    """The result of an exploration.

    Attributes:
        whole: every design of the space was tried.
        measures: by which the designs are compared.
    """

    space: Space
    whole: bool
    measures: tuple[Measure, ...]
    designs: tuple[ExploredDesign, ...]

    @property
    def front(self) -> list[ExploredDesign]:
        """The designs on the front, those best in a measure first, then the nearest to the best of all."""
        return [design for design in self.designs if design.on_front]

    @property
    def refused(self) -> list[ExploredDesign]:
        return [design for design in self.designs if design.refused is not None]


def in_this_process(meter: DesignMeter) -> Spread:
    """Measure one design after another."""
    return lambda designs: enumerate(meter.measure(designs))


def explore(
    space: Space,
    measures: tuple[Measure, ...],
    budget: int,
    seed: int,
    spread: Spread,
    *,
    accuracy_budget: float | None = None,
    known: dict[str, Outcome] | None = None,
    on_outcome: Callable[[str, Outcome], None] = lambda key, outcome: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explored:
    """Try up to ``budget`` designs; the result does not depend on where they are measured.

    Args:
        measures: by which designs are compared.
        seed: of the sampler, which is used if the space is larger than the budget.
        accuracy_budget: points of accuracy that a design on the front may lose against the default design.
        known: outcomes by ``design_key``, from an interrupted run.
        on_outcome: called with each new outcome.
        on_progress: called with the number of designs done, and of those there will be at most.

    Raises:
        OptionError: the space is larger than the budget, and Optuna is not installed.
    """
    outcomes = dict(known or {})
    tried: dict[str, CompileOptions] = {}

    def key_of(choices: Choices) -> str:
        return design_key(space.options(choices))

    every = all_designs(space, budget, key_of)
    designs = (
        sampled_designs(space, budget, len(measures), seed, key_of)
        if every is None
        else every_design(every)
    )
    total = budget if every is None else len(every)
    batch = next(designs, [])
    while batch and len(tried) < budget:
        for choices in batch:
            if len(tried) < budget:
                options = space.options(choices)
                tried.setdefault(design_key(options), options)
        missing = [key for key in tried if key not in outcomes]
        done = len(tried) - len(missing)
        on_progress(done, total)
        for index, outcome in spread([tried[key] for key in missing]):
            outcomes[missing[index]] = outcome
            on_outcome(missing[index], outcome)
            done += 1
            on_progress(done, total)
        lowest = _lowest_accuracy(outcomes[next(iter(tried))], accuracy_budget)
        told = [_costs(outcomes.get(key_of(choices)), measures, lowest) for choices in batch]
        try:
            batch = designs.send(told)
        except StopIteration:
            break
    lowest = _lowest_accuracy(outcomes[next(iter(tried))], accuracy_budget)
    return Explored(
        space=space,
        whole=every is not None,
        measures=measures,
        designs=_with_front(tried, outcomes, space.base, measures, lowest),
    )


def _lowest_accuracy(default: Outcome, budget: float | None) -> float | None:
    """The accuracy that designs on the front have at least; None allows any.

    Raises:
        MappingError: there is a budget, and the default design, which it is counted from, cannot be built.
    """
    if budget is None:
        return None
    if "measures" not in default:
        raise MappingError(
            f"--accuracy-budget is counted from the default design, which cannot be built: "
            f"{default['refused']}; leave it out"
        )
    accuracy = default["measures"]["accuracy"]
    assert accuracy is not None
    return accuracy - budget / 100 - _ROUNDING


def _costs(
    outcome: Outcome | None, measures: Sequence[Measure], lowest_accuracy: float | None
) -> Costs:
    """What a design costs; None if it cannot be built or loses too much accuracy."""
    if outcome is None or "measures" not in outcome:
        return None
    accuracy = outcome["measures"]["accuracy"]
    if lowest_accuracy is not None and (accuracy is None or accuracy < lowest_accuracy):
        return None
    return tuple(measure.cost(outcome["measures"]) for measure in measures)


def _with_front(
    tried: dict[str, CompileOptions],
    outcomes: dict[str, Outcome],
    base: CompileOptions,
    measures: Sequence[Measure],
    lowest_accuracy: float | None,
) -> tuple[ExploredDesign, ...]:
    costs = [_costs(outcomes[key], measures, lowest_accuracy) for key in tried]
    rows = [row for row, known in enumerate(costs) if known is not None]
    table = np.array([costs[row] for row in rows], float).reshape(-1, len(measures))
    on_front = pareto_front(table)
    front = [row for row, is_on in zip(rows, on_front, strict=True) if is_on]
    marked_front = set(front)
    best = best_designs(table[on_front], measures)
    marks = {front[row]: mark for row, mark in best.items()}
    return tuple(
        ExploredDesign(
            number=row,
            options=options,
            label=in_words(options, base),
            measures=outcomes[key].get("measures"),
            refused=outcomes[key].get("refused"),
            on_front=row in marked_front,
            mark=marks.get(row, ""),
        )
        for row, (key, options) in enumerate(tried.items())
    )
