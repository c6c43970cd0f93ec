"""Lists of single synapses, for formats that need them; those from the host's pixels tile by tile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from hw_models.multicore.mapping.connectivity import connectivity
from hw_models.multicore.mapping.mapping import CoreAssignment
from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse, bit_planes
from toolchain.networks.integer_network.merged_weights import kernel


@dataclass(frozen=True, eq=False)
class SynapseTable:
    """Synapses between two populations: flat indices of both neurons, and the weight; each ``(E,)``."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> SynapseTable:
        return SynapseTable(self.source[chosen], self.target[chosen], self.weight[chosen])


def explicit_synapses(network: IntegerNetwork, synapse: IntegerSynapse) -> SynapseTable:
    """All synapses, with weights times ``2^exponent``; also those of weight 0, which a core looks up, too."""
    before, after = network[synapse.source].shape, network[synapse.target].shape
    links = connectivity(synapse, before)
    (out, into), (row, source_row), (column, source_column) = (
        np.nonzero(matrix) for matrix in (links.channels, links.rows, links.columns)
    )
    weight = np.einsum(
        "pkl,kq,ls->pqs",
        kernel(synapse, before)[out, into],
        links.row_taps[:, row, source_row],
        links.column_taps[:, column, source_column],
        optimize=True,
    )
    return SynapseTable(
        source=_flat(before, into, source_row, source_column),
        target=_flat(after, out, row, column),
        weight=weight.reshape(-1) << synapse.exponent,
    )


def num_explicit_synapses(network: IntegerNetwork, synapse: IntegerSynapse) -> int:
    """Number of synapses; each one from a pixel counts once per bit plane."""
    source = network[synapse.source]
    links = connectivity(synapse, source.shape)
    counts = map(np.count_nonzero, (links.channels, links.rows, links.columns))
    return bit_planes(source) * prod(int(count) for count in counts)


def _flat(
    shape: tuple[int, int, int], channels: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Flat indices of every combination, columns last."""
    _, height, width = shape
    of_row = np.add.outer(channels * height, rows)
    return np.add.outer(of_row * width, columns).reshape(-1)


@dataclass(frozen=True, eq=False)
class TileInput:
    """Input from the host to the cores of one tile, sent by bit planes.

    Attributes:
        pixels: ascending flat indices of the pixels that reach the tile.
        planes: bits per pixel.
        synapses: by target population; their sources are pixels.
    """

    pixels: np.ndarray
    planes: int
    synapses: dict[str, SynapseTable]

    @property
    def num_neurons(self) -> int:
        """One neuron for each bit of each pixel, pixel by pixel."""
        return len(self.pixels) * self.planes

    def by_bit_plane(self) -> Iterator[tuple[str, SynapseTable]]:
        """(target population, synapses from those neurons); weights are times the value of the bit."""
        bits = np.arange(self.planes)
        for target, table in self.synapses.items():
            first = np.searchsorted(self.pixels, table.source) * self.planes
            yield (
                target,
                SynapseTable(
                    source=np.add.outer(first, bits).reshape(-1),
                    target=np.repeat(table.target, self.planes),
                    weight=np.multiply.outer(table.weight, 1 << bits).reshape(-1),
                ),
            )


def tile_inputs(
    network: IntegerNetwork,
    cores: Iterable[CoreAssignment],
    tile_number: Callable[[CoreAssignment], int],
) -> dict[int, TileInput]:
    """The input of every tile that pixels reach, by tile number.

    Args:
        cores: hold each neuron of every population once.
    """
    source = network.input
    tiles = {p.name: np.empty(p.shape, np.int64) for p in network.populations}
    for core in cores:
        tiles[core.tile.population][core.tile.slices] = tile_number(core)
    by_tile: dict[int, dict[str, SynapseTable]] = defaultdict(dict)
    for synapse in network.outgoing(source.name):
        table = explicit_synapses(network, synapse)
        reached = tiles[synapse.target].reshape(-1)[table.target]
        for tile in np.unique(reached).tolist():
            by_tile[tile][synapse.target] = table[reached == tile]
    return {
        tile: TileInput(
            pixels=np.unique(np.concatenate([table.source for table in tables.values()])),
            planes=bit_planes(source),
            synapses=tables,
        )
        for tile, tables in sorted(by_tile.items())
    }
