"""Queues in the mesh of a chip: the number of messages in front of a spike.

A core receives one message after another, so messages wait on the links that they cross, and those behind
them wait too, even if their own target is idle. We assume that a message of h hops waits equally long on each
of its h + 2 links: out of its core, one for each hop, into its target. So it counts 1 / (h + 2) on each, and
the load of a link in a tick is the sum over the messages that cross it in that tick. The load of a route is
the mean over its links up to the target's tile.

A queue that is never empty ends when its last message is received, in any order of the messages. So we
estimate the time of a route's messages as its load times the mean time in which a core receives one: a
mean-field estimate, not a bound.

Source: the congestion delay of SANA-FE's detailed timing model (src/schedule.cpp of release 2.2.1), with all
messages of a tick in flight, where SANA-FE counts those in flight when a message is sent. Messages go east or
west first, then north or south. A message that leaves its chip loads only the link out of its core: the rest
of its way has no published figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_models.multicore.mapping.mapping import CoreMapping

_DIRECTIONS = 4
_ENTRIES_AT_ONCE = 2**16


@dataclass(frozen=True, eq=False)
class Paths:
    """The links that routes cross, except those into their target cores.

    Links are numbered: first the one out of each core, by core slot, then those into each mesh tile, by
    direction.

    Attributes:
        route, link: each pair of a route and a link on it, grouped by route, shape ``(E,)``.
        first: start of each route in them, shape ``(R,)``.
        hops: number of hops of each route, shape ``(R,)``.
    """

    route: np.ndarray
    link: np.ndarray
    first: np.ndarray
    hops: np.ndarray


def num_links(mapping: CoreMapping) -> int:
    chips, width, height = _extent(mapping)
    return len(mapping.cores) + chips * width * height * _DIRECTIONS


def paths(mapping: CoreMapping, source: np.ndarray, target: np.ndarray) -> Paths:
    """The paths from source to target core slots, each of shape ``(R,)``."""
    _, width, height = _extent(mapping)
    away = mapping.chips[source] != mapping.chips[target]
    start = mapping.positions[source]
    ways = np.where(away[:, None], 0, mapping.positions[target] - start)
    hops = np.abs(ways).sum(axis=1)
    route = np.repeat(np.arange(len(source)), hops + 1)
    first = np.cumsum(hops + 1) - (hops + 1)
    step = np.arange(len(route)) - first[route]
    along_x = np.minimum(step, np.abs(ways[route, 0]))
    along_y = step - along_x
    x, y = (start[route] + np.sign(ways[route]) * np.stack([along_x, along_y], axis=1)).T
    direction = np.where(along_y > 0, 2 + (ways[route, 1] > 0), ways[route, 0] > 0)
    tile = (mapping.chips[source[route]] * width + x) * height + y
    into_tile = len(mapping.cores) + tile * _DIRECTIONS + direction
    return Paths(route, np.where(step == 0, source[route], into_tile), first, hops)


def _tiles(mapping: CoreMapping) -> np.ndarray:
    """A number for the tile of each core."""
    _, width, height = _extent(mapping)
    x, y = mapping.positions.T
    return np.asarray((mapping.chips * width + x) * height + y)


def _extent(mapping: CoreMapping) -> tuple[int, int, int]:
    """Number of chips, and of columns and rows of tiles on each, up to the last one with a used core."""
    width, height = mapping.positions.max(axis=0) + 1
    return int(mapping.chips.max()) + 1, int(width), int(height)


def longest_queues(mapping: CoreMapping, link_loads: np.ndarray) -> np.ndarray:
    """Load of the most loaded route to each core in each tick, shape ``(cores, ticks)``.

    Args:
        link_loads: messages on each link in each tick, shape ``(num_links, ticks)``.
    """
    pairs = [(route.source, route.target) for route in mapping.routes() if len(route.source)]
    queues = np.zeros((len(mapping.cores), link_loads.shape[1]))
    if not pairs:
        return queues
    sources, targets = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    target, source = np.unique(np.stack([targets, sources]), axis=1)
    receivers, first = np.unique(target, return_index=True)
    # routes between the same two tiles differ only in the link out of the source
    tiles = _tiles(mapping)
    ends = tiles[source] * (tiles.max() + 1) + tiles[target]
    _, chosen, pair = np.unique(ends, return_index=True, return_inverse=True)
    lines = paths(mapping, source[chosen], target[chosen])
    size = (lines.hops + 1)[pair, None]
    num_ticks = max(_ENTRIES_AT_ONCE // len(source), 1)
    for start in range(0, link_loads.shape[1], num_ticks):
        ticks = slice(start, start + num_ticks)
        loads = link_loads[:, ticks]
        crossed = loads[lines.link]
        crossed[lines.first] = 0
        own = loads[source]
        of_routes = (own + np.add.reduceat(crossed, lines.first)[pair]) / size
        of_routes[own == 0] = 0  # the source sends nothing in the tick
        queues[receivers, ticks] = np.maximum.reduceat(of_routes, first)
    return queues
