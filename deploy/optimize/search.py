"""Search a better design for one objective: keep what lowers its measure within the constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from deploy.design.compilation import CompileOptions, Design, DesignPoint
from deploy.design.design import lowering
from deploy.optimize.measurements import Measurements, mean_timesteps
from deploy.optimize.objectives import OBJECTIVES, Objective, Step
from deploy.optimize.steps import (
    STEP_RULES,
    Candidate,
    Search,
    StepRule,
    with_least_slots,
)
from hw_models.multicore.pipeline.initiation_interval import ideal_interval_ticks
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset
from toolchain.errors import DataError
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes.change_timesteps import use_uniform_timesteps

KEPT = "kept"

ROUNDING = 1e-9
"""Relative difference of two measures below which they are equal."""


def optimize_design(
    first: Design,
    model: LayerGraph,
    target: TargetDescription,
    dataset: Dataset | None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> tuple[Design, list[DesignPoint]]:
    """The best design found for ``first.options.optimize``, and all that were measured on the way.

    Every design is compared with the last one kept. The points begin with ``first`` and end with the same
    network at uniform T, for comparison.

    Raises:
        MappingError: the replicas for the interval asked for do not fit the target.
        DataError: the measure is of real samples, and there are none.
    """
    objective = _objective(first.options, dataset)
    measurements = Measurements(model=model, target=target, dataset=dataset, on_stage=on_stage)
    measurements.remember(first)
    search = Search(
        objective=objective,
        measurements=measurements,
        interval=first.options.interval,
        chooses_replicas=not first.options.replicate,
        accuracy_budget=first.options.accuracy_budget,
        lowest_accuracy=_lowest_accuracy(first, measurements),
    )
    found = climb(search, first, objective.applicable(search.may_change_integers))
    if (
        search.interval is None
    ):  # else that is the aim, and what is faster would cost more than asked for
        take_from_others(found, first)
    points = list(found.points)
    for candidate in _uniform(search, first):
        points.append(measurements.point(candidate.design, candidate.change, "for comparison"))
    return found.best, points


@dataclass(kw_only=True, eq=False)
class Climb:
    """How far a search has come: the best design, all candidates measured, and the last point kept."""

    search: Search
    best: Design
    kept: DesignPoint
    points: list[DesignPoint]
    measured: list[Design]

    def keep(self, candidate: Candidate, rule: StepRule | None = None) -> bool:
        """Measure a candidate, and make it the best design if nothing speaks against it."""
        point = self.search.measurements.point(candidate.design, candidate.change, KEPT)
        refusal = _refusal(self.search, rule, self.points[0], self.kept, point)
        self.measured.append(candidate.design)
        self.points.append(replace(point, verdict=refusal or KEPT))
        if refusal is None:
            self.best, self.kept = candidate.design, point
        return refusal is None

    def has(self, candidate: Candidate) -> bool:
        return candidate.design in self.measured

    @property
    def kept_candidates(self) -> list[Candidate]:
        """Those that were the best design once, the first one left out."""
        pairs = zip(self.points, self.measured, strict=True)
        return [
            Candidate(change=point.change, design=design)
            for point, design in list(pairs)[1:]
            if point.verdict == KEPT
        ]

    def preference(self, candidate: Candidate) -> tuple[bool, float]:
        """Lowest for what would be kept and lowers the measure most."""
        point = self.search.measurements.point(candidate.design, candidate.change, KEPT)
        refusal = _refusal(self.search, None, self.points[0], self.kept, point)
        return refusal is not None, self.search.objective.measure(point)


def take_from_others(found: Climb, first: Design) -> None:
    """Take the best of what searches for other objectives keep, where that beats the search's own.

    Steps depend on each other, so a search for another objective may lead further than one's own. It ends
    after its last step that may lower the measure.
    """
    search = found.search
    for other in OBJECTIVES.values():
        if other is search.objective or (other.needs_data and search.measurements.dataset is None):
            continue
        searched = replace(search, objective=other, interval=None)
        steps = other.applicable(searched.may_change_integers)
        while steps and steps[-1] in search.objective.cannot_lower:
            steps = steps[:-1]
        offered = [c for c in climb(searched, first, steps).kept_candidates if not found.has(c)]
        if offered:
            change = f"as the search for {other.name} has it"
            found.keep(replace(min(offered, key=found.preference), change=change))


def climb(search: Search, first: Design, steps: Sequence[Step]) -> Climb:
    """Try steps one after another, each from the best design so far."""
    point = search.measurements.point(first, "as compiled", KEPT)
    found = Climb(search=search, best=first, kept=point, points=[point], measured=[first])
    for step in steps:
        rule = STEP_RULES[step]
        while _try(found, rule) and rule.repeats:
            pass
    return found


def _try(found: Climb, rule: StepRule) -> bool:
    """Try the candidates of a step; of one that repeats, up to the first that is kept."""
    any_kept = False
    for candidate in rule.candidates(found.search, found.best):
        any_kept |= found.keep(candidate, rule)
        if any_kept and rule.repeats:
            break
    return any_kept


def _objective(options: CompileOptions, dataset: Dataset | None) -> Objective:
    assert options.optimize is not None
    objective = OBJECTIVES[options.optimize]
    if objective.needs_data and dataset is None:
        raise DataError(
            f"--optimize {objective.name} measures {objective.lowers}, on real samples, but no data set is "
            f"known; choose one with --data"
        )
    if options.accuracy_budget > 0 and dataset is None:
        raise DataError(
            "--accuracy-budget measures accuracy on real samples, but no data set is known; choose one with "
            "--data"
        )
    return objective


def _lowest_accuracy(first: Design, measurements: Measurements) -> float | None:
    """What the accuracy budget allows; None without one."""
    budget, accuracy = first.options.accuracy_budget, measurements.accuracy(first.network)
    return None if accuracy is None or budget == 0 else accuracy - budget / 100 - 1e-9


def _refusal(
    search: Search, rule: StepRule | None, first: DesignPoint, kept: DesignPoint, point: DesignPoint
) -> str | None:
    """Why a point is not kept, or None."""
    asked = search.interval
    if search.lowest_accuracy is not None:
        assert first.accuracy is not None
        assert point.accuracy is not None
        if point.accuracy < search.lowest_accuracy:
            lost = 100 * (first.accuracy - point.accuracy)
            return f"loses {lost:.2f} points, over the budget of {search.accuracy_budget:g}"
    if asked is not None and kept.interval_ticks > asked >= point.interval_ticks:
        return None
    if asked is not None and kept.interval_ticks <= asked < point.interval_ticks:
        return f"one result every {point.interval_ticks:g} ticks, not the {asked} asked for"
    if search.objective.keeps_interval and point.interval_ticks > first.interval_ticks:
        return (
            f"one result every {point.interval_ticks:g} ticks, {search.objective.name} keeps the "
            f"{first.interval_ticks:g} as compiled"
        )
    kept_measure = search.objective.measure(kept)
    if search.objective.measure(point) >= kept_measure - ROUNDING * abs(kept_measure):
        return f"no gain in {search.objective.name}"
    if rule is not None and rule.keeps_chips and asked is None and point.num_chips > kept.num_chips:
        remedy = ""
        if search.objective.takes_interval:
            remedy = f": only with --interval {point.interval_ticks:g}"
        return f"{point.num_chips} chips in place of {kept.num_chips}{remedy}"
    return None


def _uniform(search: Search, first: Design) -> Iterator[Candidate]:
    """The same model with one T for all, the mean rounded down and up, with the same buffers.

    Where the search sizes the buffers, also with the fewest slots: what is then left is what mixing costs.
    """
    known = search.measurements
    mean = mean_timesteps(first.network)
    for steps in sorted({max(int(mean), 1), ceil(mean)}):
        graph = use_uniform_timesteps(first.graph, steps)
        network = lowering(known.target, first.options)(graph)
        design = known.mapped(first.options, graph, network, first.provisioning)
        yield Candidate(change=f"uniform T = {steps}", design=design)
        if search.objective.sizes_buffers:
            least = with_least_slots(search, design, ideal_interval_ticks(design.pipeline))
            change = f"uniform T = {steps}, fewest slots for one result every {steps} ticks"
            yield Candidate(change=change, design=least)
