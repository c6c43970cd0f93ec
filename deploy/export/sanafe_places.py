"""Where SANA-FE has each neuron: the tile and core of our mapping, and the unit of the core."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping as ReadOnlyDict
from dataclasses import replace
from math import prod

import numpy as np

from deploy.export.explicit_synapses import TileInput
from deploy.export.sanafe_architecture import DENDRITE, HOST_SOMA, NEURONS_PER_UNIT, SOMA
from hw_models.multicore.connectivity import is_convolution
from hw_models.multicore.mapping import CoreAssignment, Mapping
from hw_models.target_description import Mesh
from toolchain.integer_network import IntegerNetwork


def one_mesh(mapping: Mapping) -> Mapping:
    """The same mapping with all chips beside each other on one mesh: SANA-FE knows one chip."""
    width = mapping.target.mesh.width
    cores = (
        replace(c, chip_index=0, position=(c.chip_index * width + c.position[0], c.position[1]))
        for c in mapping.cores
    )
    return replace(mapping, cores=tuple(cores))


def tile_number(core: CoreAssignment, mesh: Mesh) -> int:
    """SANA-FE's number of the tile of a core of one mesh: column by column."""
    x, y = core.position
    return x * mesh.height + y


def synapse_unit(network: IntegerNetwork, population: str) -> str:
    """SANA-FE's unit for the synapses of a population; a neuron's file entry has room for one."""
    shared = all(is_convolution(synapse) for synapse in network.incoming(population))
    return "loihi_conv_synapse" if shared else "loihi_sparse_synapse"


def host_groups(inputs: ReadOnlyDict[int, TileInput], copy: int) -> list[str]:
    return [f"pixels/{tile}@{copy}" for tile in inputs]


class Places:
    """Neurons put on cores so far, and which unit of the core holds each."""

    def __init__(self) -> None:
        self.occupied: dict[tuple[str, str], int] = defaultdict(int)  # by soma and core
        self.idle = 0

    def put(
        self, group: str, first: int, count: int, core: str, soma: str, **units: str
    ) -> Iterator[str]:
        """Lines of the mapping section for neurons of a group, unit by unit."""
        while count > 0:
            number, used = divmod(self.occupied[soma, core], NEURONS_PER_UNIT)
            part = min(count, NEURONS_PER_UNIT - used)
            where = {
                "core": core,
                "soma": f"{soma}[{number}]",
                "dendrite": f"{DENDRITE}[{number}]",
                **units,
            }
            yield json.dumps({f"{group}.{first}..{first + part - 1}": where})
            self.occupied[soma, core] += part
            first, count = first + part, count - part

    def most(self, soma: str) -> int:
        """Most neurons on one core."""
        return max(n for (kind, _), n in self.occupied.items() if kind == soma)


def population_places(
    mapping: Mapping, groups: ReadOnlyDict[str, list[str]], places: Places
) -> Iterator[str]:
    """Each neuron on the core of the mapping; what is left of its compartments to the idle group."""
    mesh = mapping.target.mesh
    for core in mapping.cores:
        name = core.tile.population
        address = f"{tile_number(core, mesh)}.{core.core_index % mesh.cores_per_tile}"
        shape = mapping.network[name].shape
        neurons = np.arange(prod(shape)).reshape(shape)[core.tile.slices].reshape(-1)
        runs = np.split(neurons, np.flatnonzero(np.diff(neurons) > 1) + 1)
        unit = synapse_unit(mapping.network, name)
        for group in groups[name]:
            for run in runs:
                yield from places.put(group, int(run[0]), len(run), address, SOMA, synapse=unit)
        idle = max(core.use.compartments - places.occupied[SOMA, address], 0)
        yield from places.put("idle", places.idle, idle, address, SOMA)
        places.idle += idle


def host_places(
    inputs: ReadOnlyDict[int, TileInput], copies: int, mesh: Mesh, places: Places
) -> Iterator[str]:
    for copy in range(copies):
        for group, (tile, tile_input) in zip(
            host_groups(inputs, copy), inputs.items(), strict=True
        ):
            core = f"{tile}.{mesh.cores_per_tile}"  # the tile's last one
            yield from places.put(group, 0, tile_input.num_neurons, core, HOST_SOMA)
