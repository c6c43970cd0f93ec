"""Counts of the blocks into which a network is cut, shared by all its mappings.

They do not depend on buffers and replicas, so a search that changes only those counts each cut once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from hw_models.multicore.mapping.block_counts import BlockCounts, channel_counts, pixel_counts
from hw_models.multicore.mapping.connectivity import Connectivity, connectivity
from hw_models.multicore.mapping.core_profiles import (
    ThresholdCodes,
    threshold_codes,
    threshold_profiles,
)
from hw_models.multicore.mapping.tile_grid import TileGrid, combinations
from toolchain.networks.integer_network import IntegerNetwork, IntegerPopulation, IntegerSynapse

_Edges: TypeAlias = tuple[int, ...]
_BlocksOfAxis: TypeAlias = tuple[str, str, int, _Edges]  # source, target, axis, edges


@dataclass(frozen=True, kw_only=True, eq=False)
class CutCounts:
    """Counts of a network's blocks; each is made when it is first asked for.

    Attributes:
        populations: by name. The network itself is not held, so that ``cut_counts`` forgets both together.
        incoming, outgoing: synapses into and out of each population.
        atoms: channels that one axon serves.
        highest: the most that any tile of a grid uses of each limit; ``highest_use`` fills it.
    """

    populations: Mapping[str, IntegerPopulation]
    incoming: Mapping[str, tuple[IntegerSynapse, ...]]
    outgoing: Mapping[str, tuple[IntegerSynapse, ...]]
    atoms: int
    highest: dict[Hashable, dict[str, int]] = field(default_factory=dict)
    _links: dict[tuple[str, str], Connectivity] = field(default_factory=dict)
    _channels: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    _counts: dict[_BlocksOfAxis, BlockCounts] = field(default_factory=dict)
    _reaching: dict[_BlocksOfAxis, np.ndarray] = field(default_factory=dict)
    _sent: dict[tuple[str, str, int, _Edges, _Edges], np.ndarray] = field(default_factory=dict)
    _distinct: dict[tuple[str, int, _Edges, tuple[_Edges, ...]], np.ndarray] = field(
        default_factory=dict
    )
    _thresholds: dict[str, ThresholdCodes] = field(default_factory=dict)
    _profiles: dict[TileGrid, np.ndarray] = field(default_factory=dict)
    _tile_work: dict[TileGrid, int] = field(default_factory=dict)

    def links(self, synapse: IntegerSynapse) -> Connectivity:
        """The connectivity of a synapse."""
        edge = synapse.source, synapse.target
        if edge not in self._links:
            self._links[edge] = connectivity(synapse, self.populations[synapse.source].shape)
        return self._links[edge]

    def reaching(self, synapse: IntegerSynapse, axis: int, edges: _Edges) -> np.ndarray:
        """Whether each source reaches each block along an axis, bool ``(blocks, sources)``."""
        key = synapse.source, synapse.target, axis, edges
        if key not in self._reaching:
            matrix = self.links(synapse).axes[axis]
            self._reaching[key] = np.logical_or.reduceat(matrix, edges[:-1], axis=0)
        return self._reaching[key]

    def counts(self, synapse: IntegerSynapse, axis: int, edges: _Edges) -> BlockCounts:
        """The counts of each block along an axis."""
        key = synapse.source, synapse.target, axis, edges
        if key not in self._counts:
            self._counts[key] = (
                channel_counts(self._fan_in(synapse), edges)
                if axis == 0
                else pixel_counts(self.links(synapse).axes[axis], edges)
            )
        return self._counts[key]

    def _fan_in(self, synapse: IntegerSynapse) -> np.ndarray:
        """Channels of each block of atoms that reach each target channel, ``(targets, blocks)``."""
        edge = synapse.source, synapse.target
        if edge not in self._channels:
            links = self.links(synapse).channels
            starts = np.arange(0, links.shape[1], self.atoms)
            self._channels[edge] = np.add.reduceat(links, starts, axis=1, dtype=np.int64)
        return self._channels[edge]

    def sent(self, synapse: IntegerSynapse, axis: int, own: _Edges, consumer: _Edges) -> np.ndarray:
        """Pairs of a source in each own block and a consumer's block that it reaches; ``(own blocks,)``.

        Along channels, all sources of one block of atoms are one, as an axon serves all of them.
        """
        key = synapse.source, synapse.target, axis, own, consumer
        if key not in self._sent:
            reached = self.reaching(synapse, axis, consumer)
            starts = np.array(own[:-1])
            if axis == 0:
                parts = np.union1d(starts, np.arange(0, reached.shape[1], self.atoms))
                reached = np.logical_or.reduceat(reached, parts, axis=1)
                starts = np.searchsorted(parts, starts)
            self._sent[key] = np.add.reduceat(reached.sum(axis=0), starts)
        return self._sent[key]

    def thresholds(self, name: str) -> ThresholdCodes:
        """Which neurons of a population have the same threshold."""
        if name not in self._thresholds:
            self._thresholds[name] = threshold_codes(self.populations[name])
        return self._thresholds[name]

    def profiles(self, grid: TileGrid) -> np.ndarray:
        """Threshold profiles that each tile needs, int64 ``grid.shape``."""
        if grid not in self._profiles:
            self._profiles[grid] = threshold_profiles(self.thresholds(grid.population), grid)
        return self._profiles[grid]

    def distinct(self, grid: TileGrid, axis: int, consumers: Mapping[str, TileGrid]) -> np.ndarray:
        """Index of the first of each set of equal blocks of a grid along one axis."""
        edges, name = grid.edges[axis], grid.population
        outgoing = self.outgoing[name]
        ends = tuple(consumers[synapse.target].edges[axis] for synapse in outgoing)
        key = name, axis, edges, ends
        if key not in self._distinct:
            counts = [np.diff(edges)]
            for synapse in self.incoming[name]:
                own = self.counts(synapse, axis, edges)
                counts += [own.axons, own.kinds]
            counts += [
                self.sent(s, axis, edges, end) for s, end in zip(outgoing, ends, strict=True)
            ]
            if axis == 0 and self.thresholds(name).codes is not None:
                counts.append(self.profiles(grid)[:, 0, 0])
            first: dict[tuple[int, ...], int] = {}
            for index, row in enumerate(zip(*(count.tolist() for count in counts), strict=True)):
                first.setdefault(row, index)
            self._distinct[key] = np.array(list(first.values()))
        return self._distinct[key]

    def worst_tile_work(self, grid: TileGrid) -> int:
        """Events of the busiest tile if every source neuron spiked once: arrivals and synapses."""
        if grid not in self._tile_work:
            total = np.zeros(grid.shape, np.int64)
            for synapse in self.incoming[grid.population]:
                axes = [self.counts(synapse, axis, grid.edges[axis]) for axis in range(3)]
                total += combinations(*(counts.links for counts in axes))
                reaching = (self.reaching(synapse, axis, grid.edges[axis]) for axis in range(3))
                total += combinations(*(reached.sum(axis=1) for reached in reaching))
            self._tile_work[grid] = int(total.max())
        return self._tile_work[grid]


def cut_counts(network: IntegerNetwork, atoms: int) -> CutCounts:
    """The counts of a network, kept as long as the network is."""
    of_network = _KNOWN.setdefault(network, {})
    if atoms not in of_network:
        of_network[atoms] = CutCounts(
            populations={p.name: p for p in network.populations},
            incoming={p.name: network.incoming(p.name) for p in network.populations},
            outgoing={p.name: network.outgoing(p.name) for p in network.populations},
            atoms=atoms,
        )
    return of_network[atoms]


_KNOWN: WeakKeyDictionary[IntegerNetwork, dict[int, CutCounts]] = WeakKeyDictionary()
