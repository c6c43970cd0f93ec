"""Search a better design for one objective: keep each that lowers its measure within the constraints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from deploy.design.accuracy import OPTION
from deploy.design.compilation import CompileOptions, Design, DesignPoint
from deploy.design.pace import every_ticks
from deploy.optimize.measurements import Measurements
from deploy.optimize.objectives import OBJECTIVES, Objective, Step
from deploy.optimize.steps import STEP_RULES, Candidate, Search, StepRule, with_least_slots
from hw_models.multicore.pipeline.initiation_interval import ideal_interval_ticks
from toolchain.datasets import Dataset
from toolchain.errors import AccuracyError, DataError
from toolchain.networks.layer_graph import has_classes

KEPT = "kept"

ROUNDING = 1e-9
"""Relative difference of two measures below which they are equal."""


def optimize_design(first: Design, measurements: Measurements) -> tuple[Design, list[DesignPoint]]:
    """Find a better design for ``first.options.optimize``.

    Args:
        measurements: of the model that ``first`` was made from.

    Returns:
        The best design, and the measures of all designs that were tried. Each is compared with the last
        one kept. The first is ``first``; the last ones have uniform T, for comparison.

    Raises:
        MappingError: the replicas for the interval asked for do not fit the target.
        DataError: the search needs real samples, and there is no data set.
        AccuracyError: there is an accuracy budget, but no accuracy is defined.
    """
    options = first.options
    objective = _objective(options, measurements.dataset)
    measurements.remember(first)
    readout, own = first.network.readout, measurements.accuracy_measure
    if options.accuracy_budget > 0 and own is None and not has_classes(readout):
        raise AccuracyError(
            f"--accuracy-budget needs an accuracy, but the logits of {readout.name} are not those of "
            f"classes; define it with {OPTION}"
        )
    accuracy = measurements.accuracy(first.network) if options.accuracy_budget > 0 else None
    search = Search(
        objective=objective,
        measurements=measurements,
        options=options,
        interval=options.interval,
        lowest_accuracy=None
        if accuracy is None
        else accuracy - options.accuracy_budget / 100 - 1e-9,
    )
    found = climb(search, first, objective.applicable(search.may_change_integers))
    if search.interval is None:  # a faster design would cost more than the interval asked for
        take_from_others(found, first)
    points = list(found.points)
    for change, design in _uniform(search, first):
        points.append(measurements.point(design, change, "for comparison"))
    return found.best, points


@dataclass(kw_only=True, eq=False)
class Climb:
    """State of a search: the best design with its measures, and all designs measured."""

    search: Search
    best: Design
    kept: DesignPoint
    points: list[DesignPoint]
    measured: list[Design]

    def judge(self, candidate: Candidate, rule: StepRule | None = None) -> DesignPoint:
        """Measure a candidate; the verdict is ``KEPT``, or why it is not to be kept."""
        change, design = candidate
        point = self.search.measurements.point(design, change, KEPT)
        return replace(point, verdict=self._refusal(point, rule) or KEPT)

    def rank(self, candidate: Candidate) -> tuple[bool, float]:
        """Least for the candidate that would be kept and lowers the measure most."""
        point = self.judge(candidate)
        return point.verdict != KEPT, self.search.objective.measure(point)

    def keep(self, candidate: Candidate, rule: StepRule | None = None) -> bool:
        """Measure a candidate, and make it the best design unless its verdict is a refusal."""
        point = self.judge(candidate, rule)
        _, design = candidate
        self.measured.append(design)
        self.points.append(point)
        if point.verdict == KEPT:
            self.best, self.kept = design, point
        return point.verdict == KEPT

    def try_step(self, rule: StepRule) -> bool:
        """Try the candidates of a step; if it repeats, only up to the first that is kept."""
        any_kept = False
        for candidate in rule.candidates(self.search, self.best):
            any_kept |= self.keep(candidate, rule)
            if any_kept and rule.repeats:
                break
        return any_kept

    def _refusal(self, point: DesignPoint, rule: StepRule | None) -> str | None:
        search, first, kept = self.search, self.points[0], self.kept
        asked, lowest = search.interval, search.lowest_accuracy
        if lowest is not None:
            assert first.accuracy is not None
            assert point.accuracy is not None
            if point.accuracy < lowest:
                lost = 100 * (first.accuracy - point.accuracy)
                return f"loses {lost:.2f} points, over the budget of {search.options.accuracy_budget:g}"
        if asked is not None and kept.interval_ticks > asked >= point.interval_ticks:
            return None
        if asked is not None and kept.interval_ticks <= asked < point.interval_ticks:
            return f"one result {every_ticks(point.interval_ticks)}, not the {asked} asked for"
        objective = search.objective
        if objective.keeps_interval and point.interval_ticks > first.interval_ticks:
            return (
                f"one result {every_ticks(point.interval_ticks)}, {objective.name} keeps the "
                f"{first.interval_ticks:g} as compiled"
            )
        kept_measure = objective.measure(kept)
        if objective.measure(point) >= kept_measure - ROUNDING * abs(kept_measure):
            return f"no gain in {objective.name}"
        keeps_chips = rule is not None and rule.keeps_chips and asked is None
        if keeps_chips and point.num_chips > kept.num_chips:
            remedy = ""
            if objective.takes_interval:
                remedy = f": only with --interval {point.interval_ticks:g}"
            return f"{point.num_chips} chips in place of {kept.num_chips}{remedy}"
        return None


def climb(search: Search, first: Design, steps: Sequence[Step]) -> Climb:
    """Try steps one after another, each from the best design so far."""
    point = search.measurements.point(first, "as compiled", KEPT)
    found = Climb(search=search, best=first, kept=point, points=[point], measured=[first])
    for step in steps:
        rule = STEP_RULES[step]
        while found.try_step(rule) and rule.repeats:
            pass
    return found


def take_from_others(found: Climb, first: Design) -> None:
    """Keep the best of the designs that searches for other objectives keep, if it beats the search's own.

    Steps depend on each other, so a search for another objective may lead to a better design. It ends
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
        tried = climb(searched, first, steps)
        offered = [
            (f"as the search for {other.name} has it", design)
            for point, design in zip(tried.points, tried.measured, strict=True)
            if point.verdict == KEPT and design not in found.measured
        ]
        if offered:
            found.keep(min(offered, key=found.rank))


def _objective(options: CompileOptions, dataset: Dataset | None) -> Objective:
    assert options.optimize is not None
    objective = OBJECTIVES[options.optimize]
    needs = ""
    if objective.needs_data:
        needs = f"--optimize {objective.name} measures {objective.lowers},"
    elif options.accuracy_budget > 0:
        needs = "--accuracy-budget measures accuracy"
    if needs and dataset is None:
        raise DataError(
            f"{needs} on real samples, but no data set is known; choose one with --data"
        )
    return objective


def _uniform(search: Search, first: Design) -> Iterator[Candidate]:
    """The model with one T for all populations, the mean rounded down and up, and with the same buffers.

    If the search sizes the buffers, also with the fewest slots, which shows the cost of mixed timesteps.
    """
    known = search.measurements
    mean = first.network.mean_timesteps
    for steps in sorted({max(int(mean), 1), ceil(mean)}):
        options = replace(first.options, uniform_timesteps=steps, timesteps={})
        graph, network = known.lowered(options)
        design = known.mapped(options, graph, network, first.provisioning)
        yield f"uniform T = {steps}", design
        if search.objective.sizes_buffers:
            least = with_least_slots(search, design, ideal_interval_ticks(design.pipeline))
            yield f"uniform T = {steps}, fewest slots for one result {every_ticks(steps)}", least
