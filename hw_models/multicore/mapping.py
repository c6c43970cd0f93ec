"""A network on the cores of a chip: partition, placement on the mesh, resources of each core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw_models.multicore.connectivity import connectivity
from hw_models.multicore.partition import LIMITS, CoreUse, Tile, partition, reached
from hw_models.multicore.pipeline import BufferSlots
from hw_models.target_description import Mesh, TargetDescription
from toolchain.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True)
class CoreAssignment:
    """One used core: where it is, what part of a population it holds, what that uses."""

    core_index: int
    position: tuple[int, int]  # (x, y) of its mesh tile
    tile: Tile
    use: CoreUse


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """All used cores of a chip, in topological order of their populations."""

    target: TargetDescription
    network: IntegerNetwork
    cores: tuple[CoreAssignment, ...]

    def cores_of(self, population: str) -> tuple[CoreAssignment, ...]:
        return tuple(core for core in self.cores if core.tile.population == population)

    def cores_by_population(self) -> dict[str, list[int]]:
        """Core indices of each population on the chip; the input population is on the host."""
        return {
            p.name: [core.core_index for core in self.cores_of(p.name)]
            for p in self.network.populations
            if self.cores_of(p.name)
        }

    @property
    def num_tiles(self) -> int:
        """Mesh tiles with at least one used core: what the barrier spans."""
        return len({core.position for core in self.cores})

    def mean_hops(self) -> float:
        """Mesh hops of an output axon, averaged over all output axons between cores."""
        axons = hops = 0
        for source, target, mask in self.routes():
            axons += int(mask.sum())
            hops += int(mask.sum()) * sum(hop_distance(source.position, target.position))
        return hops / axons if axons else 0.0

    def routes(self) -> Iterator[tuple[CoreAssignment, CoreAssignment, np.ndarray]]:
        """Pairs of cores that talk, with the neurons of the first that reach the second."""
        for synapse in self.network.synapses:
            links = connectivity(synapse, self.network[synapse.source].shape)
            for source in self.cores_of(synapse.source):
                for target in self.cores_of(synapse.target):
                    mask = reached(links, target.tile, source.tile)
                    if mask.any():
                        yield source, target, mask

    def highest_use(self, population: str) -> dict[str, tuple[int, int]]:
        """For each limit, (most used on a core of a population, available)."""
        cores = self.cores_of(population)
        return {
            limit: (max(getattr(c.use, limit) for c in cores), getattr(self.target.core, limit))
            for limit in LIMITS
        }

    def summary(self) -> dict[str, Any]:
        """What the report shows of a mapping."""
        return {
            "num_cores": len(self.cores),
            "available_cores": self.target.mesh.num_cores,
            "num_tiles": self.num_tiles,
            "mean_hops": self.mean_hops(),
            "populations": {
                name: {
                    "cores": len(indices),
                    **{limit: list(pair) for limit, pair in self.highest_use(name).items()},
                }
                for name, indices in self.cores_by_population().items()
            },
        }

    def to_json(self) -> dict[str, Any]:
        """``mapping.json``: every used core."""
        limits = {limit: getattr(self.target.core, limit) for limit in LIMITS}
        return {
            "target": self.target.name,
            "limits": limits,
            "summary": self.summary(),
            "cores": [
                {
                    "core": core.core_index,
                    "position": list(core.position),
                    "population": core.tile.population,
                    "channels": list(core.tile.channels),
                    "rows": list(core.tile.rows),
                    "neurons": core.use.neurons,
                    **{limit: getattr(core.use, limit) for limit in LIMITS},
                }
                for core in self.cores
            ],
        }


def map_network(network: IntegerNetwork, target: TargetDescription, slots: BufferSlots) -> Mapping:
    """Partition a network and place its tiles on the mesh.

    Neighbouring tiles of the pipeline land on neighbouring cores: tiles are laid in topological order
    along a snake through the mesh.

    Raises:
        MappingError: it does not fit; the message says which limit, by how much, and what would fit.
    """
    cores = tuple(
        CoreAssignment(
            core_index=_core_index(index, target.mesh),
            position=_position(index, target.mesh),
            tile=tile,
            use=use,
        )
        for index, (tile, use) in enumerate(partition(network, target, slots))
    )
    return Mapping(target=target, network=network, cores=cores)


def hop_distance(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Hops east-west and north-south between two mesh tiles."""
    return abs(a[0] - b[0]), abs(a[1] - b[1])


def _position(index: int, mesh: Mesh) -> tuple[int, int]:
    """Mesh tile of the n-th core along the snake."""
    row, column = divmod(index // mesh.cores_per_tile, mesh.width)
    return (column if row % 2 == 0 else mesh.width - 1 - column), row


def _core_index(index: int, mesh: Mesh) -> int:
    """Number of that core on the chip: tile by tile, row by row."""
    x, y = _position(index, mesh)
    return (y * mesh.width + x) * mesh.cores_per_tile + index % mesh.cores_per_tile
