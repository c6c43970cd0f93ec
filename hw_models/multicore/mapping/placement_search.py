"""Fewer hops by exchanging cores between the mesh tiles in use, one improvement after another.

The orders of ``placement`` lay whole populations or regions along a snake; which core is best off where
depends on all it talks to. A core moves towards them, into a free place or in exchange with the core that
is there, whenever that lowers the mapping's ``traffic_cost``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hw_models.multicore.mapping.mapping import CoreAssignment, CoreMapping
from hw_models.multicore.mapping.placement import core_number, position

MOST_ROUNDS = 6
"""Times that every core is looked at; the last ones hardly move any."""

MESH_TILES_TRIED = 16
"""Of those in use, the ones where a core would have the least far to send, without regard to who is there."""


@dataclass(frozen=True, eq=False)
class _Talk:
    """Messages between cores, both ways, if every neuron spiked once.

    Attributes:
        starts: where each core's entries begin, shape ``(cores + 1,)``.
        others, messages: the core at the other end and how many, shape ``(entries,)``.
    """

    mapping: CoreMapping

    @cached_property
    def _entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        routes = [(r.source, r.target, r.neurons) for r in self.mapping.routes()]
        source, target, neurons = (
            np.concatenate([np.empty(0, np.int64), *(route[i] for route in routes)])
            for i in range(3)
        )
        one, other = np.concatenate([source, target]), np.concatenate([target, source])
        order = np.argsort(one, kind="stable")
        return one[order], other[order], np.concatenate([neurons, neurons])[order]

    @cached_property
    def starts(self) -> np.ndarray:
        return np.searchsorted(self._entries[0], np.arange(len(self.mapping.cores) + 1))

    def of(self, core: int) -> tuple[np.ndarray, np.ndarray]:
        """(cores at the other end, messages)."""
        entries = slice(self.starts[core], self.starts[core + 1])
        return self._entries[1][entries], self._entries[2][entries]


def with_less_traffic(mapping: CoreMapping) -> CoreMapping:
    """The same tiles on the same mesh tiles' cores, with at most the traffic there was."""
    talk = _Talk(mapping)
    used = sorted({(core.chip_index, core.position) for core in mapping.cores})
    number = {where: index for index, where in enumerate(used)}
    at = np.array([number[core.chip_index, core.position] for core in mapping.cores])
    held = [np.flatnonzero(at == index).tolist() for index in range(len(used))]
    distance = _distances(mapping, used)
    for _ in range(MOST_ROUNDS):
        moved = False
        for core in range(len(at)):
            here = int(at[core])
            there, other = _best_move(
                core, talk, at, held, distance, mapping.target.mesh.cores_per_tile
            )
            if there == here:
                continue
            moved = True
            held[here].remove(core)
            held[there].append(core)
            at[core] = there
            if other is not None:
                held[there].remove(other)
                held[here].append(other)
                at[other] = here
        if not moved:
            break
    return replace(mapping, cores=_assigned(mapping, used, held))


def _best_move(
    core: int,
    talk: _Talk,
    at: np.ndarray,
    held: list[list[int]],
    distance: np.ndarray,
    capacity: int,
) -> tuple[int, int | None]:
    """(mesh tile, core to exchange with) that saves most; its own tile where nothing does."""
    here = int(at[core])
    others, messages = talk.of(core)
    cost = messages @ distance[at[others]]
    saved = cost[here] - cost
    best, there, partner = 0, here, None
    for tile in np.argsort(-saved, kind="stable")[:MESH_TILES_TRIED]:
        if saved[tile] <= 0:
            break  # who would gain by coming here looks for itself
        if len(held[tile]) < capacity and saved[tile] > best:
            best, there, partner = int(saved[tile]), int(tile), None
        for other in held[tile]:
            ends, counts = talk.of(other)
            lost = counts @ (distance[here, at[ends]] - distance[tile, at[ends]])
            # what they tell each other has as far to go as before
            lost += 2 * int(counts[ends == core].sum()) * distance[here, tile]
            if saved[tile] - lost > best:
                best, there, partner = int(saved[tile] - lost), int(tile), other
    return there, partner


def _distances(mapping: CoreMapping, used: list[tuple[int, tuple[int, int]]]) -> np.ndarray:
    """Hops between mesh tiles as ``traffic_cost`` counts them: across chips, all of a mesh."""
    chips = np.array([chip for chip, _ in used])
    places = np.array([place for _, place in used])
    hops = np.abs(places[:, None] - places).sum(axis=2)
    hops[chips[:, None] != chips] = mapping.target.mesh.width + mapping.target.mesh.height
    return hops


def _assigned(
    mapping: CoreMapping, used: list[tuple[int, tuple[int, int]]], held: list[list[int]]
) -> tuple[CoreAssignment, ...]:
    """The cores of each mesh tile in use, given out to those it holds."""
    mesh = mapping.target.mesh
    first = {
        position(n, mesh): core_number(n, mesh)
        for n in range(0, mesh.num_cores, mesh.cores_per_tile)
    }
    cores = list(mapping.cores)
    for (chip, place), members in zip(used, held, strict=True):
        for index, core_slot in enumerate(sorted(members)):
            cores[core_slot] = replace(
                cores[core_slot],
                core_index=chip * mesh.num_cores + first[place] + index,
                chip_index=chip,
                position=place,
            )
    return tuple(cores)
