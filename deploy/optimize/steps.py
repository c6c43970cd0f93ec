"""The candidates of each step of a search, made from the best design so far.

A step takes a design and yields others; the search decides which of them are kept. Buffer depths, replicas,
tiles and places of cores leave the integers unchanged. Alignments and shorter windows change them, so they
are tried only with an accuracy budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import ceil
from typing import TypeAlias

import numpy as np

from deploy.design.compilation import CompileOptions, Design
from deploy.design.limits import MOST_POPULATIONS_VARIED
from deploy.design.pace import every_ticks
from deploy.optimize.finer_tiles import finer_tiles
from deploy.optimize.measurements import Measurements
from deploy.optimize.objectives import Objective, Step
from deploy.optimize.realign import realign
from hw_models.multicore.pipeline.buffer_depths import least_depths
from hw_models.multicore.pipeline.initiation_interval import (
    ideal_interval_ticks,
    initiation_interval,
    least_replicas,
)
from hw_models.multicore.pipeline.pipeline import Pipeline, pipeline_of
from hw_models.multicore.pipeline.provisioning import BufferSlots, Replicas, uniform_provisioning
from toolchain.errors import IntegerWidthError, MappingError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import AlignmentMethod


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """One search: an objective under the user's constraints.

    Attributes:
        options: of the first design.
        interval: ticks between results that replicas aim for; None aims for the fewest ticks that the
            chips in use allow.
        lowest_accuracy: allowed by the budget on tuning images, 0..1; None keeps the integers.
    """

    objective: Objective
    measurements: Measurements
    options: CompileOptions
    interval: int | None
    lowest_accuracy: float | None

    @property
    def may_change_integers(self) -> bool:
        return self.lowest_accuracy is not None


Candidate: TypeAlias = tuple[str, Design]
"""A design to measure, with its difference from the design it was made from."""


@dataclass(frozen=True, kw_only=True)
class StepRule:
    """How a search tries a step.

    Attributes:
        candidates: makes them from the best design so far.
        repeats: the step starts again as soon as a candidate is kept.
        keeps_chips: refuse candidates on more chips than the best design.
    """

    candidates: Callable[[Search, Design], Iterator[Candidate]]
    repeats: bool = False
    keeps_chips: bool = False


def buffer_depths(search: Search, design: Design) -> Iterator[Candidate]:
    """The fewest slots for the present interval, one slot per buffer, the fewest for the ideal interval."""
    interval = initiation_interval(design.pipeline).ticks
    ideal = ideal_interval_ticks(design.pipeline)
    yield from _fitting(
        f"fewest slots that keep one result {every_ticks(interval)}",
        lambda: with_least_slots(search, design, interval),
    )
    yield from _fitting(
        "one slot in every buffer",
        lambda: search.measurements.provisioned(
            design,
            replace(
                uniform_provisioning(design.network, 1, design.provisioning.replicas),
                tile_limits=design.provisioning.tile_limits,
            ),
        ),
    )
    aim = max(ideal, Fraction(search.interval or 1))
    change = f"fewest slots for one result {every_ticks(aim)}"
    change += ", the longest window" if aim == ideal else ""
    yield from _fitting(change, lambda: with_least_slots(search, design, aim))


def alignments(search: Search, design: Design) -> Iterator[Candidate]:
    """Alignments of the whole network with which windows start before their sources have finished."""
    methods: tuple[AlignmentMethod, ...] = ("replicate", "truncate")
    for method in methods:
        options = replace(design.options, alignment=method, alignments={})
        yield from _fitting(f"{method} alignment", partial(changed, search, design, options))


def realignments(search: Search, design: Design) -> Iterator[Candidate]:
    """Alignments of one population after another, see ``deploy.optimize.realign``."""
    assert search.lowest_accuracy is not None
    return realign(design, search.measurements, search.lowest_accuracy)


def shorter_windows(search: Search, design: Design) -> Iterator[Candidate]:
    """Lower and lower limits on the firing windows, until one loses too much accuracy."""
    assert search.lowest_accuracy is not None
    for most in range(max(design.pipeline.windows.values()) - 1, 0, -1):
        options = replace(design.options, max_timesteps=most)
        change = f"no window above {most} steps"
        for candidate in _fitting(change, partial(changed, search, design, options)):
            yield candidate
            accuracy = search.measurements.accuracy(candidate[1].network)
            if accuracy is not None and accuracy < search.lowest_accuracy:
                return


def replicas(search: Search, design: Design) -> Iterator[Candidate]:
    """Replicas for an interval of one tick less, and so on down to the one asked for or to one tick."""
    if search.options.replicate:
        return  # the user has chosen them
    last = search.interval or 1
    for ticks in range(ceil(ideal_interval_ticks(design.pipeline)) - 1, last - 1, -1):
        found = least_replicas(design.pipeline, ticks)
        pace = every_ticks(ticks)
        try:
            replicated = with_least_slots(search, design, Fraction(ticks), found)
        except MappingError:
            if search.interval is not None:
                raise
            return  # the target has too few chips
        yield f"{_in_words(found)}: one result {pace}", replicated


def tiles(search: Search, design: Design) -> Iterator[Candidate]:
    """Finer tiles of the populations that set the pace, see ``deploy.optimize.finer_tiles``.

    None for a network above ``MOST_POPULATIONS_VARIED``, which has as many populations to cut, one by one.
    """
    if len(design.network.populations) > MOST_POPULATIONS_VARIED:
        return
    costs = list(search.measurements.costs(design).values())
    for names, provisioning in finer_tiles(design, costs):
        try:
            finer = search.measurements.provisioned(design, provisioning)
        except MappingError:  # a single neuron is too much work, or all chips are full
            continue
        grids = design.mapping.grids, finer.mapping.grids
        parts = [f"{name} {len(grids[0][name])} to {len(grids[1][name])}" for name in names]
        yield f"tiles: {', '.join(parts)}", finer


def exchanged_cores(search: Search, design: Design) -> Iterator[Candidate]:
    """Cores that change places, to lower the traffic."""
    search.measurements.on_stage("exchanging cores")
    nearer = search.measurements.exchanged(design)
    hops = design.mapping.traffic_cost, nearer.mapping.traffic_cost
    yield f"cores that change places: {hops[0]:,} hops to {hops[1]:,}", nearer


STEP_RULES: dict[Step, StepRule] = {
    Step.BUFFER_DEPTHS: StepRule(candidates=buffer_depths),
    Step.ALIGNMENTS: StepRule(candidates=alignments),
    Step.REALIGNMENT: StepRule(candidates=realignments),
    Step.SHORTER_WINDOWS: StepRule(candidates=shorter_windows),
    Step.FINER_TILES: StepRule(candidates=tiles, repeats=True, keeps_chips=True),
    Step.REPLICAS: StepRule(candidates=replicas, keeps_chips=True),
    Step.EXCHANGED_CORES: StepRule(candidates=exchanged_cores),
}


def changed(search: Search, design: Design, options: CompileOptions) -> Design:
    """The design with other integers, and with the same buffers or those for its own longest window.

    Raises:
        IntegerWidthError: the target cannot hold the integers.
        MappingError: it does not fit the target.
    """
    graph, network = search.measurements.lowered(options)
    provisioning = replace(design.provisioning, tile_limits=dict(search.options.tile_work))
    if search.objective.sizes_buffers:
        pipeline = pipeline_of(network, provisioning, design.pipeline.link_ticks)
        ticks = max(ideal_interval_ticks(pipeline), Fraction(search.interval or 1))
        provisioning = replace(provisioning, slots=least_slots(network, pipeline, ticks))
    return search.measurements.mapped(options, graph, network, provisioning)


def with_least_slots(
    search: Search, design: Design, ticks: Fraction, replicas: Replicas | None = None
) -> Design:
    """The design with the buffers for an interval; with its own replicas if they are None."""
    if replicas is None:
        replicas = design.provisioning.replicas
    slots = least_slots(design.network, replace(design.pipeline, replicas=replicas), ticks)
    given = replace(design.provisioning, slots=slots, replicas=replicas)
    return search.measurements.provisioned(design, given)


def least_slots(network: IntegerNetwork, pipeline: Pipeline, ticks: Fraction) -> BufferSlots:
    """The fewest slots for an interval; slots with the most compartments are removed first."""
    compartments = {
        (s.source, s.target): int(np.prod(network[s.target].shape)) for s in network.synapses
    }
    return least_depths(pipeline, ticks, compartments)


def _fitting(change: str, design: Callable[[], Design]) -> Iterator[Candidate]:
    """The candidate, or nothing if the target cannot hold it."""
    try:
        yield change, design()
    except (IntegerWidthError, MappingError):
        return


def _in_words(replicas: Replicas) -> str:
    """The replicated populations, by name if they are few, else their number."""
    parts = []
    for count in sorted(set(replicas.values())):
        names = [name for name, own in replicas.items() if own == count]
        who = ", ".join(names) if len(names) <= 2 else f"{len(names)} populations"
        parts.append(f"{who} {'twice' if count == 2 else f'{count} times'}")
    return "; ".join(parts)
