"""Cores that change places: nothing lost, never more traffic, and no exchange left that would help."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_synapses import dense_synapses, within_exponents
from small_targets import small_target
from strategies import integer_networks

from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.mapping.placement import core_number, position
from hw_models.multicore.mapping.placement_search import with_less_traffic
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from toolchain.networks.integer_network import IntegerInput


@pytest.fixture(scope="module")
def small_chips():
    """Chips of six cores, two on each of three mesh tiles, that hold few neurons each."""
    return small_target(
        core={"compartments": 12},
        mesh={"width": 3, "height": 1, "cores_per_tile": 2},
    )


def hops_by_recount(mapping):
    """Every neuron spikes once; each core that it reaches is some hops away, or a whole mesh."""
    network, mesh = mapping.network, mapping.target.mesh
    total = 0
    for synapse in network.synapses:
        if isinstance(network[synapse.source], IntegerInput):
            continue
        links = dense_synapses(network, synapse)
        shapes = network[synapse.source].shape, network[synapse.target].shape
        for source in mapping.cores_of(synapse.source):
            own = np.zeros(shapes[0], bool)
            own[source.tile.slices] = True
            for target in mapping.cores_of(synapse.target):
                mine = np.zeros(shapes[1], bool)
                mine[target.tile.slices] = True
                block = links[np.ix_(mine.reshape(-1), own.reshape(-1))]
                hops = np.abs(np.subtract(source.position, target.position)).sum()
                if source.chip_index != target.chip_index:
                    hops = mesh.width + mesh.height
                total += block.any(axis=0).sum() * hops
    return total


@settings(max_examples=60)
@given(integer_networks(), st.integers(1, 2))
def test_the_same_tiles_with_no_more_traffic(small_chips, network, slots):
    network = within_exponents(network)
    before = map_network(network, small_chips, uniform_provisioning(network, slots))
    after = with_less_traffic(before)
    assert [core.tile for core in after.cores] == [core.tile for core in before.cores]
    assert [core.use for core in after.cores] == [core.use for core in before.cores]
    assert len({core.core_index for core in after.cores}) == len(after.cores)
    places = {core_number(n, small_chips.mesh): position(n, small_chips.mesh) for n in range(6)}
    for core in after.cores:
        chip, number = divmod(core.core_index, 6)
        assert (core.chip_index, core.position) == (chip, places[number])
    assert after.num_tiles <= before.num_tiles
    assert after.traffic_cost == hops_by_recount(after) <= hops_by_recount(before)
    if len(after.cores) <= 14:
        for one, other in combinations(range(len(after.cores)), 2):
            cores = list(after.cores)
            for here, there in ((one, other), (other, one)):
                cores[here] = replace(
                    after.cores[here],
                    chip_index=after.cores[there].chip_index,
                    position=after.cores[there].position,
                )
            assert replace(after, cores=tuple(cores)).traffic_cost >= after.traffic_cost
