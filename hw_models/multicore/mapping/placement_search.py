"""A local search for fewer hops: core after core moves to another mesh tile in use.

The orders of ``placement`` lay whole populations or regions along a snake; the best place of a single core
depends on all cores to which it sends and from which it receives. A core moves towards them, into a free
place or in exchange for the core there, if that lowers the mapping's ``traffic_cost``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hw_models.multicore.mapping.mapping import CoreAssignment, CoreMapping
from hw_models.multicore.mapping.placement import core_number, position

MOST_ROUNDS = 6
"""Most passes over all cores; the last ones hardly move any."""

MESH_TILES_TRIED = 16
"""Mesh tiles tried for each core: those where its own messages would have the fewest hops."""


@dataclass(frozen=True, eq=False)
class _Messages:
    """Messages between cores, both ways, if every neuron spiked once.

    Attributes:
        starts: where each core's entries begin, shape ``(cores + 1,)``.
        others, counts: the core at the other end and the number of messages, shape ``(entries,)``.
    """

    starts: np.ndarray
    others: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_mapping(cls, mapping: CoreMapping) -> _Messages:
        routes = [(r.source, r.target, r.neurons) for r in mapping.routes()]
        source, target, neurons = (
            np.concatenate([np.empty(0, np.int64), *(route[i] for route in routes)])
            for i in range(3)
        )
        one, other = np.concatenate([source, target]), np.concatenate([target, source])
        order = np.argsort(one, kind="stable")
        starts = np.searchsorted(one[order], np.arange(len(mapping.cores) + 1))
        return cls(starts, other[order], np.concatenate([neurons, neurons])[order])

    def of(self, core: int) -> tuple[np.ndarray, np.ndarray]:
        """(cores at the other end, number of messages)."""
        entries = slice(self.starts[core], self.starts[core + 1])
        return self.others[entries], self.counts[entries]


def with_less_traffic(mapping: CoreMapping) -> CoreMapping:
    """A mapping with at most the traffic: its tiles may have changed places on the mesh tiles in use."""
    messages = _Messages.of_mapping(mapping)
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
                core, messages, at, held, distance, mapping.target.mesh.cores_per_tile
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
    messages: _Messages,
    at: np.ndarray,
    held: list[list[int]],
    distance: np.ndarray,
    capacity: int,
) -> tuple[int, int | None]:
    """(mesh tile, core to exchange with) that saves most; its own tile if nothing does."""
    here = int(at[core])
    others, counts = messages.of(core)
    cost = counts @ distance[at[others]]
    saved = cost[here] - cost
    best, there, partner = 0, here, None
    for tile in np.argsort(-saved, kind="stable")[:MESH_TILES_TRIED]:
        if saved[tile] <= 0:
            break  # a core that gains by coming here is found in its own turn
        if len(held[tile]) < capacity and saved[tile] > best:
            best, there, partner = int(saved[tile]), int(tile), None
        for other in held[tile]:
            ends, sent = messages.of(other)
            lost = sent @ (distance[here, at[ends]] - distance[tile, at[ends]])
            # messages between the two have as many hops as before
            lost += 2 * int(sent[ends == core].sum()) * distance[here, tile]
            if saved[tile] - lost > best:
                best, there, partner = int(saved[tile] - lost), int(tile), other
    return there, partner


def _distances(mapping: CoreMapping, used: list[tuple[int, tuple[int, int]]]) -> np.ndarray:
    """Hops between mesh tiles as ``traffic_cost`` counts them: between chips, those across a whole mesh."""
    chips = np.array([chip for chip, _ in used])
    places = np.array([place for _, place in used])
    hops = np.abs(places[:, None] - places).sum(axis=2)
    hops[chips[:, None] != chips] = mapping.target.mesh.width + mapping.target.mesh.height
    return hops


def _assigned(
    mapping: CoreMapping, used: list[tuple[int, tuple[int, int]]], held: list[list[int]]
) -> tuple[CoreAssignment, ...]:
    """The assignments with the places that a search found: ``held`` has the core slots of each mesh tile."""
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
