"""Events of every core in every tick, exact, from the spike trains of real samples.

Spikes of a step are sent in that step's tick, and reach their synapses in it: the barrier waits for what is
in flight. The target's alignment buffer integrates their sum in the next.
A frame that reaches a replica which works on other samples is dropped there, and costs what one that is
kept does: its messages, the synaptic events of their lists, and one update a neuron to discard the sum.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass, fields

import numpy as np

from hw_models.multicore.connectivity import connectivity, is_convolution
from hw_models.multicore.frame_sums import frame_sums
from hw_models.multicore.mapping import Mapping, Route
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.multicore.tile_grid import block_sums
from toolchain.integer_network import IntegerInput, IntegerSynapse


@dataclass(frozen=True, eq=False)
class Events:
    """Event counts of each core in each tick, int64 of shape ``(cores, ticks)``.

    A message that leaves its chip counts as one crossing, however many chips lie between, and no hops.

    Attributes:
        synaptic: of dense layers; those of convolutions, whose synapse lists pixels share, are apart.
    """

    synaptic: np.ndarray
    convolution: np.ndarray
    active_updates: np.ndarray
    inactive_updates: np.ndarray
    spikes: np.ndarray
    messages_out: np.ndarray
    messages_in: np.ndarray
    hops_east_west: np.ndarray
    hops_north_south: np.ndarray
    chip_crossings: np.ndarray


def count_events(
    mapping: Mapping,
    schedule: Schedule,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
) -> Events:
    """Count the events of a scheduled run.

    Args:
        pixels: the run's samples, shape ``(K, C, H, W)``; where they are fewer, they come again in turn.
        trains: their spike trains, bool of shape ``(K, T_l, C, H, W)`` by population.
    """
    shown = np.arange(schedule.num_samples) % len(pixels)
    shape = (len(mapping.cores), schedule.num_ticks)
    events = Events(*(np.zeros(shape, np.int64) for _ in fields(Events)))
    for name, grid in mapping.grids.items():
        neurons = np.array([tile.neurons for tile in grid.tiles])
        members = [_membership(edges) for edges in grid.edges]
        count = mapping.num_replicas(name)
        for replica in range(count):
            own = slice(replica, None, count)
            rows, ticks = _rows(mapping, name, replica), schedule.step_ticks[name][own]
            updates = np.multiply.outer(neurons, np.ones_like(ticks))
            _add(events.active_updates, rows, ticks, updates)
            if name in trains:
                spikes = frame_sums(trains[name], members)
                _add(events.spikes, rows, ticks, spikes[:, shown[own]])
    for synapse in mapping.network.synapses:
        grid = mapping.grids[synapse.target]
        frames = _frames(mapping, synapse, pixels, trains)
        sent = schedule.step_ticks[synapse.source]
        integrated = np.minimum(sent + 1, schedule.num_ticks - 1)
        links = connectivity(synapse, mapping.network[synapse.source].shape)
        synapses = [
            block_sums((matrix != 0).astype(np.int64), edges)
            for matrix, edges in zip(
                (links.channels, links.rows, links.columns), grid.edges, strict=True
            )
        ]
        reaching = [(matrix > 0).astype(np.int64) for matrix in synapses]
        synaptic, messages = frame_sums(frames, synapses), frame_sums(frames, reaching)
        kind = events.convolution if is_convolution(synapse) else events.synaptic
        # the buffer's compartments integrate: one update a neuron for each frame that arrives
        neurons = np.array([tile.neurons for tile in grid.tiles])
        updates = np.multiply.outer(neurons, np.ones_like(integrated))
        for _, replica, own in mapping.senders(synapse):
            rows = _rows(mapping, synapse.target, replica)
            _add(kind, rows, sent[own], synaptic[:, shown[own]])
            _add(events.messages_in, rows, sent[own], messages[:, shown[own]])
            _add(events.active_updates, rows, integrated[own], updates[:, own])
    for route in mapping.routes():
        _add_messages(events, mapping, schedule, route, trains[route.synapse.source], shown)
    compartments = np.array([core.use.compartments for core in mapping.cores])
    idle = np.maximum(compartments[:, None] - events.active_updates, 0)
    events.inactive_updates[:] = idle
    return events


def _add_messages(
    events: Events,
    mapping: Mapping,
    schedule: Schedule,
    route: Route,
    train: np.ndarray,
    shown: np.ndarray,
) -> None:
    """One message for each spike and core it is sent to."""
    ticks = schedule.step_ticks[route.synapse.source][route.samples]
    reaching = [axis.reaching.astype(np.int64) for axis in route.axes]
    messages = frame_sums(train, reaching)[:, shown[route.samples]]
    hops_x, hops_y = mapping.hops(route.source, route.target)
    _add(events.messages_out, route.source, ticks, messages)
    _add(events.hops_east_west, route.source, ticks, messages * hops_x[:, None, None])
    _add(events.hops_north_south, route.source, ticks, messages * hops_y[:, None, None])
    away = mapping.chips[route.source] != mapping.chips[route.target]
    _add(events.chip_crossings, route.source, ticks, messages * away[:, None, None])


def _rows(mapping: Mapping, population: str, replica: int) -> np.ndarray:
    return np.array(mapping.rows_of(population, replica))


def _membership(edges: tuple[int, ...]) -> np.ndarray:
    """Which indices each block holds, int64 ``(blocks, size)``."""
    return block_sums(np.eye(edges[-1], dtype=np.int64), edges)


def _frames(
    mapping: Mapping,
    synapse: IntegerSynapse,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
) -> np.ndarray:
    """Axon events of each source neuron and step, ``(K, T, C, H, W)``: for a pixel, its set bits."""
    source = mapping.network[synapse.source]
    if not isinstance(source, IntegerInput):
        return trains[synapse.source]
    planes = np.arange(source.max_value.bit_length()).reshape(-1, 1, 1, 1, 1)
    return ((pixels >> planes) & 1).sum(axis=0)[:, None]


def _add(totals: np.ndarray, rows: np.ndarray, ticks: np.ndarray, amounts: np.ndarray) -> None:
    """Add amounts of shape (R, K, T) to rows, which may repeat, at ticks (K, T), which may too."""
    flat = (rows[:, None] * totals.shape[1] + ticks.reshape(1, -1)).reshape(-1)
    added = np.bincount(flat, weights=amounts.reshape(-1), minlength=totals.size)
    totals += added.astype(np.int64).reshape(totals.shape)
