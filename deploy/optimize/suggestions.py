"""What to change in a design: single changes, each built and measured as its command would compile it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from deploy.design.compilation import CompileOptions, Design, DesignPoint, Suggestion
from deploy.design.design import edge_name, explicit_options
from deploy.design.fidelity import MEASURED_SAMPLES, accumulations, affordable_samples
from deploy.design.pace import every_ticks
from deploy.optimize.finer_tiles import finer_tiles
from deploy.optimize.measurements import Measurements
from deploy.optimize.steps import least_slots
from hw_models.multicore.pipeline.initiation_interval import (
    Change,
    ideal_interval_ticks,
    initiation_interval,
)
from toolchain.errors import IntegerWidthError, MappingError, UnsupportedNetworkError
from toolchain.networks.layer_graph import AlignmentMethod
from toolchain.networks.layer_graph.maximum import possible_alignments
from toolchain.passes.align_edges import align_edges

MOST_CORES_TRIED = 1_000
"""Mapping a larger design takes long, so only changes to its pipeline are tried, the first few."""

_MOST_TRIED_IF_LARGE = 3
_LEAST_GAIN = 0.005
"""Relative gain in a measure below which a change is not suggested."""

_MUCH_ACCURACY = 0.01
_FEWER_BITS = 4
_SOON = 20 * 10**9  # accumulations


@dataclass(frozen=True)
class _Candidate:
    change: str
    options: CompileOptions
    keeps_integers: bool


def suggest(
    design: Design, measurements: Measurements, changes: Sequence[Change]
) -> list[Suggestion]:
    """Changes that bring results sooner, or give back more cores and energy than they cost in time.

    Changes that keep the integers come first, and those that lose more than a point of accuracy last. In
    each group they are ordered by the time between results times the cores in use, so that a gain in speed
    is weighed against the cores that it takes; where no times are known, ticks take their place.

    Args:
        changes: single changes to the pipeline, from ``single_changes``.
    """
    now = measurements.point(design, "as compiled", "")
    found = []
    for candidate in _candidates(design, measurements, changes):
        measurements.on_stage(f"trying: {candidate.change}")
        try:
            built = measurements.built(candidate.options)
        except (IntegerWidthError, MappingError, UnsupportedNetworkError):
            continue  # the target cannot hold it
        point = measurements.point(built, candidate.change, "")
        if _is_better(now, point):
            found.append(
                Suggestion(
                    keeps_integers=candidate.keeps_integers,
                    point=replace(point, options=candidate.options),
                )
            )

    def rank(suggestion: Suggestion) -> tuple[bool, bool, float, float]:
        point = suggestion.point
        return (
            not suggestion.keeps_integers,
            _loses(now, point),
            _interval(point) * point.num_cores,
            sum(point.energy_nj.values()),
        )

    return sorted(found, key=rank)


def not_tried(design: Design, measurements: Measurements) -> str | None:
    """What ``suggest`` leaves out for a large network, in one sentence; None if nothing."""
    cores = len(design.mapping.cores)
    if cores > MOST_CORES_TRIED:
        return (
            f"only the first {_MOST_TRIED_IF_LARGE} changes to the pipeline were tried, since "
            f"{cores:,} cores are mapped again for each"
        )
    if not _aligns_soon(design, measurements):
        return (
            "other alignments were not tried, since measuring their accuracy takes long; the report compares "
            "them on fewer samples"
        )
    return None


def _aligns_soon(design: Design, measurements: Measurements) -> bool:
    """Whether the accuracy under other alignments is measured soon."""
    if measurements.dataset is None or not _other_alignments(design):
        return True
    graph = align_edges(design.graph, "replicate")
    samples = affordable_samples(graph, MEASURED_SAMPLES)
    return accumulations(graph) * min(samples, len(measurements.dataset.test_pixels)) <= _SOON


def _loses(before: DesignPoint, after: DesignPoint) -> bool:
    """Whether a design loses more than a hundredth of accuracy."""
    if before.accuracy is None or after.accuracy is None:
        return False
    return after.accuracy < before.accuracy - _MUCH_ACCURACY


def _is_better(now: DesignPoint, point: DesignPoint) -> bool:
    """Whether a design is faster, or gives back more cores and energy than it loses in time."""
    sooner = _interval(point), point.first_latency_ticks, _weight(point)
    before = _interval(now), now.first_latency_ticks, _weight(now)
    return any(b < a * (1 - _LEAST_GAIN) for a, b in zip(before, sooner, strict=True))


def _interval(point: DesignPoint) -> float:
    """Time between results, summed over cost profiles; ticks where no times are known."""
    times = point.interval_us.values()
    return round(sum(times), 6) if times else point.interval_ticks


def _weight(point: DesignPoint) -> float:
    """Time between results, times cores, times energy."""
    energies = point.energy_nj.values()
    return _interval(point) * point.num_cores * (sum(energies) if energies else 1)


def _candidates(
    design: Design, measurements: Measurements, changes: Sequence[Change]
) -> Iterator[_Candidate]:
    options = explicit_options(design)
    of_pipeline = list(_of_pipeline(design, options, changes))
    if len(design.mapping.cores) > MOST_CORES_TRIED:
        yield from of_pipeline[:_MOST_TRIED_IF_LARGE]
        return
    yield from of_pipeline
    yield from _of_tiles(design, measurements, options)
    if not options.exchange_cores:
        change = "exchange cores, so that spikes take fewer hops"
        yield _Candidate(change, replace(options, exchange_cores=True), True)
    if _aligns_soon(design, measurements):
        for method in _other_alignments(design):
            changed = replace(options, alignment=method, alignments={})
            yield _Candidate(f"{method} alignment: start before sources finish", changed, False)
    bits = options.weight_bits or design.mapping.target.widths.weight_bits
    if bits > _FEWER_BITS:
        changed = replace(options, weight_bits=_FEWER_BITS)
        yield _Candidate(f"weights of {_FEWER_BITS} bits in place of {bits}", changed, False)


def _of_pipeline(
    design: Design, options: CompileOptions, changes: Sequence[Change]
) -> Iterator[_Candidate]:
    interval = initiation_interval(design.pipeline).ticks
    ideal = ideal_interval_ticks(design.pipeline)
    if ideal < interval:
        change = f"size the buffers for one result {every_ticks(ideal)}, the longest firing window"
        yield _Candidate(change, _with_slots(design, options, ideal), True)
    for single in changes:
        if single.ticks < interval:
            changed = replace(
                options,
                slots_of={**options.slots_of, **_per_replica(design, single.slots)},
                timesteps={**options.timesteps, **_first(single.windows)},
                replicate={**options.replicate, **single.replicas},
            )
            yield _Candidate(single.description, changed, not single.windows)
    change = f"use the fewest slots that keep one result {every_ticks(interval)}"
    yield _Candidate(change, _with_slots(design, options, interval), True)


def _of_tiles(
    design: Design, measurements: Measurements, options: CompileOptions
) -> Iterator[_Candidate]:
    """The populations that set the pace, on more cores."""
    costs = list(measurements.costs(design).values())
    for names, provisioning in finer_tiles(design, costs):
        change = f"split {' and '.join(names)}, whose cores make a tick long, over more cores"
        tile_work = dict(provisioning.tile_limits)
        yield _Candidate(change, replace(options, tile_work=tile_work), True)
        return


def _other_alignments(design: Design) -> list[AlignmentMethod]:
    """Alignments of the whole network with which windows start before their sources have finished."""
    network = design.network
    possible = [possible_alignments(network, p.name) for p in network.spiking]
    present = {s.alignment for s in network.synapses}
    methods: tuple[AlignmentMethod, ...] = ("truncate", "replicate")
    return [
        method
        for method in methods
        if {method} != present and all(method in allowed for allowed in possible)
    ]


def _with_slots(design: Design, options: CompileOptions, ticks: Fraction) -> CompileOptions:
    """The options with the fewest slots for an interval."""
    slots = least_slots(design.network, design.pipeline, ticks)
    provisioning = replace(design.provisioning, slots=slots)
    mapping = replace(design.mapping, provisioning=provisioning)
    explicit = explicit_options(replace(design, mapping=mapping))
    return replace(options, slots=explicit.slots, slots_of=explicit.slots_of)


def _per_replica(design: Design, slots: Mapping[tuple[str, str], int]) -> dict[str, int]:
    return {
        edge_name(source, target): count // design.provisioning.num_replicas(target)
        for (source, target), count in slots.items()
    }


def _first(windows: Mapping[str, int]) -> dict[str, int]:
    """One population of a group with equal windows; the others follow it."""
    return dict(list(windows.items())[:1])
