"""Explore the designs of a model: propose, measure here or on many workers, and keep the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from deploy.design.compilation import CompileOptions
from deploy.explore.front import Measure, best_designs, pareto_front
from deploy.explore.measure import DesignMeter, Outcome
from deploy.explore.proposals import Costs, proposals
from deploy.explore.space import Choices, Space, design_key, in_words
from deploy.report.records import MeasuresRecord

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
    known: dict[str, Outcome] | None = None,
    on_outcome: Callable[[str, Outcome], None] = lambda key, outcome: None,
    on_progress: Callable[[int], None] = lambda designs: None,
) -> Explored:
    """Try up to ``budget`` designs; the result does not depend on where they are measured.

    Args:
        measures: by which designs are compared.
        seed: of the sampler, which is used if the space is larger than the budget.
        known: outcomes by ``design_key``, from an interrupted run.
        on_outcome: called with each new outcome.
        on_progress: called with the number of designs done.

    Raises:
        OptionError: the space is larger than the budget, and Optuna is not installed.
    """
    outcomes = dict(known or {})
    tried: dict[str, CompileOptions] = {}

    def key_of(choices: Choices) -> str:
        return design_key(space.options(choices))

    designs = proposals(space, budget, len(measures), seed, key_of)
    batch = next(designs, [])
    while batch and len(tried) < budget:
        for choices in batch:
            if len(tried) < budget:
                options = space.options(choices)
                tried.setdefault(design_key(options), options)
        missing = [key for key in tried if key not in outcomes]
        done = len(tried) - len(missing)
        on_progress(done)
        for index, outcome in spread([tried[key] for key in missing]):
            outcomes[missing[index]] = outcome
            on_outcome(missing[index], outcome)
            done += 1
            on_progress(done)
        told = [_costs(outcomes.get(key_of(choices)), measures) for choices in batch]
        try:
            batch = designs.send(told)
        except StopIteration:
            break
    whole = space.size <= budget
    return Explored(
        space=space,
        whole=whole,
        measures=measures,
        designs=_with_front(tried, outcomes, space.base, measures),
    )


def _costs(outcome: Outcome | None, measures: Sequence[Measure]) -> Costs:
    if outcome is None or "measures" not in outcome:
        return None
    return tuple(measure.cost(outcome["measures"]) for measure in measures)


def _with_front(
    tried: dict[str, CompileOptions],
    outcomes: dict[str, Outcome],
    base: CompileOptions,
    measures: Sequence[Measure],
) -> tuple[ExploredDesign, ...]:
    costs = [_costs(outcomes[key], measures) for key in tried]
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
