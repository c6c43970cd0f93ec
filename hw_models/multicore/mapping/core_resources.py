"""How much of a core a tile uses, counted as Loihi stores feature maps.

A *population axon* belongs to one source pixel and carries the channel as its atom, so it serves all
channels up to the target's atom count. Source pixels that see the same kernel taps share one synapse
list, at different compartment bases. (After nengo-loihi's ``Synapse``: ``axon_to_weight_map`` and
``axon_compartment_bases``.)

An axon's route is fixed, so a replica sends all of its spikes to every replica of the target that works
on any of its samples, and each drops the frames of the others' samples. Spikes of two source replicas
may arrive in one tick; the axon tells them apart, so each source replica has its own axons into the same
synapse lists. The host sends an image only to the replica that works on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, product
from math import gcd
from typing import TypeAlias

import numpy as np

from hw_models.core_limits import CORE_LIMITS, CoreAmounts
from hw_models.multicore.mapping.connectivity import Connectivity, connectivity
from hw_models.multicore.mapping.core_profiles import (
    compartment_profiles,
    synapse_formats,
    threshold_profiles,
    weight_bits,
)
from hw_models.multicore.mapping.tile_grid import TileGrid, block_sums, combinations
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.multicore.pipeline.repetition import frames_held
from hw_models.target_description import TargetDescription
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSynapse,
    bit_planes,
)


@dataclass(frozen=True, kw_only=True)
class CoreUse(CoreAmounts):
    """How much of a core a tile uses."""

    neurons: int


_Patterns: TypeAlias = list[tuple[int, ...]]
_BlocksOfAxis: TypeAlias = tuple[str, str, int, tuple[int, ...]]  # source, target, axis, edges


@dataclass(frozen=True, eq=False)
class NetworkOnTarget:
    """A network, a target, its provisioning there, and counts that all ways to cut it share."""

    network: IntegerNetwork
    target: TargetDescription
    provisioning: Provisioning
    _known: dict[_BlocksOfAxis, np.ndarray] = field(default_factory=dict)
    _known_patterns: dict[_BlocksOfAxis, _Patterns] = field(default_factory=dict)

    @cached_property
    def connections(self) -> dict[tuple[str, str], Connectivity]:
        return {
            (s.source, s.target): connectivity(s, self.network[s.source].shape)
            for s in self.network.synapses
        }

    def reached(self, synapse: IntegerSynapse, axis: int, edges: tuple[int, ...]) -> np.ndarray:
        """Connected targets of each source in each block along an axis, int64 ``(blocks, sources)``."""
        key = synapse.source, synapse.target, axis, edges
        if key not in self._known:
            matrix = self.connections[synapse.source, synapse.target].axes[axis]
            self._known[key] = block_sums((matrix != 0).astype(np.int64), edges)
        return self._known[key]

    def patterns(self, synapse: IntegerSynapse, axis: int, edges: tuple[int, ...]) -> _Patterns:
        """``_patterns`` of each block along rows (axis 1) or columns (2)."""
        key = synapse.source, synapse.target, axis, edges
        if key not in self._known_patterns:
            taps = self.connections[synapse.source, synapse.target].axes[axis]
            self._known_patterns[key] = [_patterns(taps[a:b]) for a, b in pairwise(edges)]
        return self._known_patterns[key]

    @cached_property
    def weight_bits(self) -> dict[tuple[str, str], int]:
        return {(s.source, s.target): weight_bits(self.network, s) for s in self.network.synapses}

    @cached_property
    def frames_held(self) -> dict[tuple[str, str], int]:
        """Frames that a slot of each alignment buffer holds at once."""
        pipeline = pipeline_of(self.network, self.provisioning, self.target.link_ticks)
        return frames_held(pipeline)

    @cached_property
    def synapse_formats(self) -> dict[str, int]:
        return {p.name: synapse_formats(self.network, p.name) for p in self.network.populations}

    def available(self, limit: str) -> int:
        return int(getattr(self.target.core, limit))

    def num_cores(self, grids: Mapping[str, TileGrid]) -> dict[str, int]:
        """Cores of each population, over all of its replicas."""
        replicas = self.provisioning.num_replicas
        return {name: len(grid) * replicas(name) for name, grid in grids.items()}

    def source_replicas(self, synapse: IntegerSynapse) -> int:
        """Replicas of the source that send to one of the target, each on its own axons."""
        if isinstance(self.network[synapse.source], IntegerInput):
            return 1
        count = self.provisioning.num_replicas(synapse.source)
        return count // gcd(count, self.provisioning.num_replicas(synapse.target))

    def target_replicas(self, synapse: IntegerSynapse) -> int:
        """Replicas of the target to which one of the source sends."""
        count = self.provisioning.num_replicas(synapse.target)
        return count // gcd(count, self.provisioning.num_replicas(synapse.source))


def core_uses(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
) -> list[CoreUse]:
    """Use of each tile."""
    counts = _counted_uses(context, population, grid, consumers)
    columns = (np.broadcast_to(count, grid.shape).reshape(-1).tolist() for count in counts.values())
    return [CoreUse(**dict(zip(counts, tile, strict=True))) for tile in zip(*columns, strict=True)]


def highest_use(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
) -> CoreUse:
    """The most that any tile uses of each limit: this has to fit."""
    counts = _counted_uses(context, population, grid, consumers)
    return CoreUse(**{name: int(np.max(count)) for name, count in counts.items()})


def _counted_uses(
    context: NetworkOnTarget,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
) -> dict[str, np.ndarray | int]:
    """Neurons and each of ``CORE_LIMITS``, by name: int64 ``grid.shape``, or one number for all tiles.

    All counts are products of one count along each axis, so they are computed per block and combined.
    """
    network, name = context.network, population.name
    words = np.zeros(grid.shape, np.int64)
    input_axons = np.zeros(grid.shape, np.int64)
    for synapse in network.incoming(name):
        planes = bit_planes(network[synapse.source])
        words += planes * _synapse_words(context, synapse, grid)
        blocks, rows, columns = (context.reached(synapse, a, grid.edges[a]) for a in range(3))
        blocks = _reached_atom_blocks(blocks, context.target.atoms)
        rows, columns = (rows > 0).sum(axis=1), (columns > 0).sum(axis=1)
        input_axons += (
            planes * context.source_replicas(synapse) * combinations(blocks, rows, columns)
        )
    output_axons = np.zeros(grid.shape, np.int64)
    for synapse in network.outgoing(name):
        output_axons += (
            context.target.slots_per_axon
            * context.target_replicas(synapse)
            * _output_axons(context, synapse, grid, consumers[synapse.target])
        )
    channels, rows, columns = (np.diff(axis) for axis in grid.edges)
    positions = combinations(np.ones_like(channels), rows, columns)
    neurons = combinations(channels, rows, columns)
    return {
        "neurons": neurons,
        "compartments": neurons * compartments_per_neuron(context, population),
        "synapse_words": words,
        "input_axons": input_axons,
        "output_axons": output_axons,
        "compartment_bases": positions,
        "threshold_profiles": threshold_profiles(population, grid),
        "compartment_profiles": compartment_profiles(population),
        "synapse_formats": context.synapse_formats[name],
    }


def worst_tile_work(context: NetworkOnTarget, name: str, grid: TileGrid) -> int:
    """Events of a population's busiest tile if every source neuron spiked once: arrivals and synapses."""
    total = np.zeros(grid.shape, np.int64)
    for synapse in context.network.incoming(name):
        reached = [context.reached(synapse, axis, grid.edges[axis]) for axis in range(3)]
        for counts in (reached, [matrix > 0 for matrix in reached]):
            total += combinations(*(matrix.sum(axis=1) for matrix in counts))
    return int(total.max())


def compartments_per_neuron(context: NetworkOnTarget, population: IntegerPopulation) -> int:
    """Compartments of each neuron: its own, unless it is of a readout, and those of its buffer slots."""
    buffers = sum(
        context.provisioning.slots_per_replica(s.source, s.target)
        * context.frames_held[s.source, s.target]
        for s in context.network.incoming(population.name)
    )
    return buffers + (0 if isinstance(population, IntegerReadout) else 1)


def excess(context: NetworkOnTarget, uses: Sequence[CoreUse]) -> dict[str, int]:
    """By how much the tiles exceed each limit that one of them exceeds."""
    worst = {n: max(getattr(use, n) for use in uses) - context.available(n) for n in CORE_LIMITS}
    return {name: amount for name, amount in worst.items() if amount > 0}


def fullest_limit(target: TargetDescription, uses: Sequence[CoreUse]) -> str:
    """The limit that a tile comes closest to, and that keeps tiles small."""
    return max(
        CORE_LIMITS,
        key=lambda limit: max(getattr(u, limit) for u in uses) / getattr(target.core, limit),
    )


def _synapse_words(context: NetworkOnTarget, synapse: IntegerSynapse, grid: TileGrid) -> np.ndarray:
    """Words of the synapse lists of each tile, ``grid.shape``: one list per pattern and atom block."""
    bits = context.weight_bits[synapse.source, synapse.target]
    fan_out = context.reached(synapse, 0, grid.edges[0])
    starts = np.arange(0, fan_out.shape[1], context.target.atoms)
    per_atom_block = np.add.reduceat(fan_out, starts, axis=1)  # synapses per target pixel
    synapses, channel_kinds = _kinds([tuple(row) for row in per_atom_block.tolist()])
    rows, row_kinds = _kinds(context.patterns(synapse, 1, grid.edges[1]))
    columns, column_kinds = _kinds(context.patterns(synapse, 2, grid.edges[2]))
    words = np.empty((len(synapses), len(rows), len(columns)), np.int64)
    for (c, r, k), (block, row, column) in zip(
        np.ndindex(words.shape), product(synapses, rows, columns), strict=True
    ):
        pixels = np.multiply.outer(np.array(row), np.array(column)).reshape(-1)
        lengths = np.multiply.outer(np.array(block), pixels)
        words[c, r, k] = context.target.synapse_memory.words(lengths, bits).sum()
    return words[np.ix_(channel_kinds, row_kinds, column_kinds)]


def _kinds(blocks: list[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """The distinct ones among blocks, and for each block its index among them."""
    numbers = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    return list(numbers), [numbers[block] for block in blocks]


def _patterns(taps: np.ndarray) -> tuple[int, ...]:
    """Number of targets of each distinct pattern of taps, over all sources that reach a block.

    Two sources have the same pattern if their taps are equal after a shift of the target.
    """
    patterns = set()
    for source in taps.T:
        reached = np.flatnonzero(source)
        if len(reached):
            patterns.add(tuple(source[reached[0] : reached[-1] + 1].tolist()))
    return tuple(sorted(sum(tap != 0 for tap in pattern) for pattern in patterns))


def _reached_atom_blocks(fan_out: np.ndarray, atoms: int) -> np.ndarray:
    """Number of blocks of source channels that reach each target block."""
    starts = np.arange(0, fan_out.shape[1], atoms)
    return (np.add.reduceat(fan_out > 0, starts, axis=1) > 0).sum(axis=1)


def _output_axons(
    context: NetworkOnTarget, synapse: IntegerSynapse, grid: TileGrid, consumer: TileGrid
) -> np.ndarray:
    """Axons of each tile to all tiles of a consumer: atom blocks times rows times columns."""
    counts = []
    for axis in range(3):
        reached = context.reached(synapse, axis, consumer.edges[axis]) > 0
        own = np.array(grid.edges[axis][:-1])
        if axis == 0:  # an axon serves all channels of one atom block
            parts = np.union1d(own, np.arange(0, reached.shape[1], context.target.atoms))
            reached = np.add.reduceat(reached, parts, axis=1) > 0
            own = np.searchsorted(parts, own)
        counts.append(np.add.reduceat(reached.sum(axis=0), own))
    return combinations(*counts)
