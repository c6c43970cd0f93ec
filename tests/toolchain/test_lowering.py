"""From float graph to integers: hand-computed integers, fidelity, and a verifier between passes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import WIDTHS, float_connect, float_dense, float_network_of, float_spiking
from small_networks import two_neurons

from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn, transmit
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.networks.layer_graph import (
    LayerGraph,
    SpikingPopulation,
)
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    WeightedMap,
)
from toolchain.passes import PassOptions, chosen_graph, lower_to_integers, pipeline
from toolchain.passes.fold_source_scales import fold_source_scales
from toolchain.passes.merge_linear_maps import merge_linear_maps


def test_scales_fold_into_weights_by_hand():
    folded = {
        (s.source, s.target): s.maps[-1].weight for s in fold_source_scales(two_neurons()).synapses
    }
    assert folded["input", "hidden"] == pytest.approx(0.5 * 0.1)  # unit of the pixel
    assert folded["hidden", "readout"] == pytest.approx(-3.0 * 2 / 4)  # alpha / T


def test_integers_by_hand():
    """w = 0.05 becomes 127, so one integer is 0.05/127 of a unit at exponent 0; 2^x refines it."""
    network = lower_to_integers(two_neurons(), WIDTHS)
    (synapse,) = network.incoming("hidden")
    hidden = network["hidden"]
    unit = 0.05 / 127 / 2**synapse.exponent
    assert synapse.maps[0].weight.tolist() == [[127]]
    assert hidden.threshold.item() == np.floor(2 / unit / 64 + 0.5) * 64
    assert hidden.initial_potential.item() == hidden.threshold.item() // 2
    assert abs(hidden.bias.item() - 0.25 / unit) <= 2 ** np.ceil(np.log2(0.25 / unit / 4095)) / 2


def test_few_bits_clip_an_outlier_and_many_keep_it():
    """At 2 bits (-1, 0, 1) nine weights of 1 matter more than one of 3; at 8 bits all are kept."""
    weights = float_dense([[1.0] * 9 + [3.0]])
    graph = float_network_of(float_connect("input", "logits", weights), image=(10, 1, 1))
    integers = {
        bits: lower_to_integers(graph, replace(WIDTHS, weight_bits=bits)).synapses[0].maps[0].weight
        for bits in (2, 8)
    }
    assert integers[2].tolist() == [[1] * 10]
    assert integers[8].tolist() == [[42] * 9 + [127]]


def test_a_replicating_edge_folds_no_mean():
    graph = two_neurons()
    synapses = [replace(s, alignment="replicate") for s in graph.synapses]
    folded = fold_source_scales(LayerGraph.build(graph.populations, synapses))
    assert folded.incoming("readout")[0].maps[0].weight == pytest.approx(-3.0 * 2)


@pytest.mark.parametrize("alignment", ["average", "replicate", "truncate"])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_integer_network_follows_the_float_network(alignment, weight_bits):
    """Few counts differ at 8 bits; the integer logits are the float logits times one scale."""
    torch.manual_seed(0)
    module = quantize_activations(build_model("resnet-mini", (1, 8, 8), 10), TimestepQuantizer)
    for index, quantizer in enumerate(quantizers(module).values()):
        quantizer.t.data.fill_(2 + index)
    graph = convert(module, (1, 8, 8), max_value=16)
    synapses = [replace(s, alignment=alignment) for s in graph.synapses]
    readout_steps = {"average": 1}.get(alignment, 5)
    populations = [
        replace(p, timesteps=readout_steps) if p.name == "readout" else p for p in graph.populations
    ]
    graph = LayerGraph.build(populations, synapses)
    network = lower_to_integers(graph, replace(WIDTHS, weight_bits=weight_bits))
    pixels = np.random.default_rng(0).integers(0, 17, (30, 1, 8, 8))
    reference, run = run_float_snn(graph, pixels, with_counts=True), run_stepped(network, pixels)
    tolerance = {8: 0.06, 4: 0.5}[weight_bits]
    for name, counts in run.counts.items():
        assert (counts != reference.counts[name]).mean() < tolerance
    logits = run.logits * network["readout"].unit
    assert np.abs(logits - reference.logits).mean() < tolerance / 3 * np.ptp(reference.logits)


def maps_of_all_kinds():
    """A network whose synapses hold several weights, or none between selections of channels."""
    rng = np.random.default_rng(0)

    def conv(out, channels, kernel=1, **geometry):
        return Convolution(weight=rng.normal(size=(out, channels, kernel, kernel)), **geometry)

    def select(*channels):
        return SelectChannels(channels=np.array(channels))

    twice = np.repeat(np.eye(2, dtype=np.int64), 2, axis=0)
    return float_network_of(
        float_spiking("stem", (4, 4, 4), 3, np.array([0.5, 1, 2, 4])),
        float_spiking("slice", (3, 4, 4), 2),
        float_spiking("joined", (6, 4, 4), 5),
        float_connect("input", "stem", conv(2, 1, 3, padding=(1, 1)), conv(4, 2)),
        float_connect("stem", "slice", select(2, -1, 2), Scale(weight=np.array([1.0, 2, -1]))),
        float_connect(
            "stem",
            "joined",
            AveragePool(kernel=(2, 2), stride=(2, 2)),
            conv(2, 4),
            select(-1, 1, 0, 1, -1, -1),
            Resample(rows=twice, columns=twice),
            Scale(weight=np.arange(1.0, 7)),
        ),
        float_connect("slice", "joined", select(0, -1, -1, -1, 2, 1)),
        float_connect(
            "joined", "logits", Dense(weight=rng.normal(size=(3, 96))), Scale(weight=np.ones(3))
        ),
        image=(1, 4, 4),
        max_value=15,
        unit=1 / 8,
        classes=3,
    )


def test_merging_and_folding_keep_every_count():
    graph = maps_of_all_kinds()
    merged = merge_linear_maps(graph)
    pixels = np.random.default_rng(1).integers(0, 16, (8, 1, 4, 4))
    expected = run_float_snn(graph, pixels, with_counts=True)
    got = run_float_snn(merged, pixels, with_counts=True)
    np.testing.assert_allclose(got.logits, expected.logits, rtol=1e-12)
    for name, counts in expected.counts.items():
        np.testing.assert_array_equal(got.counts[name], counts)
        assert 0 < counts.mean() < graph[name].timesteps  # not all silent or saturated
    assert all(sum(isinstance(m, WeightedMap) for m in s.maps) <= 1 for s in merged.synapses)
    counts = {"input": pixels, **expected.counts}
    for before, folded in zip(graph.synapses, fold_source_scales(merged).synapses, strict=True):
        source = graph[before.source]
        unit = source.unit if before.source == "input" else source.threshold / source.timesteps
        number = torch.from_numpy(counts[before.source].astype(float))
        real = transmit(before.maps, number * torch.as_tensor(unit))
        np.testing.assert_allclose(transmit(folded.maps, number), real, rtol=1e-12, atol=1e-12)


def test_each_target_channel_gets_the_integers_of_its_own_row():
    """Rows that selections behind a weight move: the integer network still follows the float network."""
    graph = maps_of_all_kinds()
    network = lower_to_integers(graph, WIDTHS)
    pixels = np.random.default_rng(1).integers(0, 16, (8, 1, 4, 4))
    reference = run_float_snn(graph, pixels, with_counts=True)
    run = run_exact(network, pixels)
    for name, counts in run.counts.items():
        assert np.abs(counts - reference.counts[name]).max() <= 1
        assert (counts != reference.counts[name]).mean() < 0.03
    logits = run.logits * network["logits"].unit
    assert np.abs(logits - reference.logits).max() < 0.1 * np.ptp(reference.logits)


def test_maps_that_no_weight_replaces_are_refused_by_name():
    padded = Convolution(weight=np.ones((1, 1, 3, 3)), padding=(1, 1))
    graph = float_network_of(
        float_spiking("hidden", (1, 3, 3)),
        float_connect("input", "hidden", padded, padded),
        float_connect("hidden", "logits", float_dense(np.ones((1, 9)))),
        image=(1, 3, 3),
    )
    with pytest.raises(UnsupportedNetworkError) as refusal:
        lower_to_integers(graph, WIDTHS)
    assert str(refusal.value) == (
        "input -> hidden: conv 3x3 > conv 3x3: the zeros with which the second map pads its input have no "
        "place in one map; put a quantizer between them"
    )


def test_pool_divisors_fold_into_the_weight_on_either_side():
    maps = (AveragePool(kernel=(2, 2), stride=(2, 2)), Convolution(weight=np.ones((1, 1, 1, 1))))
    for order in (maps, maps[::-1]):
        graph = float_network_of(float_connect("input", "logits", *order), image=(1, 2, 2))
        network = lower_to_integers(graph, WIDTHS)
        logits = run_exact(network, np.ones((1, 1, 2, 2), np.int64)).logits
        assert logits * network["logits"].unit == pytest.approx(1.0)


def test_the_input_graph_stays_untouched():
    graph = two_neurons()
    before = graph.synapses[0].maps[0].weight.copy()
    lower_to_integers(graph, WIDTHS)
    assert np.array_equal(graph.synapses[0].maps[0].weight, before)


def test_float_passes_run_in_order_and_leave_the_model_alone():
    graph = two_neurons()
    hidden = next(p.name for p in graph.spiking)
    options = PassOptions(max_timesteps=1, alignment="replicate", alignments={hidden: "truncate"})
    chosen = chosen_graph(graph, options)
    assert chosen[hidden].timesteps == 1
    assert {s.alignment for s in chosen.incoming(hidden)} == {"truncate"}
    assert {s.alignment for s in chosen.synapses if s.target != hidden} == {"replicate"}
    assert {s.alignment for s in graph.synapses} == {"average"}
    assert chosen_graph(graph, PassOptions()) is graph


@pytest.mark.parametrize(
    ("name", "compile_it"),
    [
        ("cap_timesteps", lambda graph: chosen_graph(graph, PassOptions(max_timesteps=2))),
        ("fold_source_scales", lambda graph: lower_to_integers(graph, WIDTHS)),
    ],
)
def test_what_a_pass_makes_is_verified(monkeypatch, name, compile_it):
    def broken(graph, **options):
        populations = [
            replace(p, threshold=-p.threshold) if isinstance(p, SpikingPopulation) else p
            for p in graph.populations
        ]
        return LayerGraph.build(populations, graph.synapses)

    monkeypatch.setattr(pipeline, name, broken)
    with pytest.raises(UnsupportedNetworkError, match="threshold must be"):
        compile_it(two_neurons())
