"""Seconds and joules of a run, from the events of every tick of every core.

A core computes its events times their durations, one after another, and is done when it has and its last
spike has come through the queues in the mesh. A tick lasts as long as its slowest core, then the barrier.
What a core does not compute of a tick it waits: for spikes in the mesh, then for a slower core while its own
stage fires (imbalance), else because the stage is starved, blocked or drained.
Links between chips have no published figure: the energy of a crossing is assumed, and takes no time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_models.multicore.event_counts import Events
from hw_models.multicore.mapping import Mapping
from hw_models.multicore.pipeline_ticks import ACTIVITIES, Schedule
from hw_models.target_description import CostProfile

TIMES = ("computing", "imbalance", "starved", "blocked", "drained", "mesh", "barrier")
"""What a core's time is spent on; they sum to the run's duration."""


@dataclass(frozen=True, kw_only=True)
class PopulationTime:
    """Seconds of a run, mean over a population's cores.

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
class RunCost:
    """Estimates for one run of K samples; not exact, unlike the ticks they rest on.

    Attributes:
        total_s: duration of the run.
        first_latency_s: from the start to the first sample's logits.
        interval_s: between logits, mean over the second half of the run.
        barrier_share: part of ``total_s`` spent in barriers.
        energy_by_event_j: energy a sample by kind of event; sums to ``energy_per_sample_j``.
        times: where the time of each population's cores goes, mean over its cores.
        core_times: the same of every core, in the mapping's order: seconds by ``TIMES``.
    """

    total_s: float
    first_latency_s: float
    interval_s: float
    barrier_share: float
    energy_per_sample_j: float
    energy_by_event_j: dict[str, float]
    events_per_sample: dict[str, float]
    times: dict[str, PopulationTime]
    core_times: list[list[float]]


def run_cost(mapping: Mapping, profile: CostProfile, schedule: Schedule, events: Events) -> RunCost:
    """Cost of a scheduled run whose events were counted."""
    own_ns, per_core_ns = computing_ns(profile, events), core_ticks_ns(profile, events)
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    core_times = _core_times(mapping, schedule, own_ns, per_core_ns, barrier_ns)
    tick_ends_s = np.cumsum(per_core_ns.max(axis=0) + barrier_ns) * 1e-9
    done_s = tick_ends_s[schedule.completion_ticks - 1]
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
    samples = schedule.num_samples
    energy = {
        name: float(count.sum()) * pj * 1e-12 / samples for name, (count, pj) in amounts.items()
    }
    return RunCost(
        total_s=float(tick_ends_s[-1]),
        first_latency_s=float(done_s[0]),
        interval_s=interval_between(done_s),
        barrier_share=barrier_ns * 1e-9 * schedule.num_ticks / float(tick_ends_s[-1]),
        energy_per_sample_j=sum(energy.values()),
        energy_by_event_j=energy,
        events_per_sample={n: float(count.sum()) / samples for n, (count, _) in amounts.items()},
        times=_population_times(mapping, per_core_ns, core_times),
        core_times=core_times.tolist(),
    )


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


def interval_between(done_s: np.ndarray) -> float:
    """Mean seconds between results over the second half of a run; of a single one, its latency."""
    if len(done_s) == 1:
        return float(done_s[0])
    half = (len(done_s) - 1) // 2
    return float(done_s[-1] - done_s[half]) / (len(done_s) - 1 - half)


def _core_times(
    mapping: Mapping,
    schedule: Schedule,
    own_ns: np.ndarray,
    per_core_ns: np.ndarray,
    barrier_ns: float,
) -> np.ndarray:
    """Seconds of each core by ``TIMES``, shape ``(cores, 7)``; each row sums to the run's duration."""
    waiting_ns = per_core_ns.max(axis=0) - per_core_ns
    times = np.zeros((len(per_core_ns), len(TIMES)))
    times[:, 0] = own_ns.sum(axis=1)
    times[:, -2] = (per_core_ns - own_ns).sum(axis=1)
    for name in mapping.grids:
        for replica, stage in enumerate(schedule.pipeline.stages(name)):
            rows = mapping.rows_of(name, replica)
            for span in schedule.spans[stage]:
                column = 1 + ACTIVITIES.index(span.activity)
                times[rows, column] += waiting_ns[rows, span.start : span.stop].sum(axis=1)
    times[:, -1] = barrier_ns * per_core_ns.shape[1]
    return times * 1e-9


def _population_times(
    mapping: Mapping, per_core_ns: np.ndarray, core_times: np.ndarray
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
            pace_s=float(tick_ns[sets_pace].sum()) * 1e-9,
            slowest_core=mapping.cores[
                int(rows[per_core_ns[rows].sum(axis=1).argmax()])
            ].core_index,
        )
    return times
