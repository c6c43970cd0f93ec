"""Orders in which tiles are laid along a snake through the mesh of each chip, chip after chip.

Neighbours in an order share a mesh tile or a chip. Which order sends less depends on the network. Population
after population suits a network that fits few chips. On more chips, region after region of the feature maps
is better: most spikes come to a tile from its own region.

An order maps the grids of all stages, one for each replica of each population, to a list of core slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from hw_models.multicore.mapping.tile_grid import TileGrid
from hw_models.target_description import Mesh

Order = Callable[[Sequence[TileGrid]], list[int]]

_BANDS = 4  # regions along the rows; with more, each is narrower and has a longer rim


def by_population(grids: Sequence[TileGrid]) -> list[int]:
    """Stage after stage, in topological order."""
    return list(range(sum(map(len, grids))))


def by_region(grids: Sequence[TileGrid]) -> list[int]:
    """Region after region, over all neighbouring stages of one feature-map size.

    Stages are in topological order within a region. Regions go along rows, every other row backwards.
    """
    order: list[int] = []
    first = 0
    for _, run in groupby(grids, key=lambda grid: (grid.edges[1][-1], grid.edges[2][-1])):
        keys: list[tuple[int, float, int, int]] = []
        for depth, grid in enumerate(run):
            for tile in grid.tiles:
                height, width = grid.edges[1][-1], grid.edges[2][-1]
                row, column = sum(tile.rows) / (2 * height), sum(tile.columns) / (2 * width)
                band = int(row * _BANDS)
                sideways = column if band % 2 == 0 else -column
                keys.append((band, sideways, depth, first + len(keys)))
        order += [core_slot for *_, core_slot in sorted(keys)]
        first += len(keys)
    return order


ORDERS: tuple[Order, ...] = (by_population, by_region)


def position(index: int, mesh: Mesh) -> tuple[int, int]:
    """Mesh tile of the n-th core along the snake."""
    row, column = divmod(index // mesh.cores_per_tile, mesh.width)
    return (column if row % 2 == 0 else mesh.width - 1 - column), row


def core_number(index: int, mesh: Mesh) -> int:
    """Number of the n-th core along the snake on its chip, where tiles count row by row."""
    x, y = position(index, mesh)
    return (y * mesh.width + x) * mesh.cores_per_tile + index % mesh.cores_per_tile
