"""A population cut into a grid of tiles: channel blocks times row blocks times column blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, product
from math import prod

import numpy as np

from toolchain.networks.linear_maps import Shape


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A block of one population: ``start <= i < stop`` of channels, rows and columns."""

    population: str
    channels: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The tile in the population's feature map."""
        return slice(*self.channels), slice(*self.rows), slice(*self.columns)

    @property
    def positions(self) -> int:
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])

    @property
    def neurons(self) -> int:
        return (self.channels[1] - self.channels[0]) * self.positions


@dataclass(frozen=True)
class TileGrid:
    """A population cut along each axis; tiles count columns fastest, channels slowest.

    Attributes:
        edges: along channels, rows and columns, the start of each block and the end of the last.
    """

    population: str
    edges: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of blocks along each axis."""
        channels, rows, columns = (len(axis) - 1 for axis in self.edges)
        return channels, rows, columns

    def __len__(self) -> int:
        return prod(self.shape)

    def tile_numbers(
        self, channels: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> np.ndarray:
        """Number of the tile of every combination of blocks, columns fastest."""
        numbers = np.arange(len(self)).reshape(self.shape)
        return numbers[np.ix_(channels, rows, columns)].reshape(-1)

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        return tuple(
            Tile(population=self.population, channels=channels, rows=rows, columns=columns)
            for channels, rows, columns in product(*(tuple(pairwise(axis)) for axis in self.edges))
        )


@lru_cache(maxsize=1 << 14)
def cut(population: str, shape: Shape, blocks: tuple[int, int, int]) -> TileGrid:
    """Cut a population into blocks of as equal size as possible."""
    channels, rows, columns = (
        tuple(np.linspace(0, n, b + 1).astype(int).tolist())
        for n, b in zip(shape, blocks, strict=True)
    )
    return TileGrid(population, (channels, rows, columns))


def block_sums(matrix: np.ndarray, edges: tuple[int, ...]) -> np.ndarray:
    """Sums of the rows of a (target, source) matrix over each target block: ``(blocks, sources)``.

    A bool matrix is counted.
    """
    return np.array([matrix[start:stop].sum(axis=0) for start, stop in pairwise(edges)])


def combinations(channels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Product of one number along each axis, for every combination: ``(channels, rows, columns)``."""
    return np.asarray(channels[:, None, None] * rows[:, None] * columns)


def memberships(edges: tuple[int, ...]) -> np.ndarray:
    """Which indices of an axis each block holds, bool ``(blocks, size)``."""
    index, bounds = np.arange(edges[-1]), np.array(edges)[:, None]
    return (index >= bounds[:-1]) & (index < bounds[1:])


@dataclass(frozen=True, eq=False)
class BlockPairs:
    """Pairs of a source block and a target block that are connected along one axis.

    Attributes:
        source, target: block indices of each pair, shape ``(P,)``.
        reaching: which sources of the source block reach the target block, bool ``(P, sources)``.
    """

    source: np.ndarray
    target: np.ndarray
    reaching: np.ndarray


def block_pairs(
    links: np.ndarray, source_edges: tuple[int, ...], target_edges: tuple[int, ...]
) -> BlockPairs:
    """All connected pairs of blocks of a (target, source) matrix."""
    reached = block_sums(links != 0, target_edges) > 0
    both = memberships(source_edges)[:, None] & reached[None]
    source, target = np.nonzero(both.any(axis=2))
    return BlockPairs(source, target, both[source, target])
