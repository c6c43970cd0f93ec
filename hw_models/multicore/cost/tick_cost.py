"""Seconds and joules per sample, from the events of every tick of every core.

A core computes its events times their durations, one after another, and is done when it has and its last
spike has come through the queues in the mesh. A tick lasts as long as its slowest core, then the barrier.
What a core does not compute of a tick it waits: for spikes in the mesh, then for a slower core while its own
stage fires (imbalance), else because the stage is starved, blocked or drained.
Links between chips have no published figure: the energy of a crossing is assumed, and takes no time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_models.multicore.cost.event_counts import Events
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES, Schedule
from hw_models.target_description import CostProfile

TIMES = ("computing", "imbalance", "starved", "blocked", "drained", "mesh", "barrier")
"""What a core's time is spent on; they sum to the duration of the ticks."""


@dataclass(frozen=True, kw_only=True)
class PopulationTime:
    """Seconds per sample, mean over a population's cores.

    Attributes:
        imbalance_s: its population fires, but the barrier waits for a slower core.
        starved_s, blocked_s, drained_s: the rest of the ticks in which its population is so.
        mesh_s: its own work is done, but spikes to it queue in the mesh.
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
    """Estimates for some ticks of a schedule, per sample; not exact, unlike the ticks they rest on.

    Attributes:
        interval_s: duration of the ticks per sample: between results, if the ticks are of the steady state.
        barrier_share: part of the duration spent in barriers.
        energy_by_event_j: energy by kind of event; sums to ``energy_per_sample_j``.
        times: where the time of each population's cores goes, mean over its cores.
        core_times: the same of every core, in the mapping's order: seconds by ``TIMES``, which sum to
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
        """By population, part of the time, barriers apart, that one of its cores is the slowest."""
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
        events: of these ticks.
        num_samples: what the cost is divided by.
    """
    own_ns, per_core_ns = computing_ns(profile, events), core_ticks_ns(profile, events)
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    core_times = (
        _core_times(mapping, schedule, own_ns, per_core_ns, barrier_ns, ticks) / num_samples
    )
    total_ns = float(tick_durations_ns(mapping, profile, events).sum())
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
    """From the start of each tick to when each core is done with it; shape ``(cores, ticks)``."""
    return np.maximum(computing_ns(profile, events), arrivals_ns(profile, events))


def arrivals_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """When each core's last spike has come through the mesh, shape ``(cores, ticks)``.

    Each message in the queue takes as long as a core takes to receive one, mean over those of the tick
    (``mesh_queues``).
    """
    receiving_ns, messages = lookups_ns(profile, events).sum(axis=0), events.messages_in.sum(axis=0)
    return np.asarray(events.queues * (receiving_ns / np.maximum(messages, 1)))


def computing_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """What each core computes in each tick, one event after another; shape ``(cores, ticks)``."""
    return neurons_ns(profile, events) + lookups_ns(profile, events)


def neurons_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """The part that services compartments and sends their spikes, shape ``(cores, ticks)``."""
    return (
        events.active_updates * profile.active_update_ns
        + events.inactive_updates * profile.inactive_update_ns
        + events.spikes * profile.spike_ns
        + events.messages_out * profile.message_out_ns
    )


def lookups_ns(profile: CostProfile, events: Events) -> np.ndarray:
    """The part that receives spikes and looks up their synapses, shape ``(cores, ticks)``."""
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
    for name in mapping.grids:
        for replica, stage in enumerate(schedule.pipeline.stages(name)):
            rows = mapping.core_slots_of(name, replica)
            for span in schedule.spans[stage]:
                start, stop = max(span.start, ticks.start), min(span.stop, ticks.stop)
                if start < stop:
                    column = 1 + ACTIVITIES.index(span.activity)
                    waited = waiting_ns[rows, start - ticks.start : stop - ticks.start]
                    times[rows, column] += waited.sum(axis=1)
    times[:, -1] = barrier_ns * per_core_ns.shape[1]
    return times * 1e-9


def _population_times(
    mapping: CoreMapping, per_core_ns: np.ndarray, core_times: np.ndarray, num_samples: int
) -> dict[str, PopulationTime]:
    slowest = per_core_ns.argmax(axis=0)
    tick_ns = per_core_ns.max(axis=0)
    times = {}
    for name in mapping.grids:
        rows = mapping.first_core[name] + np.arange(len(mapping.cores_of(name)))
        sets_pace = (slowest >= rows[0]) & (slowest <= rows[-1])
        means = core_times[rows].mean(axis=0)
        times[name] = PopulationTime(
            **{f"{kind}_s": float(mean) for kind, mean in zip(TIMES, means, strict=True)},
            pace_s=float(tick_ns[sets_pace].sum()) * 1e-9 / num_samples,
            slowest_core=mapping.cores[
                int(rows[per_core_ns[rows].sum(axis=1).argmax()])
            ].core_index,
        )
    return times
