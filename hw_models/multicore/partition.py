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
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from math import ceil, gcd

import numpy as np

from hw_models.multicore.connectivity import Connectivity, connectivity
from hw_models.multicore.core_profiles import (
    bit_planes,
    compartment_profiles,
    synapse_formats,
    threshold_profiles,
    weight_bits,
)
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

LIMITS = (
    "compartments", "synapse_words", "input_axons", "output_axons", "compartment_bases",
    "threshold_profiles", "compartment_profiles", "synapse_formats",
)  # fmt: skip


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
        threshold_profiles: different thresholds, and one for the slots of alignment buffers.
        compartment_profiles: kinds of compartment.
        synapse_formats: different widths and exponents of weights.
    """

    neurons: int
    compartments: int
    synapse_words: int
    input_axons: int
    output_axons: int
    compartment_bases: int
    threshold_profiles: int
    compartment_profiles: int
    synapse_formats: int


@dataclass(frozen=True, eq=False)
class _Context:
    network: IntegerNetwork
    target: TargetDescription
    slots: BufferSlots
    replicas: Replicas
    _known: dict[tuple[str, str, int, tuple[int, ...]], np.ndarray] = field(default_factory=dict)

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
            links = self.connections[synapse.source, synapse.target]
            matrix = (links.channels, links.rows, links.columns)[axis]
            self._known[key] = block_sums((matrix != 0).astype(np.int64), edges)
        return self._known[key]

    @cached_property
    def weight_bits(self) -> dict[tuple[str, str], int]:
        return {(s.source, s.target): weight_bits(s) for s in self.network.synapses}

    @cached_property
    def synapse_formats(self) -> dict[str, int]:
        return {p.name: synapse_formats(self.network, p.name) for p in self.network.populations}

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
        raise MappingError(_too_many_cores(context, grids, uses))
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


def _too_many_cores(
    context: _Context, grids: Mapping[str, TileGrid], uses: Mapping[str, Sequence[CoreUse]]
) -> str:
    """By how much, where most of it goes and why, and what the shallowest buffers would give."""
    target, num_cores = context.target, context.num_cores(grids)
    needed = sum(num_cores.values())
    largest = sorted(grids, key=lambda name: -num_cores[name])[:3]
    shares = ", ".join(f"{name} {num_cores[name]}" for name in largest)
    limit = _fullest_limit(target, uses[largest[0]])
    chips = f"{target.num_chips} chips" if target.num_chips > 1 else "one chip"
    message = (
        f"the network needs {needed} cores, {needed - target.num_cores} more than the "
        f"{target.num_cores} of {target.name}, {chips} (most: {shares}; "
        f"{largest[0]} fills the {limit.replace('_', ' ')} of its cores); "
    )
    single = uniform_slots(context.network, 1, context.replicas)
    if context.slots != single:
        shallow = replace(context, slots=single)
        fewest = sum(context.num_cores(_all_grids(shallow)[0]).values())
        if fewest <= target.num_cores:
            return f"{message}with one slot in every buffer (--slots 1) it needs {fewest} and fits"
        message += f"with one slot in every buffer (--slots 1) it still needs {fewest}; "
    if limit == "threshold_profiles":
        return message + _REMEDIES[limit]
    fewer = "fewer replicas, " if context.replicas else ""
    return message + f"use {fewer}fewer channels or a larger target"


def _fullest_limit(target: TargetDescription, uses: Sequence[CoreUse]) -> str:
    """The limit that a core of a population comes closest to: what keeps its tiles small."""
    return max(
        LIMITS, key=lambda limit: max(getattr(u, limit) for u in uses) / getattr(target.core, limit)
    )


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


_REMEDIES = {
    "compartments": "use fewer buffer slots",
    "synapse_words": "use a smaller kernel, fewer input channels, groups, or pool before this layer",
    "input_axons": "use groups, fewer input channels, or pool before this layer",
    "output_axons": "use fewer or smaller layers after this one",
    "compartment_bases": "use a smaller feature map",
    "threshold_profiles": "give its neurons fewer different thresholds: one a channel at most, and "
    "`compile --thresholds` to share them between channels",
    "compartment_profiles": "use a target with more of them",
    "synapse_formats": "use pixels of fewer bits, or fewer synapses into it",
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
        words += planes * _synapse_words(context, synapse, grid)
        blocks, rows, columns = (context.reached(synapse, a, grid.edges[a]) for a in range(3))
        blocks = _reached_atom_blocks(blocks, context.target.atoms)
        rows, columns = (rows > 0).sum(axis=1), (columns > 0).sum(axis=1)
        axons = np.multiply.outer(np.multiply.outer(blocks, rows), columns)
        input_axons += planes * context.source_replicas(synapse) * axons
    output_axons = np.zeros(grid.shape, np.int64)
    for synapse in network.outgoing(name):
        output_axons += (
            context.target.slots_per_axon
            * context.target_replicas(synapse)
            * _output_axons(context, synapse, grid, consumers[synapse.target])
        )
    sizes = [np.diff(axis) for axis in grid.edges]
    positions = np.multiply.outer(np.ones_like(sizes[0]), np.multiply.outer(sizes[1], sizes[2]))
    neurons = sizes[0][:, None, None] * positions
    compartments = neurons * _compartments_per_neuron(context, population)
    thresholds = threshold_profiles(population, grid)
    columns_of_use = np.stack(
        [
            a.reshape(-1)
            for a in (
                neurons, compartments, words, input_axons, output_axons, positions, thresholds
            )
        ],
        axis=1,
    )  # fmt: skip
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
            threshold_profiles=t,
            compartment_profiles=compartment_profiles(population),
            synapse_formats=context.synapse_formats[name],
        )
        for n, c, w, i, o, p, t in columns_of_use.tolist()
    ]


def _synapse_words(context: _Context, synapse: IntegerSynapse, grid: TileGrid) -> np.ndarray:
    """Memory of the lists of each tile, ``grid.shape``: one list for each pattern and atom block."""
    bits = context.weight_bits[synapse.source, synapse.target]
    atoms = context.target.atoms
    links = context.connections[synapse.source, synapse.target]
    fan_out = context.reached(synapse, 0, grid.edges[0])
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
    context: _Context, synapse: IntegerSynapse, grid: TileGrid, consumer: TileGrid
) -> np.ndarray:
    """Axons of each tile into all tiles of a consumer: atom blocks times rows times columns."""
    counts = []
    for axis in range(3):
        reached = context.reached(synapse, axis, consumer.edges[axis]) > 0
        own = np.array(grid.edges[axis][:-1])
        if axis == 0:  # an axon serves all channels of one atom block
            parts = np.union1d(own, np.arange(0, reached.shape[1], context.target.atoms))
            reached = np.add.reduceat(reached, parts, axis=1) > 0
            own = np.searchsorted(parts, own)
        counts.append(np.add.reduceat(reached.sum(axis=0), own))
    channels, rows, columns = counts
    return np.multiply.outer(np.multiply.outer(channels, rows), columns)


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
