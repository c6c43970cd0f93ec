"""Seconds and joules of a run, from the events of every tick of every core.

Events come from the real spike trains of the run's samples. A core's time in a tick is its events
times their durations, one after another; a tick lasts as long as its slowest core, then the barrier.
Spikes of a step are sent in that step's tick and integrated by the target's alignment buffer in the next.
Links between chips have no published figure: messages that leave a chip cost what others do, no hops.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hw_models.multicore.connectivity import connectivity
from hw_models.multicore.mapping import Mapping, Route
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.multicore.tile_grid import TileGrid, block_sums
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
    for name, grid in mapping.grids.items():
        rows, ticks = _rows(mapping, grid), schedule.step_ticks[name]
        neurons = np.array([tile.neurons for tile in grid.tiles])
        _add(events.active_updates, rows, ticks, np.multiply.outer(neurons, np.ones_like(ticks)))
        if name in trains:
            members = [_membership(edges) for edges in grid.edges]
            _add(events.spikes, rows, ticks, _sums(trains[name].astype(np.int64), members))
    for synapse in mapping.network.synapses:
        grid = mapping.grids[synapse.target]
        rows = _rows(mapping, grid)
        frames = _frames(mapping, synapse, pixels, trains)
        arrived = np.minimum(schedule.step_ticks[synapse.source] + 1, schedule.num_ticks - 1)
        links = connectivity(synapse, mapping.network[synapse.source].shape)
        synapses = [
            block_sums((matrix != 0).astype(np.int64), edges)
            for matrix, edges in zip(
                (links.channels, links.rows, links.columns), grid.edges, strict=True
            )
        ]
        reaching = [(matrix > 0).astype(np.int64) for matrix in synapses]
        _add(events.synaptic, rows, arrived, _sums(frames, synapses))
        _add(events.messages_in, rows, arrived, _sums(frames, reaching))
        # the buffer's compartments integrate: one update a neuron for each frame that arrives
        neurons = np.array([tile.neurons for tile in grid.tiles])
        _add(
            events.active_updates, rows, arrived, np.multiply.outer(neurons, np.ones_like(arrived))
        )
    for route in mapping.routes():
        _add_messages(events, mapping, schedule, route, trains[route.synapse.source])
    compartments = np.array([core.use.compartments for core in mapping.cores])
    idle = np.maximum(compartments[:, None] - events.active_updates, 0)
    events.inactive_updates[:] = idle
    return events


def _add_messages(
    events: _Events, mapping: Mapping, schedule: Schedule, route: Route, train: np.ndarray
) -> None:
    """One message for each spike and core it must reach."""
    ticks = schedule.step_ticks[route.synapse.source]
    messages = _sums(
        train.astype(np.int64), [axis.reaching.astype(np.int64) for axis in route.axes]
    )
    hops_x, hops_y = mapping.hops(route.source, route.target)
    _add(events.messages_out, route.source, ticks, messages)
    _add(events.hops_east_west, route.source, ticks, messages * hops_x[:, None, None])
    _add(events.hops_north_south, route.source, ticks, messages * hops_y[:, None, None])


def _rows(mapping: Mapping, grid: TileGrid) -> np.ndarray:
    start = mapping.first_core[grid.population]
    return np.arange(start, start + len(grid))


def _membership(edges: tuple[int, ...]) -> np.ndarray:
    """Which indices each block holds, int64 ``(blocks, size)``."""
    return block_sums(np.eye(edges[-1], dtype=np.int64), edges)


def _sums(frames: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Weighted sums over channels, rows and columns for every combination of blocks.

    Args:
        frames: ``(K, T, C, H, W)``.
        weights: ``(a, C)``, ``(b, H)`` and ``(c, W)``.

    Returns:
        int64 ``(a b c, K, T)``.
    """
    sums = frames.astype(np.float64)  # integers below 2^53, so exact
    for weight in weights:
        sums = np.tensordot(sums, weight.astype(np.float64), axes=(2, 1))  # to the end
    samples, steps = sums.shape[:2]
    return sums.reshape(samples, steps, -1).transpose(2, 0, 1).astype(np.int64)


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


def _add(totals: np.ndarray, rows: np.ndarray, ticks: np.ndarray, amounts: np.ndarray) -> None:
    """Add amounts of shape (R, K, T) to rows, which may repeat, at ticks (K, T), which may too."""
    flat = (rows[:, None] * totals.shape[1] + ticks.reshape(1, -1)).reshape(-1)
    added = np.bincount(flat, weights=amounts.reshape(-1), minlength=totals.size)
    totals += added.astype(np.int64).reshape(totals.shape)
