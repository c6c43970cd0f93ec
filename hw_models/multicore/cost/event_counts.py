"""Exact event counts of every core in every tick, from the spike trains of real samples.

Spikes of a step are sent in that step's tick and reach their synapses in it, as the barrier waits for all
messages in flight. The target's alignment buffer integrates their sum in the next tick.
A replica drops the frames of samples on which others work. They cost as much as those that it keeps: the
messages, the synaptic events of their lists, and one update per neuron to discard the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial

import numpy as np

from hw_models.multicore.cost.frame_sums import BlockSums, Weights, frame_sums
from hw_models.multicore.cost.mesh_queues import longest_queues, num_links, paths
from hw_models.multicore.mapping.connectivity import connectivity, is_convolution
from hw_models.multicore.mapping.mapping import CoreMapping, Route
from hw_models.multicore.mapping.tile_grid import TileGrid, block_sums, memberships
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerPopulation,
    IntegerReadout,
    IntegerSynapse,
    bit_planes,
)
from toolchain.networks.linear_maps import Shape


@dataclass(frozen=True, eq=False)
class Events:
    """Event counts of each core in each tick, int64 of shape ``(cores, ticks)``; a slice selects ticks.

    A message that leaves its chip counts as one crossing, however many chips lie between, and no hops.

    Attributes:
        synaptic: synaptic events of dense layers.
        convolution: synaptic events of convolutions, whose source pixels share synapse lists.
        queues: messages in front of the last spike to a core, float64 (``mesh_queues``); 0 if it receives
            none. An estimate, unlike all others.
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
    queues: np.ndarray

    def __getitem__(self, ticks: slice) -> Events:
        return Events(*(getattr(self, field.name)[:, ticks] for field in fields(self)))


def count_events(
    mapping: CoreMapping,
    schedule: Schedule,
    pixels: np.ndarray,
    trains: ReadOnlyDict[str, np.ndarray],
    ticks: np.ndarray | None = None,
) -> Events:
    """Count the events of a scheduled run.

    Args:
        pixels: samples of shape ``(K, C, H, W)``, which the run shows in turn.
        trains: their spike trains, bool of shape ``(K, T_l, C, H, W)`` by population.
        ticks: the ticks to count, in the order of the columns; all ticks of the run if None.
    """
    if ticks is None:
        ticks = np.arange(schedule.num_ticks)
    columns = np.full(schedule.num_ticks, -1)
    columns[ticks] = np.arange(len(ticks))
    shown = np.arange(schedule.num_samples) % len(pixels)
    shape = (len(mapping.cores), len(ticks))
    events = Events(*(np.zeros(shape, np.int64) for _ in fields(Events)))
    link_loads = np.zeros((num_links(mapping), len(ticks)))
    run = _Run(mapping, schedule, shown, columns, events, link_loads)
    run.add_updates()
    for population in mapping.network.populations:
        if isinstance(population, IntegerReadout):
            continue  # sends nothing
        asked, adds = zip(*run.counts(population), strict=True)
        sums = frame_sums(_frames(population, pixels, trains), asked)
        for add, sums_of_one in zip(adds, sums, strict=True):
            add(sums_of_one)
    compartments = np.array([core.use.compartments for core in mapping.cores])
    np.maximum(compartments[:, None] - events.active_updates, 0, out=events.inactive_updates)
    queues = longest_queues(mapping, link_loads)
    return replace(events, queues=np.where(events.messages_in > 0, queues, 0))


@dataclass(frozen=True, eq=False)
class _Run:
    """A run, and the counts to which its events are added.

    Attributes:
        shown: index in the pixels of each sample of the schedule, shape ``(schedule.num_samples,)``.
        columns: column of each tick in the counts, -1 if it is not counted, shape
            ``(schedule.num_ticks,)``.
        link_loads: messages on each link of the mesh in each tick, shape ``(num_links, ticks)``.
    """

    mapping: CoreMapping
    schedule: Schedule
    shown: np.ndarray
    columns: np.ndarray
    events: Events
    link_loads: np.ndarray

    def add_updates(self) -> None:
        """Active updates: one per neuron in each of its steps, and one for each frame that arrives."""
        for name in self.mapping.grids:
            count = self.mapping.num_replicas(name)
            for replica in range(count):
                self._update(name, replica, self.schedule.step_ticks[name][replica::count])
        for synapse in self.mapping.network.synapses:
            sent = self.schedule.step_ticks[synapse.source]
            integrated = np.minimum(sent + 1, self.schedule.num_ticks - 1)
            for _, replica, own in self.mapping.senders(synapse):
                self._update(synapse.target, replica, integrated[own])

    def _update(self, population: str, replica: int, ticks: np.ndarray) -> None:
        """One update of each neuron in each of the ticks, which may repeat."""
        cores = self.mapping.core_slots_of(population, replica)
        neurons = np.array([tile.neurons for tile in self.mapping.grids[population].tiles])
        columns = self.columns[ticks.reshape(-1)]
        num_columns = self.events.active_updates.shape[1]
        times = np.bincount(columns[columns >= 0], minlength=num_columns)
        self.events.active_updates[cores.start : cores.stop] += np.multiply.outer(neurons, times)

    @cached_property
    def _sent(self) -> ReadOnlyDict[str, list[IntegerSynapse]]:
        """Synapses of each source, in the order of all synapses."""
        sent: dict[str, list[IntegerSynapse]] = {
            p.name: [] for p in self.mapping.network.populations
        }
        for synapse in self.mapping.network.synapses:
            sent[synapse.source].append(synapse)
        return sent

    def counts(
        self, population: IntegerPopulation
    ) -> Iterator[tuple[Weights, Callable[[BlockSums], None]]]:
        """Weights for sums of a population's frames, and functions that add the sums to the events."""
        name = population.name
        if name in self.mapping.grids:
            own = [memberships(edges) for edges in self.mapping.grids[name].edges]
            yield own, partial(self._add_spikes, name)
        for synapse in self._sent[name]:
            synapses = _synapses(synapse, population.shape, self.mapping.grids[synapse.target])
            kind = self.events.convolution if is_convolution(synapse) else self.events.synaptic
            yield synapses, partial(self._add_arrivals, synapse, kind)
            reaching = [counts > 0 for counts in synapses]
            yield reaching, partial(self._add_arrivals, synapse, self.events.messages_in)
            routes = list(self.mapping.routes_of(synapse))
            if routes:  # all have the same axes
                axes = [axis.reaching for axis in routes[0].axes]
                yield axes, partial(self._add_messages, synapse, routes)

    def _add_spikes(self, population: str, spikes: BlockSums) -> None:
        count = self.mapping.num_replicas(population)
        amounts = spikes.of_combinations()
        for replica in range(count):
            cores = self.mapping.core_slots_of(population, replica)
            own = slice(replica, None, count)
            self._add(self.events.spikes, cores, population, own, amounts)

    def _add_arrivals(
        self, synapse: IntegerSynapse, totals: np.ndarray, arrivals: BlockSums
    ) -> None:
        amounts = arrivals.of_combinations()
        for _, replica, own in self.mapping.senders(synapse):
            cores = self.mapping.core_slots_of(synapse.target, replica)
            self._add(totals, cores, synapse.source, own, amounts)

    def _add_messages(
        self, synapse: IntegerSynapse, routes: Sequence[Route], messages: BlockSums
    ) -> None:
        """One message for each spike and core it is sent to."""
        mapping, events = self.mapping, self.events
        kinds = (
            events.messages_out,
            events.hops_east_west,
            events.hops_north_south,
            events.chip_crossings,
        )
        for (replica, _, own), route in zip(mapping.senders(synapse), routes, strict=True):
            cores = mapping.core_slots_of(synapse.source, replica)
            hops_x, hops_y = mapping.hops(route.source, route.target)
            away = mapping.chips[route.source] != mapping.chips[route.target]
            factors = np.array([np.ones_like(hops_x), hops_x, hops_y, away])
            amounts = messages.of_groups(route.source - cores.start, len(cores), factors)
            for totals, amount in zip(kinds, amounts, strict=True):
                self._add(totals, cores, synapse.source, own, amount)
            self._add_loads(synapse, own, route, messages)

    def _add_loads(
        self, synapse: IntegerSynapse, own: slice, route: Route, messages: BlockSums
    ) -> None:
        """Each message adds the same share to all links that it crosses."""
        ways = paths(self.mapping, route.source, route.target)
        on_way = BlockSums(messages.distinct, messages.index[ways.route])
        links, numbers = np.unique(ways.link, return_inverse=True)
        share = 1 / (ways.hops + 2)[ways.route]
        (loads,) = on_way.of_groups(numbers, len(links), share[None])
        self._add(self.link_loads, links, synapse.source, own, loads)

    def _add(
        self,
        totals: np.ndarray,
        rows: range | np.ndarray,
        source: str,
        own: slice,
        amounts: np.ndarray,
    ) -> None:
        """Add amounts ``(rows, K, T)`` of the own samples of one replica of a source to rows of totals.

        A replica takes one step per tick, so no two amounts of a row are for the same tick.
        """
        columns = self.columns[self.schedule.step_ticks[source][own]]
        sample, step = np.nonzero(columns >= 0)
        counted = amounts[:, self.shown[own][sample], step]
        if isinstance(rows, range):
            totals[rows.start : rows.stop][:, columns[sample, step]] += counted
        else:
            totals[np.ix_(rows, columns[sample, step])] += counted


def _synapses(synapse: IntegerSynapse, source_shape: Shape, target: TileGrid) -> Weights:
    """How many indices of each target block each index of the source reaches, along each axis."""
    axes = connectivity(synapse, source_shape).axes
    return [
        block_sums(matrix != 0, edges) for matrix, edges in zip(axes, target.edges, strict=True)
    ]


def _frames(
    population: IntegerPopulation, pixels: np.ndarray, trains: ReadOnlyDict[str, np.ndarray]
) -> np.ndarray:
    """Spikes of each neuron in each step, ``(K, T, C, H, W)``; of a pixel, the number of its set bits."""
    if not isinstance(population, IntegerInput):
        return trains[population.name]
    planes = np.arange(bit_planes(population)).reshape(-1, 1, 1, 1, 1)
    return ((pixels >> planes) & 1).sum(axis=0)[:, None]
