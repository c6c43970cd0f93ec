"""What each core holds: an independent recount from every single synapse."""

from __future__ import annotations

import numpy as np
from core_recount import check_every_core
from hypothesis import given, settings
from hypothesis import strategies as st
from single_synapses import dense_synapses, within_exponents
from small_networks import one_layer
from small_targets import small_target
from strategies import integer_networks

from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.connectivity import connectivity
from hw_models.multicore.mapping.core_resources import NetworkOnTarget, highest_use
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.mapping.partition import partition
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from toolchain.errors import MappingError
from toolchain.networks.linear_maps import Dense

LOIHI = load_target("loihi-sim")


@settings(max_examples=200)
@given(integer_networks())
def test_connectivity_is_that_of_every_single_synapse(network):
    for synapse in network.synapses:
        links = connectivity(synapse, network[synapse.source].shape)
        product = np.kron(np.kron(links.channels, links.rows != 0), links.columns != 0) > 0
        assert np.array_equal(product, dense_synapses(network, synapse))


@settings(max_examples=150)
@given(
    integer_networks(),
    st.integers(1, 3),
    st.integers(8, 200),
    st.integers(30, 400),
    st.integers(1, 9),
    st.data(),
    st.integers(2, 12),
)
def test_resources_of_every_core_by_recount(
    network, slots, compartments, words, atoms, data, thresholds
):
    network = within_exponents(network)
    target = small_target(
        core={
            "compartments": compartments,
            "synapse_words": words,
            "threshold_profiles": thresholds,
        },
        population_axons={"atoms": atoms},
    )
    replicas = {p.name: data.draw(st.sampled_from([1, 1, 2, 3])) for p in network.populations[1:]}
    provisioning = uniform_provisioning(network, slots, replicas)
    try:
        mapping = map_network(network, target, provisioning)
    except MappingError:
        return  # refusals have their own tests
    check_every_core(mapping)


@settings(max_examples=50)
@given(integer_networks(), st.integers(1, 8))
def test_the_highest_use_is_that_of_all_tiles_together(network, compartments):
    network = within_exponents(network)
    core = {"compartments": compartments}
    target = small_target(core=core)
    provisioning = uniform_provisioning(network, 1)
    try:
        parts = partition(network, target, provisioning)
    except MappingError:
        return
    context = NetworkOnTarget(network, target, provisioning)
    grids = {grid.population: grid for grid, _ in parts}
    for grid, uses in parts:
        highest = highest_use(context, network[grid.population], grid, grids)
        for limit in CORE_LIMITS:
            assert getattr(highest, limit) == max(getattr(use, limit) for use in uses)


def test_replicas_that_take_the_same_samples_talk_and_others_do_not():
    """Two replicas of each: the n-th sends to the n-th, on as many axons as alone. Three hear both."""
    network = one_layer(Dense(weight=np.full((9, 6), 3, np.int8)), (6, 1, 1))
    alone = map_network(network, LOIHI, uniform_provisioning(network, 2))

    def mapped(**replicas):
        return map_network(network, LOIHI, uniform_provisioning(network, 2, replicas))

    twice = mapped(source=2, hidden=2)
    assert [core.replica for core in twice.cores_of("hidden")] == [0, 1]
    assert [core.use for core in twice.cores_of("source")] == [alone.cores_of("source")[0].use] * 2
    assert [core.use for core in twice.cores_of("hidden")] == [alone.cores_of("hidden")[0].use] * 2
    assert [core.use.input_axons for core in twice.cores_of("logits")] == [2]  # from two replicas
    uneven = mapped(source=2, hidden=3)
    assert [core.use.output_axons for core in uneven.cores_of("source")] == [3 * 2] * 2
    assert [core.use.input_axons for core in uneven.cores_of("hidden")] == [2] * 3
    pairs = [
        (uneven.cores[route.source[0]].replica, uneven.cores[route.target[0]].replica)
        for route in uneven.routes()
        if route.synapse.source == "source"
    ]
    assert pairs == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
