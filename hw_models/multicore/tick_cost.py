"""Seconds and joules of a run, from the events of every tick of every core.

Events come from the real spike trains of the run's samples. A core's time in a tick is its events
times their durations, one after another; a tick lasts as long as its slowest core, then the barrier.
Spikes of a step are sent in that step's tick and integrated by the target's alignment buffer in the next.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass

import numpy as np

from hw_models.multicore.connectivity import connectivity
from hw_models.multicore.mapping import CoreAssignment, Mapping, hop_distance
from hw_models.multicore.partition import synapses_into
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.target_description import CostProfile
from toolchain.integer_network import IntegerInput, IntegerSynapse


@dataclass(frozen=True, kw_only=True)
class RunCost:
    """Estimates for one run of K samples; not exact, unlike the ticks they rest on.

    Attributes:
        total_s: duration of the run.
        first_latency_s: from the start to the first sample's logits.
        interval_s: between logits, mean over the second half of the run.
        barrier_share: part of ``total_s`` spent in barriers.
        energy_by_event_j: energy a sample by kind of event; sums to ``energy_per_sample_j``.
    """

    total_s: float
    first_latency_s: float
    interval_s: float
    barrier_share: float
    energy_per_sample_j: float
    energy_by_event_j: dict[str, float]
    events_per_sample: dict[str, float]


def run_cost(
    mapping: Mapping,
    profile: CostProfile,
    schedule: Schedule,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
) -> RunCost:
    """Cost of a scheduled run.

    Args:
        pixels: the run's samples, shape ``(K, C, H, W)``.
        trains: their spike trains, bool of shape ``(K, T_l, C, H, W)`` by population.
    """
    events = _count_events(mapping, schedule, pixels, trains)
    per_core_ns = (
        events.synaptic * profile.synaptic_event_ns
        + events.active_updates * profile.active_update_ns
        + events.inactive_updates * profile.inactive_update_ns
        + events.spikes * profile.spike_ns
        + events.messages_out * profile.message_out_ns
        + events.messages_in * profile.message_in_ns
    )
    barrier_ns = profile.barrier_duration_ns(mapping.num_tiles)
    tick_ends_s = np.cumsum(per_core_ns.max(axis=0) + barrier_ns) * 1e-9
    done_s = tick_ends_s[schedule.completion_ticks - 1]
    half = (len(done_s) - 1) // 2
    amounts = {
        "synaptic event": (events.synaptic, profile.synaptic_event_pj),
        "active update": (events.active_updates, profile.active_update_pj),
        "inactive update": (events.inactive_updates, profile.inactive_update_pj),
        "spike": (events.spikes, profile.spike_pj),
        "message out": (events.messages_out, profile.message_out_pj),
        "hop east-west": (events.hops_east_west, profile.hop_east_west_pj),
        "hop north-south": (events.hops_north_south, profile.hop_north_south_pj),
    }
    samples = schedule.num_samples
    energy = {
        name: float(count.sum()) * pj * 1e-12 / samples for name, (count, pj) in amounts.items()
    }
    return RunCost(
        total_s=float(tick_ends_s[-1]),
        first_latency_s=float(done_s[0]),
        interval_s=float(done_s[-1] - done_s[half]) / max(len(done_s) - 1 - half, 1)
        or float(done_s[0]),
        barrier_share=barrier_ns * 1e-9 * schedule.num_ticks / float(tick_ends_s[-1]),
        energy_per_sample_j=sum(energy.values()),
        energy_by_event_j=energy,
        events_per_sample={n: float(count.sum()) / samples for n, (count, _) in amounts.items()},
    )


@dataclass(frozen=True, eq=False)
class _Events:
    """Event counts of each core in each tick, int64 of shape ``(cores, ticks)``."""

    synaptic: np.ndarray
    active_updates: np.ndarray
    inactive_updates: np.ndarray
    spikes: np.ndarray
    messages_out: np.ndarray
    messages_in: np.ndarray
    hops_east_west: np.ndarray
    hops_north_south: np.ndarray


def _count_events(
    mapping: Mapping,
    schedule: Schedule,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
) -> _Events:
    shape = (len(mapping.cores), schedule.num_ticks)
    events = _Events(*(np.zeros(shape, np.int64) for _ in range(8)))
    row = {core.core_index: index for index, core in enumerate(mapping.cores)}
    for core in mapping.cores:
        ticks = schedule.step_ticks[core.tile.population]
        events.active_updates[row[core.core_index], ticks.reshape(-1)] += core.use.neurons
        if core.tile.population in trains:
            own = trains[core.tile.population][:, :, core.tile.channel_slice, core.tile.row_slice]
            _add(events.spikes, row[core.core_index], ticks, own.sum(axis=(2, 3, 4)))
    for synapse in mapping.network.synapses:
        frames = _frames(mapping, synapse, pixels, trains)
        sent = schedule.step_ticks[synapse.source]
        arrived = np.minimum(sent + 1, schedule.num_ticks - 1)
        links = connectivity(synapse, mapping.network[synapse.source].shape)
        for core in mapping.cores_of(synapse.target):
            index = row[core.core_index]
            synapses = synapses_into(links, core.tile)
            reaching = (synapses > 0).astype(np.int64)
            _add(events.synaptic, index, arrived, np.einsum("ktchw,chw->kt", frames, synapses))
            _add(events.messages_in, index, arrived, np.einsum("ktchw,chw->kt", frames, reaching))
            # the buffer's compartments integrate: one update a neuron for each frame that arrives
            _add(events.active_updates, index, arrived, np.full(sent.shape, core.use.neurons))
            for source in mapping.cores_of(synapse.source):
                _add_messages(events, row, source, core, frames, reaching, sent)
    compartments = np.array([core.use.compartments for core in mapping.cores])
    idle = np.maximum(compartments[:, None] - events.active_updates, 0)
    events.inactive_updates[:] = idle
    return events


def _add_messages(
    events: _Events,
    row: ReadOnlyDict[int, int],
    source: CoreAssignment,
    target: CoreAssignment,
    frames: np.ndarray,
    reaching: np.ndarray,
    ticks: np.ndarray,
) -> None:
    """One message for each spike and core it must reach."""
    part = (source.tile.channel_slice, source.tile.row_slice)
    messages = np.einsum("ktchw,chw->kt", frames[(slice(None), slice(None), *part)], reaching[part])
    hops_x, hops_y = hop_distance(source.position, target.position)
    index = row[source.core_index]
    _add(events.messages_out, index, ticks, messages)
    _add(events.hops_east_west, index, ticks, messages * hops_x)
    _add(events.hops_north_south, index, ticks, messages * hops_y)


def _frames(
    mapping: Mapping,
    synapse: IntegerSynapse,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
) -> np.ndarray:
    """Axon events of each source neuron and step, int64 ``(K, T, C, H, W)``: for a pixel, its set bits."""
    source = mapping.network[synapse.source]
    if not isinstance(source, IntegerInput):
        return trains[synapse.source].astype(np.int64)
    planes = np.arange(source.max_value.bit_length()).reshape(-1, 1, 1, 1, 1)
    return ((pixels >> planes) & 1).sum(axis=0)[:, None]


def _add(totals: np.ndarray, core: int, ticks: np.ndarray, amounts: np.ndarray) -> None:
    """Add amounts of shape (K, T) to one core at their ticks; ticks may repeat."""
    np.add.at(totals[core], ticks.reshape(-1), amounts.reshape(-1))
