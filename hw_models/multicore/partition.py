"""Cut each population into tiles that one core can hold.

Populations are taken from the readout back to the input, so that the cores a neuron must send to are
known when its own output axons are counted. A core serves one population, and one replica of it; all
replicas are cut alike.

Axons and synapses are counted as Loihi stores them for feature maps. A *population axon* belongs to one
source pixel and carries the channel as its atom, so it serves all channels up to the target's atom
count. Source pixels that see the same kernel taps share one synapse list, at different compartment
bases. (After nengo-loihi's ``Synapse``: ``axon_to_weight_map`` and ``axon_compartment_bases``.)

An axon's route is fixed, so a replica sends all of its spikes to every replica of the target that works
on any of its samples, and each drops the frames of the others' samples. Spikes of two source replicas
may arrive in one tick; the axon tells which is which, so each source replica has axons of its own, into
the same synapse lists. The host sends an image only to the replica that works on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import ceil, gcd

import numpy as np

from hw_models.multicore.connectivity import Connectivity, connectivity
from hw_models.multicore.pipeline import UNREPLICATED, BufferSlots, Replicas, uniform_slots
from hw_models.multicore.tile_grid import TileGrid, block_sums, cut
from hw_models.target_description import TargetDescription
from toolchain.errors import MappingError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSynapse,
    input_population,
)
from toolchain.linear_maps import Convolution, Dense, Scale

LIMITS = ("compartments", "synapse_words", "input_axons", "output_axons", "compartment_bases")


@dataclass(frozen=True, kw_only=True)
class CoreUse:
    """What a tile uses of a core.

    Attributes:
        compartments: one a neuron (none for the readout, which only accumulates), and one a neuron
            for each slot of each alignment buffer in front of it.
        synapse_words: memory of the synapse lists, shared where source pixels see the same taps.
        input_axons: one for each source pixel, block of atoms and source replica; a pixel of the image
            counts once a bit plane.
        output_axons: entries for each own pixel, block of atoms and core it sends to.
        compartment_bases: pixels of the tile, which shared lists are shifted by.
    """

    neurons: int
    compartments: int
    synapse_words: int
    input_axons: int
    output_axons: int
    compartment_bases: int


@dataclass(frozen=True, eq=False)
class _Context:
    network: IntegerNetwork
    target: TargetDescription
    slots: BufferSlots
    replicas: Replicas

    @cached_property
    def connections(self) -> dict[tuple[str, str], Connectivity]:
        return {
            (s.source, s.target): connectivity(s, self.network[s.source].shape)
            for s in self.network.synapses
        }

    def available(self, limit: str) -> int:
        return int(getattr(self.target.core, limit))

    def num_replicas(self, population: str) -> int:
        return self.replicas.get(population, 1)

    def num_cores(self, grids: Mapping[str, TileGrid]) -> dict[str, int]:
        return {name: len(grid) * self.num_replicas(name) for name, grid in grids.items()}

    def source_replicas(self, synapse: IntegerSynapse) -> int:
        """Replicas of the source that one of the target hears, on axons of their own."""
        if isinstance(self.network[synapse.source], IntegerInput):
            return 1
        count = self.num_replicas(synapse.source)
        return count // gcd(count, self.num_replicas(synapse.target))

    def target_replicas(self, synapse: IntegerSynapse) -> int:
        """Replicas of the target that one of the source sends to."""
        count = self.num_replicas(synapse.target)
        return count // gcd(count, self.num_replicas(synapse.source))


def partition(
    network: IntegerNetwork,
    target: TargetDescription,
    slots: BufferSlots,
    replicas: Replicas = UNREPLICATED,
) -> list[tuple[TileGrid, list[CoreUse]]]:
    """A grid of tiles for each population but the input, in topological order: that of each replica.

    Each has few tiles: every way to cut rows and columns is tried, with channel blocks by bisection.

    Raises:
        MappingError: a single neuron exceeds a core, or all tiles together exceed all chips; the message
            names the limit, by how much, and what would fit.
    """
    _check_bit_planes(network, target)
    context = _Context(network, target, slots, replicas)
    grids, uses = _all_grids(context)
    if sum(context.num_cores(grids).values()) > target.num_cores:
        raise MappingError(_too_many_cores(context, grids))
    return [(grids[p.name], uses[p.name]) for p in network.populations if p.name in grids]


def _all_grids(context: _Context) -> tuple[dict[str, TileGrid], dict[str, list[CoreUse]]]:
    """The tiles of each population and what each uses, from the readout back."""
    grids: dict[str, TileGrid] = {}
    uses: dict[str, list[CoreUse]] = {}
    for population in reversed(context.network.populations):
        if not isinstance(population, IntegerInput):
            grid = _fewest_tiles(context, population, grids)
            grids[population.name] = grid
            uses[population.name] = _uses(context, population, grid, grids)
    return grids, uses


def _too_many_cores(context: _Context, grids: Mapping[str, TileGrid]) -> str:
    """By how much, where most of it goes, and what the shallowest buffers would give."""
    target, num_cores = context.target, context.num_cores(grids)
    needed = sum(num_cores.values())
    largest = sorted(grids, key=lambda name: -num_cores[name])[:3]
    shares = ", ".join(f"{name} {num_cores[name]}" for name in largest)
    chips = f"{target.num_chips} chips" if target.num_chips > 1 else "one chip"
    message = (
        f"the network needs {needed} cores, {needed - target.num_cores} more than the "
        f"{target.num_cores} of {target.name}, {chips} (most: {shares}); "
    )
    single = uniform_slots(context.network, 1, context.replicas)
    if context.slots != single:
        shallow = replace(context, slots=single)
        fewest = sum(context.num_cores(_all_grids(shallow)[0]).values())
        if fewest <= target.num_cores:
            return f"{message}with one slot in every buffer (--slots 1) it needs {fewest} and fits"
        message += f"with one slot in every buffer (--slots 1) it still needs {fewest}; "
    fewer = "fewer replicas, " if context.replicas else ""
    return message + f"use {fewer}fewer channels or a larger target"


def bit_planes(population: IntegerPopulation) -> int:
    """Axons a source needs for its values: pixels go as bit planes, spikes as they are."""
    return population.max_value.bit_length() if isinstance(population, IntegerInput) else 1


def _fewest_tiles(
    context: _Context, population: IntegerPopulation, consumers: Mapping[str, TileGrid]
) -> TileGrid:
    """Try every way to cut rows and columns, each with the fewest channel blocks that fit."""
    channels, rows, columns = population.shape
    most = context.available("compartments") // max(
        _compartments_per_neuron(context, population), 1
    )
    bases = context.available("compartment_bases")
    best: TileGrid | None = None
    for row_blocks, column_blocks in sorted(
        ((r, c) for r in _block_counts(rows) for c in _block_counts(columns)),
        key=lambda counts: (counts[0] * counts[1], counts[1]),
    ):
        positions = ceil(rows / row_blocks) * ceil(columns / column_blocks)
        if positions > min(bases, most):
            continue
        fewest = ceil(channels / (most // positions))
        if best is not None and row_blocks * column_blocks * fewest >= len(best):
            continue

        def fits(blocks: int, r: int = row_blocks, c: int = column_blocks) -> bool:
            grid = cut(population.name, population.shape, (blocks, r, c))
            return not _excess(context, _uses(context, population, grid, consumers, distinct=True))

        found = _fewest_that_fits(fewest, channels, fits)
        if found is None:
            continue
        grid = cut(population.name, population.shape, (found, row_blocks, column_blocks))
        if best is None or len(grid) < len(best):
            best = grid
    if best is not None:
        return best
    single = cut(population.name, population.shape, population.shape)
    excess = _excess(context, _uses(context, population, single, consumers))
    limit, amount = max(excess.items(), key=lambda item: item[1] / context.available(item[0]))
    raise MappingError(
        f"{population.name}: one neuron needs {context.available(limit) + amount:,} "
        f"{limit.replace('_', ' ')}, {amount:,} more than the {context.available(limit):,} of a core of "
        f"{context.target.name}; {_REMEDIES[limit]}"
    )


def _fewest_that_fits(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """Bisect, as more blocks rarely use more of a core: at most where a block straddles two atom blocks."""
    if low > high or not fits(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _block_counts(size: int) -> list[int]:
    """Numbers of blocks that give different block sizes."""
    return sorted({ceil(size / block) for block in range(1, size + 1)})


_WEIGHT_FORMATS = (2, 3, 4, 5, 6, 8)
"""Bits of a stored weight, sign included; there is no 7 (nengo-loihi, SynapseConfig.WEIGHT_BITS_MAP)."""

_REMEDIES = {
    "compartments": "use fewer buffer slots",
    "synapse_words": "use a smaller kernel, fewer input channels, groups, or pool before this layer",
    "input_axons": "use groups, fewer input channels, or pool before this layer",
    "output_axons": "use fewer or smaller layers after this one",
    "compartment_bases": "use a smaller feature map",
}


def _excess(context: _Context, uses: Sequence[CoreUse]) -> dict[str, int]:
    """By how much the tiles exceed each limit that one of them exceeds."""
    worst = {n: max(getattr(use, n) for use in uses) - context.available(n) for n in LIMITS}
    return {name: amount for name, amount in worst.items() if amount > 0}


def _compartments_per_neuron(context: _Context, population: IntegerPopulation) -> int:
    incoming = context.network.incoming(population.name)
    slots = sum(context.slots[s.source, s.target] for s in incoming)
    buffers = slots // context.num_replicas(population.name)
    return buffers + (0 if isinstance(population, IntegerReadout) else 1)


def _uses(
    context: _Context,
    population: IntegerPopulation,
    grid: TileGrid,
    consumers: Mapping[str, TileGrid],
    *,
    distinct: bool = False,
) -> list[CoreUse]:
    """Use of each tile; with ``distinct``, of one tile for each combination that differs.

    All counts are products of one count along each axis, so they are computed per block and combined.
    """
    network, name = context.network, population.name
    words = np.zeros(grid.shape, np.int64)
    input_axons = np.zeros(grid.shape, np.int64)
    for synapse in network.incoming(name):
        planes = bit_planes(network[synapse.source])
        links = context.connections[synapse.source, name]
        words += planes * _synapse_words(context, synapse, links, grid)
        blocks, rows, columns = (
            _reached_atom_blocks(block_sums(links.channels, grid.edges[0]), context.target.atoms),
            (block_sums(links.rows != 0, grid.edges[1]) > 0).sum(axis=1),
            (block_sums(links.columns != 0, grid.edges[2]) > 0).sum(axis=1),
        )
        axons = np.multiply.outer(np.multiply.outer(blocks, rows), columns)
        input_axons += planes * context.source_replicas(synapse) * axons
    output_axons = np.zeros(grid.shape, np.int64)
    for synapse in network.outgoing(name):
        links = context.connections[name, synapse.target]
        output_axons += (
            context.target.slots_per_axon
            * context.target_replicas(synapse)
            * _output_axons(links, grid, consumers[synapse.target], context.target.atoms)
        )
    sizes = [np.diff(axis) for axis in grid.edges]
    positions = np.multiply.outer(np.ones_like(sizes[0]), np.multiply.outer(sizes[1], sizes[2]))
    neurons = sizes[0][:, None, None] * positions
    compartments = neurons * _compartments_per_neuron(context, population)
    columns_of_use = np.stack(
        [
            a.reshape(-1)
            for a in (neurons, compartments, words, input_axons, output_axons, positions)
        ],
        axis=1,
    )
    if distinct:
        columns_of_use = np.unique(columns_of_use, axis=0)
    return [
        CoreUse(
            neurons=n,
            compartments=c,
            synapse_words=w,
            input_axons=i,
            output_axons=o,
            compartment_bases=p,
        )
        for n, c, w, i, o, p in columns_of_use.tolist()
    ]


def _synapse_words(
    context: _Context, synapse: IntegerSynapse, links: Connectivity, grid: TileGrid
) -> np.ndarray:
    """Memory of the lists of each tile, ``grid.shape``: one list for each pattern and atom block."""
    bits = _weight_bits(synapse)
    atoms = context.target.atoms
    fan_out = block_sums(links.channels.astype(np.int64), grid.edges[0])
    starts = np.arange(0, fan_out.shape[1], atoms)
    per_atom_block = np.add.reduceat(fan_out, starts, axis=1)  # synapses a target pixel
    row_patterns = [_patterns(links.rows[a:b]) for a, b in pairwise(grid.edges[1])]
    column_patterns = [_patterns(links.columns[a:b]) for a, b in pairwise(grid.edges[2])]
    words = np.empty(grid.shape, np.int64)
    known: dict[tuple[tuple[int, ...], ...], int] = {}
    for c, synapses in enumerate(map(tuple, per_atom_block.tolist())):
        for r, row in enumerate(row_patterns):
            for k, column in enumerate(column_patterns):
                key = (synapses, row, column)
                if key not in known:
                    pixels = np.multiply.outer(np.array(row), np.array(column)).reshape(-1)
                    lengths = np.multiply.outer(np.array(synapses), pixels)
                    known[key] = int(context.target.synapse_memory.words(lengths, bits).sum())
                words[c, r, k] = known[key]
    return words


def _patterns(taps: np.ndarray) -> tuple[int, ...]:
    """Targets of each distinct pattern of taps along one axis, over all sources that reach a block.

    Two sources have the same pattern if their taps are equal after a shift of the target.
    """
    patterns = set()
    for source in taps.T:
        reached = np.flatnonzero(source)
        if len(reached):
            patterns.add(tuple(source[reached[0] : reached[-1] + 1].tolist()))
    return tuple(sorted(sum(tap != 0 for tap in pattern) for pattern in patterns))


def _reached_atom_blocks(fan_out: np.ndarray, atoms: int) -> np.ndarray:
    """Blocks of source channels that each target block hears from."""
    starts = np.arange(0, fan_out.shape[1], atoms)
    return (np.add.reduceat(fan_out > 0, starts, axis=1) > 0).sum(axis=1)


def _output_axons(
    links: Connectivity, grid: TileGrid, consumer: TileGrid, atoms: int
) -> np.ndarray:
    """Axons of each tile into all tiles of a consumer: atom blocks times rows times columns."""
    counts = []
    for axis, matrix in enumerate((links.channels, links.rows, links.columns)):
        reached = block_sums(matrix != 0, consumer.edges[axis]) > 0  # (consumer blocks, sources)
        own = np.array(grid.edges[axis][:-1])
        if axis == 0:  # an axon serves all channels of one atom block
            parts = np.union1d(own, np.arange(0, matrix.shape[1], atoms))
            reached = np.add.reduceat(reached, parts, axis=1) > 0
            own = np.searchsorted(parts, own)
        counts.append(np.add.reduceat(reached.sum(axis=0), own))
    channels, rows, columns = counts
    return np.multiply.outer(np.multiply.outer(channels, rows), columns)


def _weight_bits(synapse: IntegerSynapse) -> int:
    """Bits of the stored format that holds the largest weight and the sign."""
    (weight,) = (m.weight for m in synapse.maps if isinstance(m, Convolution | Dense | Scale))
    largest = max(abs(int(weight.max())), abs(int(weight.min())))
    return next(bits for bits in _WEIGHT_FORMATS if bits > largest.bit_length())


def _check_bit_planes(network: IntegerNetwork, target: TargetDescription) -> None:
    """The host injects pixels as bit planes, whose weights are shifted by up to the pixel's width."""
    source = input_population(network)
    for synapse in network.outgoing(source.name):
        highest = synapse.exponent + bit_planes(source) - 1
        if highest > target.widths.max_exponent:
            raise MappingError(
                f"{synapse}: the highest of {bit_planes(source)} bit planes needs weight exponent "
                f"{highest}, but {target.name} has {target.widths.max_exponent}; compile the model again"
            )
