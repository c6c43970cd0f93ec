"""Connectivity and core programs of every kind of map, compared with every single synapse."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from builders import connect, float_connect, float_network_of, float_spiking, network_of, spiking
from core_recount import check_every_core
from hypothesis import given, settings
from hypothesis import strategies as st
from resampled_networks import resampled_networks
from single_synapses import dense_synapses
from small_networks import one_layer
from small_targets import small_target

from hw_models.multicore.cost.event_counts import count_events
from hw_models.multicore.mapping.connectivity import connectivity
from hw_models.multicore.mapping.core_program import core_programs
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from sim.core_by_core import frames_and_probes, verify_cores
from sim.stepped import apply_maps, run_stepped
from toolchain.errors import MappingError
from toolchain.networks.integer_network.merged_weights import kernel, largest_merged_weight
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    Scale,
    SumPool,
    with_weight,
)
from toolchain.passes import lower_to_integers

LOIHI = load_target("loihi-sim")


def weights_between_neurons(network, synapse):
    """Int64 (targets, sources): what each source neuron alone sends to each target neuron."""
    shape = network[synapse.source].shape
    one_hot = np.eye(int(np.prod(shape)), dtype=np.int64).reshape(-1, *shape)
    return apply_maps(synapse.maps, one_hot).reshape(len(one_hot), -1).T


@settings(max_examples=50)
@given(resampled_networks())
def test_connectivity_and_weights_are_those_of_every_single_synapse(network):
    for synapse in network.synapses:
        shape = network[synapse.source].shape
        weights = weights_between_neurons(network, synapse)
        links = connectivity(synapse, shape)
        product = np.kron(np.kron(links.channels, links.rows != 0), links.columns != 0) > 0
        assert not weights[~product].any()
        assert np.array_equal(product, dense_synapses(network, synapse))
        merged = np.einsum(
            "oikl,kRr,lCc->oRCirc", kernel(synapse, shape), links.row_taps, links.column_taps
        )
        assert np.array_equal(merged.reshape(weights.shape), weights)
        assert largest_merged_weight(synapse, shape) == np.abs(weights).max(initial=0)


@settings(max_examples=20)
@given(resampled_networks(), st.integers(6, 60), st.integers(1, 3))
def test_every_core_computes_with_weights_of_eight_bits(network, compartments, slots):
    target = small_target(core={"compartments": compartments}, population_axons={"atoms": 2})
    mapping = map_network(network, target, uniform_provisioning(network, slots))
    check_every_core(mapping)
    pixels = np.random.default_rng(0).integers(0, 16, (2, *network.input.shape))
    frames = frames_and_probes(mapping, pixels, run_stepped(network, pixels).trains)
    num_samples = len(frames["input"])
    schedule = schedule_pipeline(mapping.pipeline, num_samples)
    assert verify_cores(mapping, schedule, frames) is None
    for population in mapping.grids:
        for program in core_programs(mapping, population):
            for edge in program.edges:
                assert all(np.abs(one.weights).max(initial=0) <= 127 for one in edge.synapse_lists)


def test_the_gap_of_a_difference_of_neighbours_takes_no_synapses():
    """Taps -1, 0, +1 need two synapses for each neuron, as -1, +1 with a dilation of two do."""
    taps = np.array([-1, 0, 1], np.int8).reshape(1, 1, 1, 3).repeat(2, axis=0)
    gap = one_layer(Convolution(weight=taps, groups=2), (2, 4, 6))
    dilated = Convolution(weight=taps[..., ::2], dilation=(1, 2), groups=2)
    uses = [
        map_network(n, LOIHI, uniform_provisioning(n, 2)).cores_of("hidden")[0].use
        for n in (gap, one_layer(dilated, (2, 4, 6)))
    ]
    assert uses[0] == uses[1]
    full = one_layer(Convolution(weight=taps | 1, groups=2), (2, 4, 6))
    mapping = map_network(full, LOIHI, uniform_provisioning(full, 2))
    assert mapping.cores_of("hidden")[0].use.synapse_words > uses[0].synapse_words


def overlapping(weight, *, kernel=(3, 3), stride=(2, 2), padding=(1, 1), image=(2, 7, 7)):
    """input -> hidden -> pool and dense -> logits, as Conv-ReLU-pool-Flatten-Linear."""
    pool = AveragePool(kernel=kernel, stride=stride, padding=padding)
    first = Convolution(weight=np.ones((image[0], 1, 1, 1)))
    return float_network_of(
        float_spiking("hidden", image, timesteps=4, threshold=0.7),
        float_connect("input", "hidden", first),
        float_connect("hidden", "logits", pool, Dense(weight=weight)),
        image=(1, *image[1:]),
        max_value=255,
        classes=len(weight),
    )


@pytest.mark.parametrize("sign", [0, 1])
def test_lowered_weights_fit_the_core_after_overlapping_pools_merge_them(sign):
    """A pixel under four windows has the sum of four weights, which has to fit 8 bits."""
    weight = np.random.default_rng(3).normal(sign, 1, (5, 2 * 4 * 4))
    network = lower_to_integers(overlapping(weight), LOIHI.widths)
    *_, synapse = network.synapses
    merged = np.abs(weights_between_neurons(network, synapse)).max()
    assert 100 < merged <= 127
    assert synapse.weighted.weight.max() > 20  # not more bits are given up than needed
    for program in core_programs(
        map_network(network, LOIHI, uniform_provisioning(network, 2)), "logits"
    ):
        for edge in program.edges:
            assert max(np.abs(one.weights).max() for one in edge.synapse_lists) <= 127
    plain = lower_to_integers(overlapping(weight, kernel=(2, 2), padding=(1, 1)), LOIHI.widths)
    assert np.abs(plain.synapses[-1].weighted.weight).max() == 127


def test_a_pool_with_more_paths_than_weights_have_values_is_merged_before_it_is_lowered():
    """400 paths per pixel: as a pool and a dense map no weight would fit, as one dense map they do."""
    weight = np.ones((2, 2 * 20 * 20))
    graph = overlapping(weight, kernel=(20, 20), stride=(1, 1), padding=(10, 10), image=(2, 19, 19))
    network = lower_to_integers(graph, LOIHI.widths)
    *_, synapse = network.synapses
    assert not synapse.pools_before
    assert np.abs(weights_between_neurons(network, synapse)).max() <= 127


def test_a_network_of_wider_merged_weights_is_not_mapped():
    pool = SumPool(kernel=(1, 3), stride=(1, 1), padding=(0, 1))
    network = network_of(
        spiking("hidden", (1, 1, 3), 2, 9, 4),
        connect("input", "hidden", Scale(weight=np.array([1], np.int8))),
        connect("hidden", "logits", pool, Dense(weight=np.array([[100, 90, 80]], np.int8))),
        image=(1, 1, 3),
    )
    with pytest.raises(MappingError, match="add up to a weight of 270, which exceeds 8 bits"):
        map_network(network, LOIHI, uniform_provisioning(network, 2))


def test_a_network_of_zeros_is_mapped_and_counted_without_a_single_synapse():
    network = one_layer(Convolution(weight=np.zeros((2, 2, 3, 3), np.int8)), (2, 3, 3))
    synapses = [
        replace(s, weighted=with_weight(s.weighted, s.weighted.weight * 0))
        for s in network.synapses
    ]
    network = type(network).build(network.populations, synapses)
    mapping = map_network(network, LOIHI, uniform_provisioning(network, 2))
    assert not list(chain(*(route.source for route in mapping.routes())))
    pixels = np.ones((2, *network.input.shape), np.int64)
    schedule = schedule_pipeline(mapping.pipeline, 2)
    events = count_events(mapping, schedule, pixels, run_stepped(network, pixels).trains)
    assert not any(e.any() for e in (events.convolution, events.synaptic, events.messages_out))
    assert all(core.use.synapse_words == core.use.input_axons == 0 for core in mapping.cores)
