"""From float graph to integers: hand-computed integers, fidelity, and a verifier between passes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import WIDTHS, float_connect, float_dense, float_network_of
from small_networks import two_neurons

from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.networks.layer_graph import (
    LayerGraph,
    SpikingPopulation,
)
from toolchain.networks.linear_maps import AveragePool, Convolution
from toolchain.passes import PassOptions, chosen_graph, lower_to_integers, pipeline
from toolchain.passes.fold_source_scales import fold_source_scales


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


def test_two_weighted_maps_in_one_synapse_are_refused():
    graph = two_neurons()
    double = replace(graph.synapses[0], maps=(float_dense(np.eye(1)),) * 2)
    graph = LayerGraph.build(graph.populations, [double, *graph.synapses[1:]])
    with pytest.raises(UnsupportedNetworkError, match="two weighted maps follow each other"):
        lower_to_integers(graph, WIDTHS)


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
