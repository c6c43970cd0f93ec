"""Split each population into tiles that one core can hold: channel blocks times row blocks.

Populations are taken from the readout back to the input, so that the cores a neuron must send to are
known when its own output axons are counted. A core serves one population.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod

import numpy as np

from hw_models.multicore.connectivity import Connectivity, connectivity
from hw_models.multicore.pipeline import BufferSlots
from hw_models.target_description import TargetDescription
from toolchain.errors import MappingError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    input_population,
)
from toolchain.linear_maps import Convolution, Dense, Scale

LIMITS = ("compartments", "synapse_words", "input_axons", "output_axons")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A block of one population: channels and rows ``start <= i < stop``, all columns."""

    population: str
    channels: tuple[int, int]
    rows: tuple[int, int]

    @property
    def channel_slice(self) -> slice:
        return slice(*self.channels)

    @property
    def row_slice(self) -> slice:
        return slice(*self.rows)


@dataclass(frozen=True, kw_only=True)
class CoreUse:
    """What a tile uses of a core.

    Attributes:
        compartments: one a neuron (none for the readout, which only accumulates), and one a neuron
            for each slot of each alignment buffer in front of it.
        input_axons: distinct source neurons that reach the tile; a pixel counts once a bit plane.
        output_axons: for each neuron, the cores it sends to.
    """

    neurons: int
    compartments: int
    synapse_words: int
    input_axons: int
    output_axons: int


@dataclass(frozen=True, eq=False)
class _Context:
    network: IntegerNetwork
    target: TargetDescription
    slots: BufferSlots
    connections: Mapping[tuple[str, str], Connectivity]


def partition(
    network: IntegerNetwork, target: TargetDescription, slots: BufferSlots
) -> list[tuple[Tile, CoreUse]]:
    """Tiles of all populations in topological order, the fewest that fit for each population.

    Raises:
        MappingError: a single row of a single channel exceeds a core, or all tiles together exceed the
            chip; the message names the limit, by how much, and what would fit.
    """
    connections = {
        (s.source, s.target): connectivity(s, network[s.source].shape) for s in network.synapses
    }
    context = _Context(network, target, slots, connections)
    tiles: dict[str, list[tuple[Tile, CoreUse]]] = {}
    for population in reversed(network.populations):
        if not isinstance(population, IntegerInput):
            tiles[population.name] = _fewest_tiles(context, population, tiles)
    _check_bit_planes(network, target)
    result = [tile for p in network.populations for tile in tiles.get(p.name, ())]
    if len(result) > target.mesh.num_cores:
        largest = sorted(tiles, key=lambda name: -len(tiles[name]))[:3]
        shares = ", ".join(f"{name} {len(tiles[name])}" for name in largest)
        raise MappingError(
            f"the network needs {len(result)} cores, {len(result) - target.mesh.num_cores} more than the "
            f"{target.mesh.num_cores} of {target.name} (most: {shares}); use fewer channels, fewer buffer "
            f"slots or a larger target"
        )
    return result


def bit_planes(population: IntegerPopulation) -> int:
    """Axons a source neuron needs for its values: pixels go as bit planes, spikes as they are."""
    return population.max_value.bit_length() if isinstance(population, IntegerInput) else 1


def _fewest_tiles(
    context: _Context,
    population: IntegerPopulation,
    consumers: Mapping[str, list[tuple[Tile, CoreUse]]],
) -> list[tuple[Tile, CoreUse]]:
    channels, rows, _ = population.shape
    most = context.target.core.compartments
    neuron_compartments = _compartments_per_neuron(context, population)
    fewest = max(ceil(prod(population.shape) * neuron_compartments / most), 1)
    for num_tiles in range(fewest, channels * rows + 1):
        for num_channel_blocks in range(1, min(channels, num_tiles) + 1):
            num_row_blocks, rest = divmod(num_tiles, num_channel_blocks)
            if rest or num_row_blocks > rows:
                continue
            tiles = _blocks(population, num_channel_blocks, num_row_blocks)
            uses = [_use(context, tile, consumers) for tile in tiles]
            if not any(_excess(context, use) for use in uses):
                return list(zip(tiles, uses, strict=True))
    smallest = _blocks(population, channels, rows)
    uses = [_use(context, tile, consumers) for tile in smallest]
    worst = max(uses, key=lambda use: max(_excess(context, use).values(), default=0))
    limit, excess = max(_excess(context, worst).items(), key=lambda item: item[1])
    available = getattr(context.target.core, limit)
    raise MappingError(
        f"{population.name}: one row of one channel needs {available + excess:,} {limit.replace('_', ' ')}, "
        f"{excess:,} more than the {available:,} of a core of {context.target.name}; {_REMEDIES[limit]}"
    )


_REMEDIES = {
    "compartments": "use fewer buffer slots, or a smaller feature map",
    "synapse_words": "use a smaller kernel, fewer input channels, groups, or pool before this layer",
    "input_axons": "use groups, fewer input channels, or pool before this layer",
    "output_axons": "use fewer or smaller layers after this one",
}


def _blocks(population: IntegerPopulation, channel_blocks: int, row_blocks: int) -> list[Tile]:
    """Blocks of as equal size as possible."""
    channel_edges = np.linspace(0, population.shape[0], channel_blocks + 1).astype(int).tolist()
    row_edges = np.linspace(0, population.shape[1], row_blocks + 1).astype(int).tolist()
    return [
        Tile(population=population.name, channels=channels, rows=rows)
        for channels in pairwise(channel_edges)
        for rows in pairwise(row_edges)
    ]


def _excess(context: _Context, use: CoreUse) -> dict[str, int]:
    """By how much a tile exceeds each limit it exceeds."""
    excess = {n: getattr(use, n) - getattr(context.target.core, n) for n in LIMITS}
    return {name: amount for name, amount in excess.items() if amount > 0}


def _compartments_per_neuron(context: _Context, population: IntegerPopulation) -> int:
    buffers = sum(
        context.slots[s.source, s.target] for s in context.network.incoming(population.name)
    )
    return buffers + (0 if isinstance(population, IntegerReadout) else 1)


def _use(
    context: _Context, tile: Tile, consumers: Mapping[str, list[tuple[Tile, CoreUse]]]
) -> CoreUse:
    network, population = context.network, context.network[tile.population]
    neurons = (
        (tile.channels[1] - tile.channels[0]) * (tile.rows[1] - tile.rows[0]) * population.shape[2]
    )
    words = axons = 0
    for synapse in network.incoming(tile.population):
        per_neuron = synapses_into(context.connections[synapse.source, synapse.target], tile)
        planes = bit_planes(network[synapse.source])
        axons += planes * int((per_neuron > 0).sum())
        (weight_bits,) = (
            _weight_bits(m.weight)
            for m in synapse.maps
            if isinstance(m, Convolution | Dense | Scale)
        )
        words += planes * int(context.target.synapse_memory.words(per_neuron, weight_bits).sum())
    output_axons = sum(
        int(reached(context.connections[tile.population, name], consumer, tile).sum())
        for name in (s.target for s in network.outgoing(tile.population))
        for consumer, _ in consumers[name]
    )
    return CoreUse(
        neurons=neurons,
        compartments=neurons * _compartments_per_neuron(context, population),
        synapse_words=words,
        input_axons=axons,
        output_axons=output_axons,
    )


def _weight_bits(weight: np.ndarray) -> int:
    """Bits that hold the largest weight and the sign."""
    return max(int(np.abs(weight.astype(np.int64)).max()).bit_length() + 1, 2)


def synapses_into(connections: Connectivity, tile: Tile) -> np.ndarray:
    """Synapses of each source neuron into a tile, shape of the source's feature map."""
    channels, rows, columns = connections.fan_out(tile.channel_slice, tile.row_slice)
    return channels[:, None, None] * rows[:, None] * columns


def reached(connections: Connectivity, consumer: Tile, tile: Tile) -> np.ndarray:
    """Which neurons of a source tile send to a consumer tile, bool ``(channels, rows, columns)``."""
    return synapses_into(connections, consumer)[tile.channel_slice, tile.row_slice] > 0


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
