"""Seconds and joules per sample, from the events of every tick of every core.

A core computes one event after another, each for its duration. It has finished a tick once that is done and
the last spike to it has come through the queues in the mesh. A tick lasts as long as its slowest core, then
the barrier. In the rest of a tick a core waits: for spikes in the mesh, then for a slower core while its own
stage fires (imbalance), or because the stage is starved, blocked or drained.
Links between chips have no published figure: the energy of a crossing is assumed, and it takes no time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_models.multicore.cost.event_counts import Events
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES, Schedule
from hw_models.target_description import CostProfile

TIMES = ("computing", "imbalance", "starved", "blocked", "drained", "mesh", "barrier")
"""Parts of a core's time; they sum to the duration of the ticks."""


@dataclass(frozen=True, kw_only=True)
class PopulationTime:
    """Seconds per sample, mean over a population's cores.

    Attributes:
        imbalance_s: waiting for a slower core while the population fires.
        starved_s, blocked_s, drained_s: waiting in the ticks in which the population is so.
        mesh_s: waiting for spikes in the mesh after its own work.
        pace_s: duration of the ticks whose slowest core is one of this population's.
        slowest_core: its core with the most to compute.
    """

    computing_s: float
    imbalance_s: float
    starved_s: float
    blocked_s: float
    drained_s: float
    mesh_s: float
    barrier_s: float
    pace_s: float
    slowest_core: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Estimates per sample for some ticks of a schedule; not exact, although the ticks are.

    Attributes:
        interval_s: duration of the ticks per sample; in the steady state, the time between results.
        barrier_share: share of the duration that is spent in barriers.
        energy_by_event_j: energy by kind of event; sums to ``energy_per_sample_j``.
        times: parts of the time of each population's cores, mean over its cores.
        core_times: seconds by ``TIMES`` of every core, in the mapping's order; they sum to
            ``interval_s``.
    """

    interval_s: float
    barrier_share: float
    energy_per_sample_j: float
    energy_by_event_j: dict[str, float]
    events_per_sample: dict[str, float]
    times: dict[str, PopulationTime]
    core_times: list[list[float]]

    @property
    def shares(self) -> dict[str, float]:
        """By population, share of the time without barriers in which one of its cores is the slowest."""
        total = sum(time.pace_s for time in self.times.values())
        return {name: time.pace_s / total for name, time in self.times.items()}


def run_cost(
    mapping: CoreMapping, profile: CostProfile, schedule: Schedule, events: Events
) -> Cost:
    """Cost of a whole scheduled run, filling and draining included, per sample of the run."""
    ticks = range(schedule.num_ticks)
    return ticks_cost(mapping, profile, schedule, events, ticks, schedule.num_samples)


def ticks_cost(
    mapping: CoreMapping,
    profile: CostProfile,
    schedule: Schedule,
    events: Events,
    ticks: range,
    num_samples: int,
) -> Cost:
    """Cost of consecutive ticks of a schedule.

    Args:
        events: events of these ticks.
        num_samples: samples by which the cost is divided.
    """
    own_ns, per_core_ns = computing_ns(profile, events), core_ticks_ns(profile, events)
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    core_times = (
        _core_times(mapping, schedule, own_ns, per_core_ns, barrier_ns, ticks) / num_samples
    )
    total_ns = float((per_core_ns.max(axis=0) + barrier_ns).sum())
    amounts = {
        "synaptic event": (events.synaptic, profile.synaptic_event_pj),
        "convolution event": (events.convolution, profile.convolution_event_pj),
        "active update": (events.active_updates, profile.active_update_pj),
        "inactive update": (events.inactive_updates, profile.inactive_update_pj),
        "spike": (events.spikes, profile.spike_pj),
        "message out": (events.messages_out, profile.message_out_pj),
        "hop east-west": (events.hops_east_west, profile.hop_east_west_pj),
        "hop north-south": (events.hops_north_south, profile.hop_north_south_pj),
        "chip crossing": (events.chip_crossings, profile.chip_crossing_pj),
    }
    counts = {name: float(count.sum()) / num_samples for name, (count, _) in amounts.items()}
    energy = {name: counts[name] * pj * 1e-12 for name, (_, pj) in amounts.items()}
    return Cost(
        interval_s=total_ns * 1e-9 / num_samples,
        barrier_share=barrier_ns * len(ticks) / total_ns,
        energy_per_sample_j=sum(energy.values()),
        energy_by_event_j=energy,
        events_per_sample=counts,
        times=_population_times(mapping, per_core_ns, core_times, num_samples),
        core_times=core_times.tolist(),
    )


def tick_durations_ns(mapping: CoreMapping, profile: CostProfile, events: Events) -> np.ndarray:
    """How long each tick lasts: its slowest core, then the barrier; shape ``(ticks,)``."""
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    return np.asarray(core_ticks_ns(profile, events).max(axis=0) + barrier_ns)


def core_ticks_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """Time from the start of each tick until each core has finished it; shape ``(cores, ticks)``."""
    return np.maximum(computing_ns(profile, events), arrivals_ns(profile, events))


def arrivals_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """Time from the start of each tick until the last spike to each core has come through the mesh.

    Each message in the queue takes as long as a core takes to receive one, mean over those of the tick
    (``mesh_queues``). Shape ``(cores, ticks)``.
    """
    receiving_ns, messages = lookups_ns(profile, events).sum(axis=0), events.messages_in.sum(axis=0)
    return np.asarray(events.queues * (receiving_ns / np.maximum(messages, 1)))


def computing_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """Time that each core computes in each tick, one event after another; shape ``(cores, ticks)``."""
    return neurons_ns(profile, events) + lookups_ns(profile, events)


def neurons_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """The part of computing that updates compartments and sends their spikes, shape ``(cores, ticks)``."""
    return (
        events.active_updates * profile.active_update_ns
        + events.inactive_updates * profile.inactive_update_ns
        + events.spikes * profile.spike_ns
        + events.messages_out * profile.message_out_ns
    )


def lookups_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """The part of computing that receives spikes and looks up synapses, shape ``(cores, ticks)``."""
    return (
        events.synaptic * profile.synaptic_event_ns
        + events.convolution * profile.convolution_event_ns
        + events.messages_in * profile.message_in_ns
    )


def _core_times(
    mapping: CoreMapping,
    schedule: Schedule,
    own_ns: np.ndarray,
    per_core_ns: np.ndarray,
    barrier_ns: float,
    ticks: range,
) -> np.ndarray:
    """Seconds of each core by ``TIMES``, shape ``(cores, 7)``; each row sums to the ticks' duration."""
    waiting_ns = per_core_ns.max(axis=0) - per_core_ns
    times = np.zeros((len(per_core_ns), len(TIMES)))
    times[:, 0] = own_ns.sum(axis=1)
    times[:, -2] = (per_core_ns - own_ns).sum(axis=1)
    spans = schedule.spans_in(ticks)
    for name in mapping.grids:
        for replica, stage in enumerate(schedule.pipeline.stages(name)):
            cores = mapping.core_slots_of(name, replica)
            for span in spans[stage]:
                start, stop = max(span.start, ticks.start), min(span.stop, ticks.stop)
                if start < stop:
                    column = 1 + ACTIVITIES.index(span.activity)
                    waited = waiting_ns[cores, start - ticks.start : stop - ticks.start]
                    times[cores, column] += waited.sum(axis=1)
    times[:, -1] = barrier_ns * per_core_ns.shape[1]
    return times * 1e-9


def _population_times(
    mapping: CoreMapping, per_core_ns: np.ndarray, core_times: np.ndarray, num_samples: int
) -> dict[str, PopulationTime]:
    slowest = per_core_ns.argmax(axis=0)
    tick_ns = per_core_ns.max(axis=0)
    times = {}
    for name in mapping.grids:
        cores = mapping.cores_of(name)
        first = mapping.first_core[name]
        own = slice(first, first + len(cores))
        sets_pace = (slowest >= own.start) & (slowest < own.stop)
        means = core_times[own].mean(axis=0)
        times[name] = PopulationTime(
            **{f"{kind}_s": float(mean) for kind, mean in zip(TIMES, means, strict=True)},
            pace_s=float(tick_ns[sets_pace].sum()) * 1e-9 / num_samples,
            slowest_core=cores[int(per_core_ns[own].sum(axis=1).argmax())].core_index,
        )
    return times
