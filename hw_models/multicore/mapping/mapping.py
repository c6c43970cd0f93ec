"""A network on the cores of one or more chips: partition, placement on the mesh, resources of each core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.connectivity import connectivity
from hw_models.multicore.mapping.core_resources import CoreUse
from hw_models.multicore.mapping.partition import partition
from hw_models.multicore.mapping.placement import ORDERS, core_number, position
from hw_models.multicore.mapping.tile_grid import BlockPairs, Tile, TileGrid, block_pairs
from hw_models.multicore.pipeline.pipeline import Pipeline, pipeline_of, replica_pairs
from hw_models.multicore.pipeline.provisioning import Provisioning, check_provisioning
from hw_models.target_description import Mesh, TargetDescription
from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse


@dataclass(frozen=True, kw_only=True)
class CoreAssignment:
    """One used core: where it is, what part of a population it holds, what that uses."""

    core_index: int  # counts on over all chips
    chip_index: int
    position: tuple[int, int]  # (x, y) of its mesh tile on its chip
    tile: Tile
    use: CoreUse
    replica: int = 0  # of the population


@dataclass(frozen=True, eq=False)
class Route:
    """Traffic of one synapse between the cores of two replicas that talk.

    Attributes:
        samples: those that the source's replica works on and sends.
        source, target: core slots, indices into ``CoreMapping.cores``, shape ``(R,)``.
        axes: connected blocks along channels, rows and columns; a route is one pair of each, channels
            first, columns last.
    """

    synapse: IntegerSynapse
    samples: slice
    source: np.ndarray
    target: np.ndarray
    axes: tuple[BlockPairs, BlockPairs, BlockPairs]

    @property
    def neurons(self) -> np.ndarray:
        """Source neurons that reach the target core, shape ``(R,)``."""
        channels, rows, columns = (pairs.reaching.sum(axis=1) for pairs in self.axes)
        return np.multiply.outer(np.multiply.outer(channels, rows), columns).reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreMapping:
    """All used cores: populations in topological order, replica by replica, tile by tile.

    Attributes:
        grids: of each population; its replicas are cut alike.
    """

    target: TargetDescription
    network: IntegerNetwork
    provisioning: Provisioning
    grids: ReadOnlyDict[str, TileGrid]
    cores: tuple[CoreAssignment, ...]

    def num_replicas(self, population: str) -> int:
        return self.provisioning.num_replicas(population)

    @cached_property
    def pipeline(self) -> Pipeline:
        return pipeline_of(self.network, self.provisioning, self.target.link_ticks)

    @cached_property
    def first_core(self) -> dict[str, int]:
        """Core slot, the index in ``cores``, of the first tile of each population's first replica."""
        sizes = [len(grid) * self.num_replicas(name) for name, grid in self.grids.items()]
        return dict(zip(self.grids, [0, *np.cumsum(sizes).tolist()[:-1]], strict=True))

    def core_slots_of(self, population: str, replica: int) -> range:
        """Core slots of a replica, in the order of the grid's tiles."""
        size = len(self.grids[population])
        start = self.first_core[population] + replica * size
        return range(start, start + size)

    def cores_of(self, population: str) -> tuple[CoreAssignment, ...]:
        """The cores of all replicas."""
        if population not in self.grids:
            return ()
        start = self.first_core[population]
        count = len(self.grids[population]) * self.num_replicas(population)
        return self.cores[start : start + count]

    def senders(self, synapse: IntegerSynapse) -> list[tuple[int, int, slice]]:
        """(replica of the source, of the target, samples sent), in order of the target's replica.

        The host sends an image only to the replica that works on it; a core cannot choose, so a replica
        of the source sends all it works on to each replica of the target that takes any of it.
        """
        count = self.num_replicas(synapse.target)
        if synapse.source not in self.grids:
            return [(0, replica, slice(replica, None, count)) for replica in range(count)]
        sources = self.num_replicas(synapse.source)
        return [(i, j, slice(i, None, sources)) for i, j in replica_pairs(sources, count)]

    def cores_by_population(self) -> dict[str, list[int]]:
        """Core indices of each population; the input population is on the host."""
        return {name: [core.core_index for core in self.cores_of(name)] for name in self.grids}

    @property
    def num_tiles(self) -> int:
        """Mesh tiles with at least one used core: what the barrier spans."""
        return len({(core.chip_index, core.position) for core in self.cores})

    @property
    def num_chips(self) -> int:
        return len({core.chip_index for core in self.cores})

    def hops(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mesh hops east-west and north-south between core slots; 0 between chips."""
        hops = np.abs(self.positions[source] - self.positions[target])
        hops[self.chips[source] != self.chips[target]] = 0
        return hops[:, 0], hops[:, 1]

    @cached_property
    def positions(self) -> np.ndarray:
        """Mesh tile (x, y) of each row of ``cores``, shape ``(cores, 2)``."""
        return np.array([core.position for core in self.cores]).reshape(-1, 2)

    @cached_property
    def chips(self) -> np.ndarray:
        """Chip of each core slot."""
        return np.array([core.chip_index for core in self.cores])

    def routes(self) -> Iterator[Route]:
        """All synapses between cores."""
        for synapse in self.network.synapses:
            yield from self.routes_of(synapse)

    def routes_of(self, synapse: IntegerSynapse) -> Iterator[Route]:
        """One for each of ``senders``, all along the same axes; pixels come from the host and have none."""
        if synapse.source not in self.grids:
            return
        links = connectivity(synapse, self.network[synapse.source].shape)
        source, target = self.grids[synapse.source], self.grids[synapse.target]
        channels, rows, columns = (
            block_pairs(matrix, source.edges[axis], target.edges[axis])
            for axis, matrix in enumerate((links.channels, links.rows, links.columns))
        )

        def numbers(
            grid: TileGrid, blocks: tuple[np.ndarray, np.ndarray, np.ndarray]
        ) -> np.ndarray:
            _, num_rows, num_columns = grid.shape
            first = np.add.outer(blocks[0] * num_rows * num_columns, blocks[1] * num_columns)
            return np.add.outer(first, blocks[2]).reshape(-1)

        senders = numbers(source, (channels.source, rows.source, columns.source))
        receivers = numbers(target, (channels.target, rows.target, columns.target))
        for i, j, samples in self.senders(synapse):
            yield Route(
                synapse,
                samples,
                self.core_slots_of(synapse.source, i).start + senders,
                self.core_slots_of(synapse.target, j).start + receivers,
                (channels, rows, columns),
            )

    @cached_property
    def _neuron_messages(self) -> tuple[int, int, int]:
        """Pairs of a neuron and a core it reaches: on its chip, their hops, and beyond its chip."""
        on_chip = hops = leaving = 0
        for route in self.routes():
            neurons = route.neurons
            away = self.chips[route.source] != self.chips[route.target]
            hops += int((neurons * sum(self.hops(route.source, route.target))).sum())
            leaving += int(neurons[away].sum())
            on_chip += int(neurons[~away].sum())
        return on_chip, hops, leaving

    @property
    def traffic_cost(self) -> int:
        """Hops if every neuron spiked once; leaving a chip counts as crossing all of its mesh."""
        _, hops, leaving = self._neuron_messages
        return hops + leaving * (self.target.mesh.width + self.target.mesh.height)

    def traffic(self) -> dict[str, float]:
        """Mean mesh hops from a neuron to a core it reaches on its chip, and the share beyond it."""
        on_chip, hops, leaving = self._neuron_messages
        return {
            "mean_hops": hops / max(on_chip, 1),
            "share_between_chips": leaving / max(on_chip + leaving, 1),
        }

    def highest_use(self, population: str) -> dict[str, tuple[int, int]]:
        """For each limit, (most used on a core of a population, available)."""
        cores = self.cores_of(population)
        return {
            limit: (max(getattr(c.use, limit) for c in cores), getattr(self.target.core, limit))
            for limit in CORE_LIMITS
        }

    def summary(self) -> dict[str, Any]:
        """What the report shows of a mapping."""
        return {
            "num_cores": len(self.cores),
            "available_cores": self.num_chips * self.target.mesh.num_cores,  # on the chips used
            "num_chips": self.num_chips,
            "available_chips": self.target.num_chips,
            "num_tiles": self.num_tiles,
            **self.traffic(),
            "populations": {
                name: {
                    "cores": len(self.cores_of(name)),
                    "replicas": self.num_replicas(name),
                    **{limit: list(pair) for limit, pair in self.highest_use(name).items()},
                }
                for name in self.grids
            },
        }


def map_network(
    network: IntegerNetwork,
    target: TargetDescription,
    provisioning: Provisioning,
) -> CoreMapping:
    """Partition a network and place its tiles where the least traffic goes far.

    Each order of ``placement.ORDERS`` is tried.

    Raises:
        MappingError: it cannot be given this, see ``check_provisioning``, or it does not fit; the message
            says which limit, by how much, and what would fit.
    """
    check_provisioning(network, provisioning)
    parts = partition(network, target, provisioning)
    grids = {grid.population: grid for grid, _ in parts}
    stages = [grid for grid, _ in parts for _ in range(provisioning.num_replicas(grid.population))]
    placed = [
        CoreMapping(
            target=target,
            network=network,
            provisioning=provisioning,
            grids=grids,
            cores=place(parts, order(stages), target.mesh, provisioning),
        )
        for order in ORDERS
    ]
    return min(placed, key=lambda mapping: mapping.traffic_cost)


def place(
    parts: Sequence[tuple[TileGrid, Sequence[CoreUse]]],
    order: Sequence[int],
    mesh: Mesh,
    provisioning: Provisioning,
) -> tuple[CoreAssignment, ...]:
    tiles = [
        (replica, tile, use)
        for grid, uses in parts
        for replica in range(provisioning.num_replicas(grid.population))
        for tile, use in zip(grid.tiles, uses, strict=True)
    ]
    rank = dict(zip(order, range(len(order)), strict=True))
    cores = []
    for core_slot, (replica, tile, use) in enumerate(tiles):
        chip, on_chip = divmod(rank[core_slot], mesh.num_cores)
        cores.append(
            CoreAssignment(
                core_index=chip * mesh.num_cores + core_number(on_chip, mesh),
                chip_index=chip,
                position=position(on_chip, mesh),
                tile=tile,
                use=use,
                replica=replica,
            )
        )
    return tuple(cores)
