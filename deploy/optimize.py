"""Better designs for one objective, each step measured, so that a user sees what it buys.

Seven kinds of step: buffers as shallow as an interval allows (proved by the bound), a single slot
everywhere, a cap on the longest firing windows, another temporal alignment, replicas of the populations
with the longest windows, finer tiles of those whose cores set the pace of a tick, cores that change
places. A cap and an alignment change the integers and are kept only within the user's accuracy budget,
measured on training images that are held out here; the report then measures the result on test images.

Alignments are tried on the whole network first, then on one population after another (``deploy.realign``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil

import numpy as np

from deploy.compilation import CompileOptions, Design, DesignPoint
from deploy.design import build_design, lowering, map_design
from deploy.fidelity import simulate
from deploy.finer_tiles import finer_tiles
from deploy.realign import realign
from deploy.steady_costs import shown_samples, steady_run
from hw_models.multicore.buffer_depths import least_depths, steady_stall_share
from hw_models.multicore.initiation_interval import (
    ideal_interval_ticks,
    initiation_interval,
    least_replicas,
)
from hw_models.multicore.pipeline import Replicas, uniform_slots
from hw_models.multicore.pipeline_ticks import schedule_pipeline
from hw_models.multicore.placement_search import with_less_traffic
from hw_models.multicore.steady_pace import SteadyCost
from hw_models.target_description import TargetDescription
from toolchain.datasets import Dataset
from toolchain.errors import DataError, IntegerWidthError, MappingError
from toolchain.integer_network import (
    IntegerNetwork,
    spiking_populations,
)
from toolchain.layer_graph import AlignmentMethod, LayerGraph
from toolchain.passes.change_timesteps import use_uniform_timesteps

TUNING_SAMPLES = 1_000
"""Training images, the last ones, on which accuracy is measured while searching."""


@dataclass(frozen=True, eq=False)
class _Search:
    model: LayerGraph
    target: TargetDescription
    dataset: Dataset | None
    on_stage: Callable[[str], None]
    accuracies: dict[int, tuple[IntegerNetwork, float]] = field(default_factory=dict)
    known_costs: dict[int, tuple[Design, dict[str, SteadyCost]]] = field(default_factory=dict)

    def measure(self, design: Design, change: str, verdict: str = "kept") -> DesignPoint:
        self.on_stage(f"measuring: {change}")
        ticks = initiation_interval(design.pipeline).ticks
        costs = self.costs(design)
        return DesignPoint(
            change=change,
            verdict=verdict,
            mean_timesteps=_mean_timesteps(design.network),
            replicas=dict(design.mapping.replicas),
            interval_ticks=float(ticks),
            first_latency_ticks=schedule_pipeline(design.pipeline, 1).first_latency_ticks,
            stall_share=steady_stall_share(design.pipeline, ticks),
            num_cores=len(design.mapping.cores),
            num_chips=design.mapping.num_chips,
            num_slots=sum(design.mapping.slots.values()),
            traffic_hops=design.mapping.traffic_cost,
            accuracy=self.accuracy(design.network),
            interval_us={name: 1e6 * cost.interval_s for name, cost in costs.items()},
            energy_nj={name: 1e9 * cost.energy_per_sample_j for name, cost in costs.items()},
        )

    def accuracy(self, network: IntegerNetwork) -> float | None:
        """On tuning images, once for each network."""
        if self.dataset is None:
            return None
        if id(network) in self.accuracies:
            return self.accuracies[id(network)][1]
        pixels, labels = self.tuning_images(self.dataset)
        run = simulate(network, pixels, with_counts=False)
        accuracy = float((run.predictions == labels).mean())
        self.accuracies[id(network)] = network, accuracy
        return accuracy

    @staticmethod
    def tuning_images(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        last = slice(-TUNING_SAMPLES, None)
        return np.asarray(dataset.train_pixels[last]), dataset.train_labels[last]

    def costs(self, design: Design) -> dict[str, SteadyCost]:
        """Per sample in the steady state, under each cost profile, once for each design."""
        if self.dataset is None:
            return {}
        if id(design) in self.known_costs:
            return self.known_costs[id(design)][1]
        shown = shown_samples(design.network, self.dataset)
        costs = steady_run(design.mapping, design.pipeline, shown).costs(self.target)
        self.known_costs[id(design)] = design, costs
        return costs

    def paces(self, design: Design) -> list[SteadyCost]:
        return list(self.costs(design).values())


def optimize_design(
    first: Design,
    model: LayerGraph,
    target: TargetDescription,
    dataset: Dataset | None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> tuple[Design, list[DesignPoint]]:
    """The best design found for ``first.options.optimize``, and all that were measured on the way.

    Every design is held against the last one kept. The points begin with ``first`` and end with the same
    network at uniform T, for comparison.

    Raises:
        MappingError: a design does not fit the target.
        DataError: time is the objective, and there are no samples to measure it on.
    """
    if first.options.optimize == "time" and dataset is None:
        raise DataError(
            "--optimize time measures ticks on real samples, but no data set is known; choose one with --data"
        )
    search = _Search(model, target, dataset, on_stage)
    best, points = first, [search.measure(first, "as compiled")]

    def keep(change: str, design: Design) -> bool:
        nonlocal best
        point = search.measure(design, change)
        kept = [p for p in points if p.verdict == "kept"]
        refusal = _refusal(kept[0], kept[-1], point, first.options)
        if refusal is None and design.mapping.replicas != best.mapping.replicas:
            refusal = _more_chips(kept[-1], point, first.options)
        if refusal is None and design.mapping.most_events and point.num_chips > kept[-1].num_chips:
            refusal = f"{point.num_chips} chips in place of {kept[-1].num_chips}"
        points.append(replace(point, verdict=refusal or "kept"))
        if refusal is None:
            best = design
        return refusal is None

    for change, design in _buffers(search, first):
        keep(change, design)
    if dataset is not None and first.options.accuracy_budget > 0:
        for change, design in _alignments(search, first):
            keep(change, design)
        if first.options.optimize == "latency":
            lowest = (points[0].accuracy or 0) - first.options.accuracy_budget / 100 - 1e-9
            images = search.tuning_images(dataset)
            for change, design, accuracy in realign(best, model, target, images, lowest, on_stage):
                search.accuracies[id(design.network)] = design.network, accuracy
                keep(change, design)
        for most in range(max(first.pipeline.windows.values()) - 1, 0, -1):
            if not keep(f"no window above {most} steps", _capped(search, best, most)):
                break
    for change, design in _replicated(search, best):
        keep(change, design)
    if first.options.optimize == "traffic":
        on_stage("exchanging cores")
        nearer = replace(best, mapping=with_less_traffic(best.mapping))
        hops = best.mapping.traffic_cost, nearer.mapping.traffic_cost
        keep(f"cores that change places: {hops[0]:,} hops to {hops[1]:,}", nearer)
    if first.options.optimize == "time":
        for change, design in finer_tiles(target, lambda: best, search.paces):
            keep(change, design)
    points += [search.measure(d, change, "for comparison") for change, d in _uniform(search, first)]
    return best, points


def _buffers(search: _Search, first: Design) -> Iterator[tuple[str, Design]]:
    """Other depths of the buffers; the integers stay the same."""
    interval, ideal = (
        initiation_interval(first.pipeline).ticks,
        ideal_interval_ticks(first.pipeline),
    )
    aim = max(ideal, Fraction(first.options.interval or 1))
    if first.options.optimize in ("cores", "traffic"):
        change = f"fewest slots that keep one result every {interval} ticks"
        yield change, _with_least_slots(search, first, interval)
    if first.options.optimize == "cores":
        single = uniform_slots(first.network, 1, first.mapping.replicas)
        design = map_design(
            first.options, first.graph, first.network, search.target, single, first.mapping.replicas
        )
        yield "one slot in every buffer", design
    if first.options.optimize in ("stalls", "time"):
        change = f"fewest slots for one result every {aim} ticks"
        change += ", the longest window" if aim == ideal else ""
        yield change, _with_least_slots(search, first, aim)


def _replicated(search: _Search, design: Design) -> Iterator[tuple[str, Design]]:
    """Replicas that take the interval down tick by tick, to the one asked for or to a single tick.

    None where the user has chosen them, or nothing is asked for below what the design reaches.
    """
    options = design.options
    if options.optimize != "stalls" or options.replicate:
        return
    for ticks in range(ceil(ideal_interval_ticks(design.pipeline)) - 1, 0, -1):
        if ticks < (options.interval or 1):
            return
        replicas = least_replicas(design.pipeline, ticks)
        pace = "a tick" if ticks == 1 else f"every {ticks} ticks"
        change = f"{_in_words(replicas)}: one result {pace}"
        try:
            yield change, _with_least_slots(search, design, ticks, replicas)
        except MappingError:
            if options.interval is not None:
                raise
            return  # more than all chips of the target


def _in_words(replicas: Replicas) -> str:
    """Who is replicated: by name where they are few, else counted."""
    parts = []
    for count in sorted(set(replicas.values())):
        names = [name for name, own in replicas.items() if own == count]
        who = ", ".join(names) if len(names) <= 2 else f"{len(names)} populations"
        parts.append(f"{who} {'twice' if count == 2 else f'{count} times'}")
    return "; ".join(parts)


def _alignments(search: _Search, first: Design) -> Iterator[tuple[str, Design]]:
    """Alignments whose windows start before their sources have finished."""
    if first.options.optimize != "latency":
        return
    methods: tuple[AlignmentMethod, ...] = ("replicate", "truncate")
    for method in methods:
        try:
            changed = replace(first.options, alignment=method)
            yield f"{method} alignment", build_design(search.model, search.target, changed)
        except IntegerWidthError:
            continue  # the target cannot hold its integers


def _capped(search: _Search, design: Design, most: int) -> Design:
    """Shorter windows, with buffers for their own interval where that is the objective."""
    options = replace(design.options, max_timesteps=most)
    capped = build_design(search.model, search.target, options)
    if options.optimize in ("stalls", "time"):
        return _with_least_slots(search, capped, ideal_interval_ticks(capped.pipeline))
    slots, replicas = design.mapping.slots, design.mapping.replicas
    return map_design(options, capped.graph, capped.network, search.target, slots, replicas)


def _refusal(
    first: DesignPoint, kept: DesignPoint, point: DesignPoint, options: CompileOptions
) -> str | None:
    """Why a point is not kept, or None."""
    if first.accuracy is not None and point.accuracy is not None:
        lost = 100 * (first.accuracy - point.accuracy)
        if lost > options.accuracy_budget + 1e-9:
            return f"loses {lost:.2f} points, over the budget of {options.accuracy_budget:g}"
    if kept.interval_ticks > (options.interval or 0) >= point.interval_ticks:
        return None  # what was asked for
    gain = {
        "stalls": kept.stall_share - point.stall_share,
        "cores": kept.num_cores - point.num_cores,
        "latency": kept.first_latency_ticks - point.first_latency_ticks,
        "energy": _mean_energy(kept) - _mean_energy(point),
        "traffic": kept.traffic_hops - point.traffic_hops,
        "time": min((kept.interval_us[n] - us for n, us in point.interval_us.items()), default=0),
    }[options.optimize or "stalls"]
    return None if gain > 0 else f"no gain in {options.optimize}"


def _more_chips(kept: DesignPoint, point: DesignPoint, options: CompileOptions) -> str | None:
    """Why replicas are not kept, or None: without an interval asked for, they fill chips in use."""
    if options.interval is not None or point.num_chips <= kept.num_chips:
        return None
    return (
        f"{point.num_chips} chips in place of {kept.num_chips}: only with "
        f"--interval {point.interval_ticks:g}"
    )


def _mean_energy(point: DesignPoint) -> float:
    return sum(point.energy_nj.values())


def _with_least_slots(
    search: _Search, design: Design, ticks: Fraction | int, replicas: Replicas | None = None
) -> Design:
    """The design with the buffers for an interval, and with these replicas where they are given."""
    network = design.network
    replicas = design.mapping.replicas if replicas is None else replicas
    neurons = {
        (s.source, s.target): int(np.prod(network[s.target].shape)) for s in network.synapses
    }
    slots = least_depths(replace(design.pipeline, replicas=replicas), ticks, neurons)
    return map_design(design.options, design.graph, network, search.target, slots, replicas)


def _uniform(search: _Search, first: Design) -> Iterator[tuple[str, Design]]:
    """The same model with one T for all, the mean rounded down and up, with the same buffers.

    Where stalls are the objective also with the least depths: what is then left is what mixing costs.
    """
    mean = _mean_timesteps(first.network)
    for steps in sorted({max(int(mean), 1), int(np.ceil(mean))}):
        graph = use_uniform_timesteps(first.graph, steps)
        network = lowering(search.target, first.options)(graph)
        slots, replicas = first.mapping.slots, first.mapping.replicas
        design = map_design(first.options, graph, network, search.target, slots, replicas)
        yield f"uniform T = {steps}", design
        if first.options.optimize == "stalls":
            least = _with_least_slots(search, design, ideal_interval_ticks(design.pipeline))
            yield f"uniform T = {steps}, fewest slots for one result every {steps} ticks", least


def _mean_timesteps(network: IntegerNetwork) -> float:
    spiking = spiking_populations(network)
    return sum(p.timesteps for p in spiking) / len(spiking)
