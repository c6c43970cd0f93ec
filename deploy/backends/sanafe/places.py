"""The place of each neuron in SANA-FE: the tile and core of our mapping, and the unit of the core.

Copy c of a population with R replicas is on the cores of replica c mod R, as are the samples that it works
on. A core may also send a frame to replicas that work on other samples. There it ends in neurons that drop
it: they forget their current in every step.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping as ReadOnlyDict
from dataclasses import replace
from math import lcm, prod

import numpy as np

from deploy.backends.sanafe.architecture import DENDRITE, HOST_SOMA, NEURONS_PER_UNIT, SOMA
from deploy.backends.sanafe.explicit_synapses import TileInput
from hw_models.multicore.mapping.connectivity import is_convolution
from hw_models.multicore.mapping.mapping import CoreAssignment, CoreMapping
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from hw_models.target_description import Mesh
from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse


def one_mesh(mapping: CoreMapping) -> CoreMapping:
    """The mapping with all chips next to each other on one mesh, as SANA-FE has one chip."""
    width = mapping.target.mesh.width
    cores = (
        replace(c, chip_index=0, position=(c.chip_index * width + c.position[0], c.position[1]))
        for c in mapping.cores
    )
    return replace(mapping, cores=tuple(cores))


def tile_number(core: CoreAssignment, mesh: Mesh) -> int:
    """SANA-FE's number of a core's tile: tiles are counted column by column."""
    x, y = core.position
    return x * mesh.height + y


def synapse_unit(network: IntegerNetwork, population: str) -> str:
    """SANA-FE's unit for the synapses of a population; the format has one per neuron."""
    shared = all(is_convolution(synapse) for synapse in network.incoming(population))
    return "loihi_conv_synapse" if shared else "loihi_sparse_synapse"


def copies_of(mapping: CoreMapping, population: str, replica: int, copies: int) -> range:
    """The copies on the cores of a replica."""
    return range(replica, copies, mapping.num_replicas(population))


def receivers(mapping: CoreMapping, synapse: IntegerSynapse, copy: int) -> tuple[int, list[int]]:
    """The target's replica that uses the frames of a copy of the source, and the replicas that drop them."""
    own = copy % mapping.num_replicas(synapse.target)
    if synapse.source not in mapping.grids:
        return own, []  # the host sends to that replica alone
    source = copy % mapping.num_replicas(synapse.source)
    reached = [target for sender, target, _ in mapping.senders(synapse) if sender == source]
    return own, [replica for replica in reached if replica != own]


def dropping(mapping: CoreMapping, population: str, copies: int) -> list[int]:
    """Replicas of a population that receive frames of other replicas' samples."""
    return sorted(
        {
            replica
            for synapse in mapping.network.incoming(population)
            for copy in range(copies)
            for replica in receivers(mapping, synapse, copy)[1]
        }
    )


def copies_in_flight(mapping: CoreMapping, schedule: Schedule) -> int:
    """Fewest copies of each neuron for which no sample arrives at a copy that still works on another.

    A multiple of every population's replicas, or one copy per sample.
    """

    def enough(copies: int) -> bool:
        for name, ticks in schedule.step_ticks.items():
            incoming = mapping.network.incoming(name)
            sources = [schedule.step_ticks[s.source][copies:, 0] for s in incoming]
            if sources and (np.min(sources, axis=0) + 1 <= ticks[:-copies, -1]).any():
                return False
        return True

    step = lcm(*(mapping.num_replicas(name) for name in mapping.grids))
    tried = range(step, schedule.num_samples, step)
    return next((copies for copies in tried if enough(copies)), schedule.num_samples)


class Places:
    """Counts the neurons that are put on cores, to choose a unit of the core for each.

    Attributes:
        occupied: neurons by kind of soma and core.
        idle: compartments without a neuron.
        missing: neurons without a compartment.
    """

    def __init__(self) -> None:
        self.occupied: dict[tuple[str, str], int] = defaultdict(int)
        self.idle = 0
        self.missing = 0

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
        return max((n for (kind, _), n in self.occupied.items() if kind == soma), default=0)


def population_places(
    mapping: CoreMapping,
    groups: ReadOnlyDict[str, list[str]],
    dropped: ReadOnlyDict[str, ReadOnlyDict[int, str]],
    places: Places,
) -> Iterator[str]:
    """Lines that put each neuron on its core, and idle neurons on the remaining compartments.

    Args:
        groups: of each population, one per copy.
        dropped: of each population, the groups that drop frames, by replica.
    """
    mesh = mapping.target.mesh
    for core in mapping.cores:
        name = core.tile.population
        address = f"{tile_number(core, mesh)}.{core.core_index % mesh.cores_per_tile}"
        shape = mapping.network[name].shape
        neurons = np.arange(prod(shape)).reshape(shape)[core.tile.slices].reshape(-1)
        runs = np.split(neurons, np.flatnonzero(np.diff(neurons) > 1) + 1)
        unit = synapse_unit(mapping.network, name)
        copies = copies_of(mapping, name, core.replica, len(groups[name]))
        here = [groups[name][copy] for copy in copies]
        if core.replica in dropped[name]:
            here.append(dropped[name][core.replica])
        for group in here:
            for run in runs:
                yield from places.put(group, int(run[0]), len(run), address, SOMA, synapse=unit)
        spare = core.use.compartments - places.occupied[SOMA, address]
        yield from places.put("idle", places.idle, max(spare, 0), address, SOMA)
        places.idle += max(spare, 0)
        places.missing += max(-spare, 0)


def host_places(
    groups: ReadOnlyDict[str, tuple[int, TileInput]], mesh: Mesh, places: Places
) -> Iterator[str]:
    """Lines that put the pixels' neurons on the last core of their tile."""
    for group, (tile, tile_input) in groups.items():
        core = f"{tile}.{mesh.cores_per_tile}"
        yield from places.put(group, 0, tile_input.num_neurons, core, HOST_SOMA)
