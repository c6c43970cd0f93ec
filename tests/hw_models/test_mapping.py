"""Partition, placement and resources: an independent recount from every single synapse."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from single_synapses import dense_synapses, within_exponents
from strategies import integer_networks

from hw_models.figures import BUILT_IN
from hw_models.multicore.connectivity import connectivity
from hw_models.multicore.mapping import hop_distance, map_network
from hw_models.multicore.pipeline import uniform_slots
from hw_models.target_description import load_target
from toolchain.errors import MappingError
from toolchain.integer_network import IntegerInput, IntegerReadout
from toolchain.linear_maps import Convolution, Dense, Scale

LOIHI = load_target("loihi-sim")


def small_target(tmp_path, **core):
    """loihi-sim with other core limits, written as a user would write a YAML file."""
    document = yaml.safe_load((BUILT_IN / "loihi-sim.yaml").read_text())
    for name, value in core.items():
        document["figures"]["core"][name] |= {"value": value, "kind": "assumed", "source": "test"}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(document | {"name": "small"}))
    return load_target(str(path))


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(integer_networks())
def test_connectivity_is_that_of_every_single_synapse(network):
    for synapse in network.synapses:
        links = connectivity(synapse, network[synapse.source].shape)
        product = np.kron(np.kron(links.channels, links.rows), links.columns) > 0
        assert np.array_equal(product, dense_synapses(network, synapse))


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(integer_networks(), st.integers(1, 3), st.integers(8, 200), st.integers(30, 400))
def test_resources_of_every_core_by_recount(tmp_path_factory, network, slots, compartments, words):
    network = within_exponents(network)
    target = small_target(
        tmp_path_factory.mktemp("target"), compartments=compartments, synapse_words=words
    )
    depth = uniform_slots(network, slots)
    try:
        mapping = map_network(network, target, depth)
    except MappingError:
        return  # refusals have their own tests
    owner = {}  # population -> core number of each neuron
    for population in network.populations:
        cores = np.full(population.shape, -1)
        for core in mapping.cores_of(population.name):
            block = cores[core.tile.channel_slice, core.tile.row_slice]
            assert (block == -1).all()
            block[:] = core.core_index
        if not isinstance(population, IntegerInput):
            assert (cores >= 0).all()
        owner[population.name] = cores.reshape(-1)
    assert len({c.core_index for c in mapping.cores}) == len(mapping.cores)
    for core in mapping.cores:
        name = core.tile.population
        mine = owner[name] == core.core_index
        buffers = len(network.incoming(name)) * slots
        own = 0 if isinstance(network[name], IntegerReadout) else 1
        assert core.use.neurons == mine.sum()
        assert core.use.compartments == mine.sum() * (own + buffers) <= compartments
        axons = words_used = 0
        for synapse in network.incoming(name):
            source = network[synapse.source]
            planes = source.max_value.bit_length() if isinstance(source, IntegerInput) else 1
            (weight,) = (
                m.weight for m in synapse.maps if isinstance(m, Convolution | Dense | Scale)
            )
            bits = max(int(np.abs(weight.astype(int)).max()).bit_length() + 1, 2)
            for count in dense_synapses(network, synapse)[mine].sum(axis=0):
                axons += planes * (count > 0)
                blocks = [64] * (count // 64) + ([count % 64] if count % 64 else [])
                words_used += planes * sum(ceil((n * (bits + 10) + 10) / 64) for n in blocks)
        assert core.use.input_axons == axons <= 4096
        assert core.use.synapse_words == words_used <= words
        sends_to = [
            len(set(owner[s.target][targets]))
            for s in network.outgoing(name)
            for targets in dense_synapses(network, s).T[mine]
        ]
        assert core.use.output_axons == sum(sends_to) <= 4096


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(integer_networks())
def test_cores_lie_along_a_snake(network):
    mapping = map_network(within_exponents(network), LOIHI, uniform_slots(network, 2))
    for before, after in zip(mapping.cores, mapping.cores[1:], strict=False):
        assert sum(hop_distance(before.position, after.position)) <= 1
        x, y = after.position
        assert after.core_index // 4 == y * 8 + x


def test_a_layer_that_no_core_holds_names_limit_amount_and_remedy(tmp_path):
    network = integer_network_with_fan_in(3000)
    target = small_target(tmp_path, input_axons=1000)
    with pytest.raises(MappingError) as refusal:
        map_network(network, target, uniform_slots(network, 2))
    assert str(refusal.value) == (
        "logits: one row of one channel needs 3,000 input axons, 2,000 more than the 1,000 of a core of "
        "small; use groups, fewer input channels, or pool before this layer"
    )


def test_a_chip_that_is_too_small_says_by_how_much(tmp_path):
    document = yaml.safe_load((BUILT_IN / "loihi-sim.yaml").read_text())
    for name in ("width", "height", "cores_per_tile"):
        document["figures"]["mesh"][name]["value"] = 1
    document["figures"]["core"]["compartments"]["value"] = 4
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(document | {"name": "tiny"}))
    network = integer_network_with_fan_in(3, classes=5)
    with pytest.raises(MappingError) as refusal:
        map_network(network, load_target(str(tmp_path / "tiny.yaml")), uniform_slots(network, 2))
    assert str(refusal.value) == (
        "the network needs 3 cores, 2 more than the 1 of tiny (most: logits 3); use fewer channels, fewer "
        "buffer slots or a larger target"
    )


def test_bit_planes_beyond_the_weight_exponents_are_refused():
    network = integer_network_with_fan_in(3, max_value=255, exponent=7)
    with pytest.raises(MappingError, match=r"the highest of 8 bit planes needs weight exponent 14"):
        map_network(network, LOIHI, uniform_slots(network, 2))


def integer_network_with_fan_in(inputs, classes=1, max_value=1, exponent=0):
    from toolchain.integer_network import IntegerNetwork, IntegerSynapse

    return IntegerNetwork.build(
        [
            IntegerInput(name="input", shape=(inputs, 1, 1), max_value=max_value, unit=1.0),
            IntegerReadout(
                name="logits",
                shape=(classes, 1, 1),
                bias=np.zeros((classes, 1, 1), np.int64),
                unit=1.0,
            ),
        ],
        [
            IntegerSynapse(
                source="input",
                target="logits",
                exponent=exponent,
                maps=(Dense(weight=np.ones((classes, inputs), np.int8)),),
            )
        ],
    )
