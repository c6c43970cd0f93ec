"""Compare a mapped network with SANA-FE: spikes, events, joules and seconds on the same samples.

SANA-FE gets our mapping, not our events: it computes the spikes from its own neurons and synapses. Its counts
must equal our events in every tick, and on every core if it reports cores, except for the differences listed
here, which are recounted from our spike trains. Its energies and its simple timing model then follow from
our events to the last digit. Only its detailed timing model, with queues in the mesh, does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deploy.backends.sanafe.explicit_synapses import num_explicit_synapses
from deploy.backends.sanafe.network import to_sanafe, write_sanafe
from deploy.backends.sanafe.places import copies_in_flight, one_mesh, receivers, tile_number
from deploy.check.judged_build import JudgedBuild
from deploy.check.sanafe_events import SanafeEvents, energies_j, sanafe_events, simple_tick_ns
from hw_models.multicore.cost.event_counts import Events, count_events
from hw_models.multicore.cost.tick_cost import core_ticks_ns, lookups_ns, neurons_ns, run_cost
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.pipeline_ticks import Schedule, schedule_pipeline
from hw_models.target_description import CostProfile
from sim.runners.sanafe import SanafeRun, run_sanafe
from toolchain.errors import SanafeError, TargetError
from toolchain.files.whole_files import scratch_folder

PROFILE = "sanafe"
ROUNDING = 1e-6
"""Relative difference between joules or seconds that are equal sums in another order."""

TIME_TOLERANCE, ENERGY_TOLERANCE = 0.243, 0.117
"""Error of SANA-FE compared with a Loihi board, as its authors report it (Boyle et al., IEEE TCAD 2025)."""

BYTES_PER_SYNAPSE = 2_000
"""Memory per synapse while SANA-FE 2.2.9 loads a network (measured: 1,300 to 2,200)."""

_REASONS = {
    "hops east-west": "SANA-FE also counts hops between chips",
    "hops north-south": "SANA-FE also counts hops between chips",
    "compartments serviced": "the copies need more compartments than there are",
    "active updates": "SANA-FE updates only neurons that a spike reaches",
    "synapse": "SANA-FE has one kind of synapse per core",
    "soma": "updates and compartments as above",
    "network": "hops as above, in place of crossings between chips",
}
"""Why SANA-FE may count more or less of a quantity."""

_TIME_REASONS = (
    "no queues in the mesh",
    "lookups in parallel with a core's neurons",
    "events as SANA-FE counts them",
    "spikes wait to be sent, in the mesh, and at the core",
)
"""Differences from our duration to SANA-FE's simple timing model, and from that to its detailed one."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity over a run.

    Attributes:
        expected: of SANA-FE, recounted by its rules from our spike trains.
        reason: why ``ours`` and ``expected`` differ; empty if they are equal.
        first_difference: the first difference of ``theirs`` from ``expected``, or None.
    """

    name: str
    ours: float
    expected: float
    theirs: float
    reason: str
    first_difference: str | None


@dataclass(frozen=True, kw_only=True)
class TimeStep:
    """One difference on the way from our duration of the run to SANA-FE's."""

    reason: str
    difference_us: float


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """A run on both sides.

    Attributes:
        copies: of each neuron in SANA-FE, for the samples in flight.
        spike_difference: the first spike or logit that differs, or None.
        energy: joules of the run by SANA-FE's categories.
        tick_us: duration of each tick: ``ours``, and SANA-FE's ``simple`` and ``detailed``.
        time_steps: from ours to ``detailed``; all but the last lead to ``simple``.
        time_difference: the first difference of ``simple`` from the time that our events give, or None.
    """

    samples: int
    copies: int
    num_ticks: int
    num_spikes: int
    spike_difference: str | None
    events: list[Quantity]
    energy: list[Quantity]
    tick_us: dict[str, list[float]]
    time_steps: list[TimeStep]
    time_difference: str | None

    @property
    def time_error(self) -> float:
        """Relative difference of our duration of the run from SANA-FE's detailed timing model."""
        return sum(self.tick_us["ours"]) / sum(self.tick_us["detailed"]) - 1

    @property
    def tick_errors(self) -> tuple[float, float]:
        """Lowest and highest relative difference of our duration of a tick from SANA-FE's detailed model."""
        ours, theirs = np.array(self.tick_us["ours"]), np.array(self.tick_us["detailed"])
        errors = ours / theirs - 1
        return float(errors.min()), float(errors.max())

    @property
    def energy_error(self) -> float:
        """Relative difference of our energy of the run from SANA-FE's."""
        return sum(q.ours for q in self.energy) / sum(q.theirs for q in self.energy) - 1

    @property
    def disagreements(self) -> list[str]:
        """Differences that are not explained, and errors beyond the tolerance."""
        found = [self.spike_difference, self.time_difference]
        found += [quantity.first_difference for quantity in (*self.events, *self.energy)]
        for quantity_name, error, tolerance in (
            ("time", self.time_error, TIME_TOLERANCE),
            ("energy", self.energy_error, ENERGY_TOLERANCE),
        ):
            if abs(error) > tolerance:
                found.append(
                    f"{quantity_name}: ours is {error:+.1%}, the tolerance {tolerance:.1%}"
                )
        return [difference for difference in found if difference is not None]


def cross_check(
    build: JudgedBuild, on_stage: Callable[[str], None] = lambda stage: None
) -> CrossCheck:
    """Run a build's samples in SANA-FE, pipelined as in the build, and compare.

    Raises:
        QacDeployError: SANA-FE is not installed, fails, or cannot hold the network, or the target has no
            cost profile of SANA-FE.
    """
    _profile(build)
    _check_memory(build)
    on_stage("writing the network for SANA-FE")
    export = to_sanafe(build.mapping, build.pipeline, build.pixels)
    with scratch_folder() as folder:
        write_sanafe(export, folder)
        on_stage("running in SANA-FE")
        run = run_sanafe(folder)
    on_stage("comparing")
    return compare_sanafe_run(build, export.copies, run)


def compare_sanafe_run(build: JudgedBuild, copies: int, run: SanafeRun) -> CrossCheck:
    """Compare a run in SANA-FE.

    Args:
        copies: of each neuron in SANA-FE.
    """
    profile = _profile(build)
    mapping, trains = build.mapping, build.reference.trains
    schedule = schedule_pipeline(build.pipeline, len(build.pixels))
    events = count_events(mapping, schedule, build.pixels, trains)
    expected = sanafe_events(mapping, schedule, build.pixels, trains, copies)
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    neurons, lookups = neurons_ns(profile, events), lookups_ns(profile, events)
    ours_s = (core_ticks_ns(profile, events).max(axis=0) + barrier_ns) * 1e-9
    no_queues_s = ((neurons + lookups).max(axis=0) + barrier_ns) * 1e-9
    beside_s = (np.maximum(neurons, lookups).max(axis=0) + barrier_ns) * 1e-9
    simple_s = simple_tick_ns(mapping, profile, expected) * 1e-9
    durations = [ours_s, no_queues_s, beside_s, simple_s, run.tick_s["detailed"]]
    totals_us = [float(seconds.sum()) * 1e6 for seconds in durations]
    return CrossCheck(
        samples=len(build.pixels),
        copies=copies,
        num_ticks=schedule.num_ticks,
        num_spikes=sum(int(train.sum()) for train in trains.values()),
        spike_difference=_spike_difference(build, schedule, copies, run),
        events=_events(mapping, profile, events, expected, run),
        energy=_energy(mapping, profile, schedule, events, expected, run),
        tick_us={
            name: (seconds * 1e6).tolist()
            for name, seconds in {"ours": ours_s, **run.tick_s}.items()
        },
        time_steps=[
            TimeStep(reason=reason, difference_us=after - before)
            for reason, (before, after) in zip(_TIME_REASONS, pairwise(totals_us), strict=True)
        ],
        time_difference=_first_difference("time", simple_s, run.tick_s["simple"]),
    )


def _profile(build: JudgedBuild) -> CostProfile:
    if PROFILE not in build.target.cost_profiles:
        raise TargetError(
            f"{build.target.name} has no cost profile '{PROFILE}', the figures of SANA-FE's Loihi; compile "
            f"for a target that has one, such as loihi-sim"
        )
    return build.target.cost_profiles[PROFILE]


def _check_memory(build: JudgedBuild) -> None:
    """Refuse a network that needs more memory than the machine has."""
    schedule = schedule_pipeline(build.pipeline, len(build.pixels))
    copies = copies_in_flight(build.mapping, schedule)
    num_synapses = sum(
        num_explicit_synapses(build.network, synapse)
        * sum(1 + len(receivers(build.mapping, synapse, copy)[1]) for copy in range(copies))
        for synapse in build.network.synapses
    )
    needed = num_synapses * BYTES_PER_SYNAPSE
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        raise SanafeError(
            f"SANA-FE lists every synapse: {num_synapses:,} in {copies} copies of the network, about "
            f"{needed / 1e9:,.0f} GB, and this machine has {present / 1e9:,.0f}; use a narrower network "
            f"(train --width) or --samples 1"
        )


def _spike_difference(
    build: JudgedBuild, schedule: Schedule, copies: int, run: SanafeRun
) -> str | None:
    for name in build.mapping.grids:
        shape = build.network[name].shape
        size = (schedule.num_ticks, copies, int(np.prod(shape)))
        ours, theirs = np.zeros(size, bool), np.zeros(size, bool)
        theirs[tuple(run.spikes[name].T)] = True
        for sample, train in enumerate(build.reference.trains.get(name, ())):
            ticks = schedule.step_ticks[name][sample]
            ours[ticks, sample % copies] = train.reshape(len(ticks), -1)
        different = np.argwhere(ours != theirs)
        if len(different):
            tick, copy, index = (int(i) for i in different[0])
            neuron = tuple(int(i) for i in np.unravel_index(index, shape))
            side = "here, not in SANA-FE" if ours[tick, copy, index] else "in SANA-FE, not here"
            return f"{name}, tick {tick}, copy {copy}, neuron {neuron}: a spike {side}"
    different = np.argwhere(run.logits != build.reference.logits)
    if len(different):
        at = tuple(int(i) for i in different[0])
        here, there = int(build.reference.logits[at]), int(run.logits[at])
        return f"logit at (sample, class) = {at}: {here:,} here, {there:,} in SANA-FE"
    return None


def _events(
    mapping: CoreMapping,
    profile: CostProfile,
    events: Events,
    expected: SanafeEvents,
    run: SanafeRun,
) -> list[Quantity]:
    """Counts on each core in each tick; in each tick for what SANA-FE reports only by tick."""
    theirs = _message_counts(mapping, events.spikes.shape, run)
    updated = run.counts["updated"] - run.pixel_spikes
    fired = run.counts["fired"] - run.pixel_spikes
    serviced = events.active_updates + events.inactive_updates
    quantities = {
        "synaptic events": (
            events.synaptic + events.convolution,
            expected.synaptic,
            theirs["synaptic"],
        ),
        "messages sent": (events.messages_out, expected.messages_out, theirs["sent"]),
        "messages received": (events.messages_in, expected.messages_in, theirs["received"]),
        "hops east-west": (events.hops_east_west, expected.hops_east_west, theirs["east_west"]),
        "hops north-south": (
            events.hops_north_south,
            expected.hops_north_south,
            theirs["north_south"],
        ),
        "spikes": (events.spikes.sum(axis=0), expected.spikes.sum(axis=0), fired),
        "compartments serviced": (
            serviced.sum(axis=0),
            expected.serviced.sum(axis=0),
            _serviced(profile, updated, fired, run.energy_j["soma"]),
        ),
        "active updates": (
            events.active_updates.sum(axis=0),
            expected.updates.sum(axis=0),
            updated,
        ),
    }
    cores = [core.core_index for core in mapping.cores]
    return [_quantity(name, *amounts, cores) for name, amounts in quantities.items()]


def _message_counts(
    mapping: CoreMapping, shape: tuple[int, ...], run: SanafeRun
) -> dict[str, np.ndarray]:
    """Sums of SANA-FE's messages on each core in each tick, each of shape ``shape``."""
    mesh = mapping.target.mesh
    rows = {
        (tile_number(core, mesh), core.core_index % mesh.cores_per_tile): row
        for row, core in enumerate(one_mesh(mapping).cores)
    }
    tick, *places, synapses, east_west, north_south = run.messages.T
    tiles_and_cores = np.stack(places, axis=1).tolist()
    source = np.array([rows.get((tile, core), -1) for tile, core, _, _ in tiles_and_cores], int)
    target = np.array([rows[tile, core] for _, _, tile, core in tiles_and_cores], int)
    by_core = source >= 0  # the others are the host's

    def totals(row: np.ndarray, amount: np.ndarray | int, chosen: np.ndarray) -> np.ndarray:
        counts = np.zeros(shape, np.int64)
        amounts = np.broadcast_to(amount, tick.shape)
        np.add.at(counts, (row[chosen], tick[chosen]), amounts[chosen])
        return counts

    everything = np.ones_like(by_core)
    return {
        "synaptic": totals(target, synapses, everything),
        "received": totals(target, 1, everything),
        "sent": totals(source, 1, by_core),
        "east_west": totals(source, east_west, by_core),
        "north_south": totals(source, north_south, by_core),
    }


def _serviced(
    profile: CostProfile, updated: np.ndarray, fired: np.ndarray, soma_j: np.ndarray
) -> np.ndarray:
    """Neurons that SANA-FE serviced in each tick, from their energy: it does not report their number."""
    update_pj = profile.active_update_pj - profile.inactive_update_pj
    rest_pj = soma_j * 1e12 - updated * update_pj - fired * profile.spike_pj
    return np.rint(rest_pj / profile.inactive_update_pj).astype(np.int64)


def _energy(
    mapping: CoreMapping,
    profile: CostProfile,
    schedule: Schedule,
    events: Events,
    expected: SanafeEvents,
    run: SanafeRun,
) -> list[Quantity]:
    ours = run_cost(mapping, profile, schedule, events).energy_by_event_j
    kinds = {
        "synapse": ("synaptic event", "convolution event"),
        "soma": ("active update", "inactive update", "spike"),
        "network": ("message out", "hop east-west", "hop north-south", "chip crossing"),
    }
    assert sorted(kind for group in kinds.values() for kind in group) == sorted(ours)
    recounted = energies_j(mapping, profile, expected)
    found = [
        _quantity(
            name,
            np.array(schedule.num_samples * sum(ours[kind] for kind in group)),
            recounted[name],
            run.energy_j[name],
        )
        for name, group in kinds.items()
    ]
    rest = run.energy_j["total"] - sum(run.energy_j[name] for name in kinds)
    nothing = np.zeros_like(rest)
    return [*found, _quantity("other", nothing, nothing, np.where(abs(rest) < 1e-18, 0, rest))]


def _quantity(
    name: str,
    ours: np.ndarray,
    expected: np.ndarray,
    theirs: np.ndarray,
    cores: Sequence[int] = (),
) -> Quantity:
    totals = [array.sum().item() for array in (ours, expected, theirs)]
    differs = not np.isclose(totals[0], totals[1], rtol=ROUNDING, atol=0)
    return Quantity(
        name=name,
        ours=totals[0],
        expected=totals[1],
        theirs=totals[2],
        reason=_REASONS.get(name, "") if differs else "",
        first_difference=_first_difference(name, expected, theirs, cores),
    )


def _first_difference(
    name: str, expected: np.ndarray, theirs: np.ndarray, cores: Sequence[int] = ()
) -> str | None:
    """The first core and tick that differ; counts must be equal, and joules and seconds up to rounding."""
    exact = np.issubdtype(expected.dtype, np.integer)
    same = expected == theirs if exact else np.isclose(theirs, expected, rtol=ROUNDING, atol=0)
    if same.all():
        return None
    *row, tick = (int(i) for i in np.argwhere(~same)[0])
    core = f", core {cores[row[0]]}" if row else ""
    a, b = (array[(*row, tick)].item() for array in (expected, theirs))
    return f"{name}{core}, tick {tick}: {b:,.9g} in SANA-FE, {a:,.9g} by our spike trains"
