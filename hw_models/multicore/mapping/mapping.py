"""A network on the cores of one or more chips: its tiles, their places, and their use of the cores."""

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
from hw_models.multicore.mapping.tile_grid import (
    BlockPairs,
    Tile,
    TileGrid,
    block_pairs,
    combinations,
)
from hw_models.multicore.pipeline.pipeline import Pipeline, pipeline_of, replica_pairs
from hw_models.multicore.pipeline.provisioning import Provisioning, check_provisioning
from hw_models.multicore.pipeline.repetition import frames_held
from hw_models.target_description import Mesh, TargetDescription
from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse


@dataclass(frozen=True, kw_only=True)
class CoreAssignment:
    """One used core: where it is, which tile of a population it holds, and how much that uses.

    Attributes:
        core_index: its number, counted over all chips.
        position: (x, y) of its mesh tile on its chip.
        replica: number of its population's replica.
    """

    core_index: int
    chip_index: int
    position: tuple[int, int]
    tile: Tile
    use: CoreUse
    replica: int = 0


@dataclass(frozen=True, eq=False)
class Route:
    """The pairs of cores between which one replica of a source sends to one of the target.

    Attributes:
        samples: those that the source's replica works on and sends.
        source, target: core slots of each pair, indices into ``CoreMapping.cores``, shape ``(R,)``.
        axes: connected blocks along channels, rows and columns; a pair of cores is one pair of blocks
            along each axis, columns fastest.
    """

    synapse: IntegerSynapse
    samples: slice
    source: np.ndarray
    target: np.ndarray
    axes: tuple[BlockPairs, BlockPairs, BlockPairs]

    @property
    def neurons(self) -> np.ndarray:
        """Source neurons that reach the target core, shape ``(R,)``."""
        return combinations(*(pairs.reaching.sum(axis=1) for pairs in self.axes)).reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreMapping:
    """All used cores: populations in topological order, replica by replica, tile by tile.

    A *core slot* is an index into ``cores``.

    Attributes:
        grids: tiles of each population on the chip; all of its replicas have the same.
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
    def frames_held(self) -> dict[tuple[str, str], int]:
        """Frames that a slot of each alignment buffer holds at once; see ``repetition.frames_held``."""
        return frames_held(self.pipeline)

    @cached_property
    def first_core(self) -> dict[str, int]:
        """Core slot of the first tile of each population's first replica."""
        sizes = [len(grid) * self.num_replicas(name) for name, grid in self.grids.items()]
        return dict(zip(self.grids, [0, *np.cumsum(sizes).tolist()[:-1]], strict=True))

    def core_slots_of(self, population: str, replica: int) -> range:
        """Core slots of a replica, in the order of the grid's tiles."""
        size = len(self.grids[population])
        start = self.first_core[population] + replica * size
        return range(start, start + size)

    def cores_of(self, population: str) -> tuple[CoreAssignment, ...]:
        """The cores of all replicas; none if the population is on the host."""
        if population not in self.grids:
            return ()
        start = self.first_core[population]
        count = len(self.grids[population]) * self.num_replicas(population)
        return self.cores[start : start + count]

    def senders(self, synapse: IntegerSynapse) -> list[tuple[int, int, slice]]:
        """(replica of the source, replica of the target, samples sent), in order of the target's.

        The host sends an image only to the replica that works on it. A core cannot choose, so a replica
        sends all of its samples to each replica of the target that works on any of them.
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
        """Mesh tiles with at least one used core: the barrier spans these."""
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
        """Mesh tile (x, y) of each core slot, shape ``(cores, 2)``."""
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
        """One for each of ``senders``, all with the same axes; none for pixels, which the host sends."""
        if synapse.source not in self.grids:
            return
        links = connectivity(synapse, self.network[synapse.source].shape)
        source, target = self.grids[synapse.source], self.grids[synapse.target]
        channels, rows, columns = map(block_pairs, links.axes, source.edges, target.edges)
        axes = channels, rows, columns
        senders = source.tile_numbers(*(pairs.source for pairs in axes))
        receivers = target.tile_numbers(*(pairs.target for pairs in axes))
        for i, j, samples in self.senders(synapse):
            yield Route(
                synapse,
                samples,
                self.core_slots_of(synapse.source, i).start + senders,
                self.core_slots_of(synapse.target, j).start + receivers,
                axes,
            )

    @cached_property
    def _neuron_messages(self) -> tuple[int, int, int]:
        """Messages if every neuron spiked once: those within a chip, their hops, those between chips."""
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
        """Hops if every neuron spiked once; a message between chips counts as one across a whole mesh."""
        _, hops, leaving = self._neuron_messages
        return hops + leaving * (self.target.mesh.width + self.target.mesh.height)

    def traffic(self) -> dict[str, float]:
        """Mean hops of a message within a chip, and the share of messages between chips."""
        on_chip, hops, leaving = self._neuron_messages
        return {
            "mean_hops": hops / max(on_chip, 1),
            "share_between_chips": leaving / max(on_chip + leaving, 1),
        }

    def highest_use(self, population: str) -> dict[str, tuple[int, int]]:
        """For each limit, (the most that a core of the population uses, available)."""
        cores = self.cores_of(population)
        return {
            limit: (max(getattr(c.use, limit) for c in cores), getattr(self.target.core, limit))
            for limit in CORE_LIMITS
        }

    def summary(self) -> dict[str, Any]:
        """The figures of a mapping that the report shows."""
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
    """Partition a network and place its tiles in the order of ``placement.ORDERS`` with least traffic.

    Raises:
        OptionError: the provisioning is refused by ``check_provisioning``.
        MappingError: the network does not fit; the message says which limit, by how much, and what would
            fit.
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
    """Put tiles on the cores along a snake through the chips.

    Args:
        parts: the tiles of each population and how much each uses.
        order: core slots, in the order in which they are laid along the snake.
    """
    tiles = [
        (replica, tile, use)
        for grid, uses in parts
        for replica in range(provisioning.num_replicas(grid.population))
        for tile, use in zip(grid.tiles, uses, strict=True)
    ]
    cores = []
    for place_on_snake, (replica, tile, use) in zip(np.argsort(order).tolist(), tiles, strict=True):
        chip, on_chip = divmod(place_on_snake, mesh.num_cores)
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
