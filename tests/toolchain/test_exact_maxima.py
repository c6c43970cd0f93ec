"""Populations with the role ``maximum``: exact integers for any T, and what they rely on."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from builders import WIDTHS, spiking
from maximum_networks import max_pool_network, maxima, pooled_counts

from deploy.design.fidelity import compare_alignments
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.datasets import Dataset
from toolchain.errors import IntegerWidthError, UnsupportedNetworkError
from toolchain.method.baselines import averaged, calibrate_biases, frame_by_frame
from toolchain.method.calibration import CalibrationPlan, calibrate
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.integer_network import IntegerNetwork, verify_integer_network
from toolchain.networks.layer_graph import LayerGraph, verify_layer_graph
from toolchain.networks.layer_graph.maximum import possible_alignments
from toolchain.networks.linear_maps import SelectChannels, with_weight
from toolchain.passes import PassOptions, chosen_graph, lower_to_integers
from toolchain.passes.align_edges import align_edges, align_population
from toolchain.passes.change_timesteps import scale_timesteps
from toolchain.passes.fold_source_scales import fold_source_scales
from toolchain.passes.quantize_maximum import quantize_maximum

LOIHI = load_target("loihi-sim").widths


def random_pixels(samples=4):
    return np.random.default_rng(3).integers(0, 16, (samples, 1, 4, 4))


@pytest.mark.parametrize("timesteps", [1, 2, 3, 7, 16, 64, 200])
def test_the_pool_of_the_counts_is_their_maximum(timesteps):
    graph = max_pool_network(timesteps, threshold=[0.7, 1.9])
    network = lower_to_integers(graph, LOIHI)
    run = run_exact(network, random_pixels())
    counts = run.counts
    assert len(np.unique(counts["counts"])) > min(timesteps, 8)
    np.testing.assert_array_equal(pooled_counts(counts), maxima(counts["counts"]))
    if timesteps <= 16:
        stepped = run_stepped(network, random_pixels())
        for name, values in stepped.counts.items():
            np.testing.assert_array_equal(values, counts[name])


@pytest.mark.parametrize(
    "widths",
    [
        LOIHI,
        replace(LOIHI, weight_bits=2),
        replace(LOIHI, max_exponent=4),
        replace(LOIHI, threshold_shift=0),
    ],
)
def test_thresholds_are_t_times_the_weight_on_the_grid_of_the_target(widths):
    network = lower_to_integers(max_pool_network(6), widths)
    for name in ("columns", "rows"):
        population = network[name]
        assert population.role == "maximum"
        (threshold,) = np.unique(population.threshold)
        assert threshold % (1 << widths.threshold_shift) == 0
        for synapse in network.incoming(name):
            sizes = np.abs(synapse.weighted.weight.astype(int)) << synapse.exponent
            assert set(np.unique(sizes)) <= {0, threshold // 6}


def test_what_reads_a_pool_reads_its_parts_through_equal_integers():
    network = lower_to_integers(max_pool_network(5, threshold=[0.7, 1.9]), LOIHI)
    first, *others = network.incoming("after")
    for other in others:
        assert other.exponent == first.exponent
        assert np.array_equal(other.weighted.weight, first.weighted.weight)


def test_the_float_network_pools_its_counts_too():
    counts = run_float_snn(max_pool_network(5), random_pixels(), with_counts=True).counts
    np.testing.assert_array_equal(pooled_counts(counts), maxima(counts["counts"]))


def replaced(graph, name, **changes):
    populations = [replace(p, **changes) if p.name == name else p for p in graph.populations]
    return LayerGraph.build(populations, graph.synapses)


def aligned(graph, target, alignment):
    synapses = [
        replace(s, alignment=alignment) if s.target == target else s for s in graph.synapses
    ]
    return LayerGraph.build(graph.populations, synapses)


per_neuron = np.arange(1.0, 33).reshape(2, 4, 4)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            replaced(max_pool_network(), "counts", timesteps=5),
            "columns: an exact maximum compares counts of equally many timesteps, but counts has 5 and "
            "columns 4; give them one T, or train with --max-pool average",
        ),
        (
            replaced(max_pool_network(), "counts", threshold=np.full((2, 1, 1), 2.0)),
            "columns: an exact maximum compares counts of one scale, but thresholds of up to 2 reach it from "
            "counts and its own is 1; give them one threshold, or train with --max-pool average",
        ),
        (
            replaced(
                max_pool_network(), "counts", threshold=per_neuron, initial_potential=per_neuron / 2
            ),
            "counts: thresholds that differ within a channel cannot be compared in an exact maximum; "
            "calibrate with one threshold per channel or layer, or train with --max-pool average",
        ),
        (
            max_pool_network(bias=np.full((2, 1, 1), 0.5)),
            "columns: an exact maximum has no bias, not one of up to 0.5",
        ),
        (
            aligned(max_pool_network(), "rows", "replicate"),
            "counts -> rows: rows is part of an exact maximum, which compares counts of whole windows, so "
            "the alignment must be average, not replicate; use average, or train with --max-pool "
            "average",
        ),
        (
            aligned(max_pool_network(), "after", "truncate"),
            "columns -> after: columns is part of an exact maximum, which compares counts of whole windows, "
            "so the alignment must be average, not truncate; use average, or train with --max-pool average",
        ),
    ],
)
def test_counts_that_cannot_be_compared_are_refused(graph, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        verify_layer_graph(graph)
    assert str(refusal.value) == message


def test_a_maximum_of_the_image_is_refused():
    graph = max_pool_network()
    populations = [
        replace(p, role="maximum") if p.name == "counts" else p for p in graph.populations
    ]
    populations = [replace(p, bias=0 * p.bias) if p.name == "counts" else p for p in populations]
    with pytest.raises(UnsupportedNetworkError, match="but input is no spiking population"):
        verify_layer_graph(LayerGraph.build(populations, graph.synapses))


def test_a_weight_other_than_one_is_refused():
    graph = max_pool_network()
    synapses = [
        replace(s, maps=tuple(with_weight(m, 2 * m.weight) for m in s.maps))
        if s.target == "rows"
        else s
        for s in graph.synapses
    ]
    with pytest.raises(
        UnsupportedNetworkError, match="weights of an exact maximum must be -1, 0 or 1, not up to 2"
    ):
        lower_to_integers(LayerGraph.build(graph.populations, synapses), WIDTHS)


def test_another_alignment_is_refused_by_the_passes_and_the_baselines():
    graph = max_pool_network()
    for change in (
        lambda: align_edges(graph, "replicate"),
        lambda: align_population(graph, "after", "truncate"),
        lambda: frame_by_frame(graph, 4),
    ):
        with pytest.raises(UnsupportedNetworkError, match="is part of an exact maximum"):
            change()
    assert align_population(graph, "counts", "replicate")["counts"].timesteps == 4
    network = lower_to_integers(graph, LOIHI)
    for either in (graph, network):
        possible = {p.name: len(possible_alignments(either, p.name)) for p in either.populations}
        assert possible == {
            "input": 3,
            "counts": 3,
            "columns": 1,
            "rows": 1,
            "after": 1,
            "logits": 3,
        }


def test_a_cap_and_uniform_timesteps_keep_the_maximum():
    graph = max_pool_network(6)
    for changed in (
        chosen_graph(graph, PassOptions(max_timesteps=4)),
        averaged(graph, 4),
        scale_timesteps(graph, 2),
        chosen_graph(graph, PassOptions(timesteps={"counts": 5})),
        chosen_graph(graph, PassOptions(timesteps={"rows": 7})),
    ):
        verify_layer_graph(changed)
        counts = run_exact(lower_to_integers(changed, LOIHI), random_pixels()).counts
        np.testing.assert_array_equal(pooled_counts(counts), maxima(counts["counts"]))


def test_biases_calibrated_layer_by_layer_leave_a_maximum_alone():
    graph = averaged(max_pool_network(), 2)
    changed = calibrate_biases(graph, random_pixels())
    assert (changed["counts"].bias != graph["counts"].bias).any()
    assert not changed["rows"].bias.any()
    verify_layer_graph(changed)


@pytest.mark.parametrize("granularity", ["layer", "channel"])
@pytest.mark.parametrize("across_channels", [False, True])
def test_thresholds_that_are_compared_are_calibrated_together(granularity, across_channels):
    graph = max_pool_network(2)
    if across_channels:
        swap = SelectChannels(channels=np.array([1, 0]))
        synapses = [
            replace(s, maps=(swap, *s.maps)) if s.target == "columns" else s for s in graph.synapses
        ]
        graph = LayerGraph.build(graph.populations, synapses)
    targets = 1.5 * run_float_snn(graph, random_pixels(32)).logits
    plan = CalibrationPlan(epochs=6, learning_rate=0.03, batch_size=8, granularity=granularity)
    result = calibrate(graph, random_pixels(32), targets, plan)
    assert result.epoch > 0
    verify_layer_graph(result.graph)
    thresholds = [result.graph[name].threshold for name in ("counts", "columns", "rows")]
    assert not np.allclose(thresholds[0], 1)
    assert len(np.unique(thresholds[0])) == (1 if across_channels else 2)
    for other in thresholds[1:]:
        assert np.array_equal(other, thresholds[0])
    if not across_channels:
        counts = run_exact(lower_to_integers(result.graph, LOIHI), random_pixels()).counts
        np.testing.assert_array_equal(pooled_counts(counts), maxima(counts["counts"]))


def test_the_alignments_that_a_report_compares_are_those_that_the_network_can_have():
    dataset = Dataset(
        name="random",
        max_value=15,
        num_classes=2,
        train_pixels=random_pixels(8).astype(np.uint8),
        train_labels=np.arange(8) % 2,
        test_pixels=random_pixels(8).astype(np.uint8),
        test_labels=np.arange(8) % 2,
    )
    graph = max_pool_network()
    lower = partial(lower_to_integers, widths=LOIHI)
    provisioning = Provisioning(slots={(s.source, s.target): 2 for s in graph.synapses})
    trades = compare_alignments(graph, lower, provisioning, 0, dataset)
    assert [trade.method for trade in trades] == ["average"]


@pytest.mark.parametrize(
    ("timesteps", "widths", "message"),
    [
        (
            300,
            replace(LOIHI, threshold_mantissa_bits=4, threshold_shift=4),
            "columns: an exact maximum of 300 timesteps needs a threshold of 300 times a power of two, but "
            "the target has multiples of 16 up to 240; train the layers in front of it with fewer timesteps, "
            "or train with --max-pool average",
        ),
        (
            601,
            LOIHI,
            "columns: accumulator bound 23,116,864 exceeds the 24-bit state (8,388,607) in an exact maximum "
            "of 601 timesteps; train the layers in front of it with fewer timesteps, or train with "
            "--max-pool average",
        ),
        (
            3,
            replace(LOIHI, weight_bits=2, max_exponent=3),
            "columns: an exact maximum of 3 timesteps needs weights of 2^6, above the target's 1 * 2^3; "
            "train with --max-pool average",
        ),
    ],
)
def test_a_threshold_that_the_target_cannot_hold_is_refused(timesteps, widths, message):
    graph = max_pool_network(timesteps)
    (folded,) = fold_source_scales(graph).incoming("columns")
    source = spiking("counts", (2, 4, 4), timesteps, threshold=64)
    with pytest.raises(IntegerWidthError) as refusal:
        quantize_maximum(graph["columns"], (folded,), {"counts": source}, widths)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: replace(p, threshold=2 * p.threshold),
            "must be 4 times each weight other than 0",
        ),
        (lambda p: replace(p, bias=p.bias + 1), "must have no bias"),
        (lambda p: replace(p, initial_potential=-1 - p.bias), "must start from 0 to below"),
        (
            lambda p: replace(p, timesteps=5),
            "must read counts of 5 timesteps, not of counts with 4",
        ),
    ],
)
def test_integers_that_give_no_maximum_are_refused(change, message):
    network = lower_to_integers(max_pool_network(), LOIHI)
    populations = [change(p) if p.name == "columns" else p for p in network.populations]
    with pytest.raises(UnsupportedNetworkError, match=message):
        verify_integer_network(IntegerNetwork.build(populations, network.synapses))
