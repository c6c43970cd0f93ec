"""What each core holds: an independent recount from every single synapse."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
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
from toolchain.method.float_snn import transmit
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerReadout,
    IntegerSpiking,
)
from toolchain.networks.linear_maps import Convolution, Dense, Scale, with_weight

LOIHI = load_target("loihi-sim")


@settings(max_examples=200)
@given(integer_networks())
def test_connectivity_is_that_of_every_single_synapse(network):
    for synapse in network.synapses:
        links = connectivity(synapse, network[synapse.source].shape)
        product = np.kron(np.kron(links.channels, links.rows != 0), links.columns != 0) > 0
        assert np.array_equal(product, dense_synapses(network, synapse))


def random_weights(network, synapse):
    """Weights (targets, sources) of the synapse with a random number for every tap of its maps."""
    random = np.random.default_rng(1)
    maps = tuple(
        with_weight(m, random.uniform(1, 2, m.weight.shape))
        if isinstance(m, Convolution | Dense | Scale)
        else m
        for m in synapse.maps
    )
    source = network[synapse.source]
    one_hot = torch.eye(int(np.prod(source.shape)), dtype=torch.float64)
    return transmit(maps, one_hot.reshape(-1, *source.shape)).flatten(1).numpy().T


def shared_lists(network, synapse, tile, atoms):
    """Synapse lists of a tile, one for each pattern and atom block, by looking at every synapse."""
    weights = random_weights(network, synapse)
    shape = network[synapse.target].shape
    channels, rows, columns = (range(*axis) for axis in (tile.channels, tile.rows, tile.columns))
    mine = [(c, y, x) for c in channels for y in rows for x in columns]
    numbers = [np.ravel_multi_index(neuron, shape) for neuron in mine]
    lists = {}
    for source in np.ndindex(network[synapse.source].shape):
        column = weights[numbers, np.ravel_multi_index(source, network[synapse.source].shape)]
        reached = [(n, w) for n, w in zip(mine, column, strict=True) if w]
        if reached:
            base = min(n[1] for n, _ in reached), min(n[2] for n, _ in reached)
            entries = [((c, y - base[0], x - base[1]), round(w, 9)) for (c, y, x), w in reached]
            pixel = lists.setdefault((source[0] // atoms, *source[1:]), [])
            pixel += [(source[0] % atoms, *entry) for entry in entries]
    return lists


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
    owner = {}  # population -> core number of each neuron of each replica
    for population in network.populations:
        count = replicas.get(population.name, 1)
        cores = np.full((count, *population.shape), -1)
        for core in mapping.cores_of(population.name):
            block = cores[core.replica][core.tile.slices]
            assert (block == -1).all()
            block[:] = core.core_index
        if not isinstance(population, IntegerInput):
            assert (cores >= 0).all()
        owner[population.name] = cores.reshape(count, -1)
    assert len({c.core_index for c in mapping.cores}) == len(mapping.cores)
    for core in mapping.cores:
        name = core.tile.population
        mine = owner[name][core.replica] == core.core_index
        buffers = len(network.incoming(name)) * slots
        own = 0 if isinstance(network[name], IntegerReadout) else 1
        assert core.use.neurons == mine.sum()
        assert core.use.compartments == mine.sum() * (own + buffers) <= compartments
        assert core.use.threshold_profiles == len(kinds_of_threshold(network[name], mine))
        assert core.use.threshold_profiles <= thresholds
        assert core.use.compartment_profiles == own + 1 <= 32
        formats = set()
        axons = words_used = 0
        for synapse in network.incoming(name):
            source = network[synapse.source]
            planes = source.max_value.bit_length() if isinstance(source, IntegerInput) else 1
            (weight,) = (
                m.weight for m in synapse.maps if isinstance(m, Convolution | Dense | Scale)
            )
            bits = max(int(np.abs(weight.astype(int)).max()).bit_length() + 1, 2)
            bits += bits == 7  # no such format
            formats |= {(bits, synapse.exponent + plane) for plane in range(planes)}
            lists = shared_lists(network, synapse, core.tile, atoms)
            heard = {r for r, own in shared_samples(replicas, synapse) if own == core.replica}
            axons += planes * len(lists) * len(heard)
            for atom_block, entries in {(axon[0], tuple(e)) for axon, e in lists.items()}:
                assert atom_block * atoms < source.shape[0]
                blocks = [64] * (len(entries) // 64)
                blocks += [len(entries) % 64] if len(entries) % 64 else []
                words_used += planes * sum(ceil((n * (bits + 10) + 10) / 64) for n in blocks)
        assert core.use.input_axons == axons <= 4096
        assert core.use.synapse_words == words_used <= words
        assert core.use.synapse_formats == len(formats) <= 15
        sends = set()  # (target core, synapse, atom block, pixel)
        for synapse in network.outgoing(name):
            links = dense_synapses(network, synapse)
            for neuron in np.flatnonzero(mine):
                c, y, x = np.unravel_index(neuron, network[name].shape)
                for own, replica in shared_samples(replicas, synapse):
                    if own != core.replica:
                        continue
                    for other in set(owner[synapse.target][replica][links[:, neuron]]):
                        sends.add((other, synapse.target, c // atoms, y, x))
        assert core.use.output_axons == 2 * len(sends) <= 4096
        assert core.use.compartment_bases <= 256


def shared_samples(replicas, synapse):
    """(replica of the source, of the target) that both work on a sample; the host is one for all."""
    sources, targets = replicas.get(synapse.source, 1), replicas.get(synapse.target, 1)
    return {(sample % sources, sample % targets) for sample in range(sources * targets)}


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


def kinds_of_threshold(population, mine):
    """Thresholds that the neurons of a core and its buffers ask for, neuron by neuron."""
    kinds = {"never"}  # the slots of buffers do not spike
    if isinstance(population, IntegerSpiking):
        thresholds = np.broadcast_to(population.threshold, population.shape).reshape(-1)
        kinds |= {int(thresholds[neuron]) for neuron in np.flatnonzero(mine)}
    return kinds
