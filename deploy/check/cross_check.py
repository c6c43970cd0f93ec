"""Compare a mapped network with SANA-FE: spikes, events, joules and seconds on the same samples.

SANA-FE gets our mapping, not our events: it computes the spikes from its own neurons and synapses. Its counts
must equal our events in every tick, and on every core if it reports cores, except for the differences listed
in ``sanafe_quantities``, which are recounted from our spike trains. Its energies and its simple timing model
then follow from our events to the last digit. Its detailed timing model, with queues in the mesh, does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deploy.backends.sanafe.explicit_synapses import num_explicit_synapses
from deploy.backends.sanafe.network import to_sanafe, write_sanafe
from deploy.backends.sanafe.places import copies_in_flight, receivers
from deploy.check.judged_build import JudgedBuild
from deploy.check.sanafe_events import sanafe_events, simple_tick_ns
from deploy.check.sanafe_quantities import (
    Quantity,
    energy_quantities,
    event_quantities,
    first_difference,
)
from hw_models.multicore.cost.event_counts import count_events
from hw_models.multicore.cost.tick_cost import core_ticks_ns, lookups_ns, neurons_ns
from hw_models.multicore.pipeline.pipeline_ticks import Schedule, schedule_pipeline
from hw_models.target_description import CostProfile
from sim.runners.sanafe import SanafeRun, run_sanafe
from toolchain.errors import SanafeError, TargetError
from toolchain.files.whole_files import scratch_folder

PROFILE = "sanafe"
TIME_TOLERANCE, ENERGY_TOLERANCE = 0.243, 0.117
"""Error of SANA-FE compared with a Loihi board, as its authors report it (Boyle et al., IEEE TCAD 2025)."""

BYTES_PER_SYNAPSE = 2_000
"""Memory per synapse while SANA-FE 2.2.9 loads a network (measured: 1,300 to 2,200)."""

_TIME_REASONS = (
    "no queues in the mesh",
    "lookups in parallel with a core's neurons",
    "events as SANA-FE counts them",
    "spikes wait to be sent, in the mesh, and at the core",
)
"""Differences from our duration to SANA-FE's simple timing model, and from that to its detailed one."""


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
        events=event_quantities(mapping, profile, events, expected, run),
        energy=energy_quantities(mapping, profile, schedule, events, expected, run),
        tick_us={
            name: (seconds * 1e6).tolist()
            for name, seconds in {"ours": ours_s, **run.tick_s}.items()
        },
        time_steps=[
            TimeStep(reason=reason, difference_us=after - before)
            for reason, (before, after) in zip(_TIME_REASONS, pairwise(totals_us), strict=True)
        ],
        time_difference=first_difference("time", simple_s, run.tick_s["simple"]),
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
