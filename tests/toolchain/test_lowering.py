"""From float graph to integers: hand-computed integers, fidelity, bounds at the limit and past it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import (
    ONE,
    WIDTHS,
    connect,
    dense,
    float_connect,
    float_dense,
    float_network_of,
    float_spiking,
    network_of,
    spiking,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import integer_networks, random_pixels

from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.errors import IntegerWidthError, UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.networks.integer_network import verify_integer_widths
from toolchain.networks.integer_network.accumulator_bounds import potential_interval
from toolchain.networks.layer_graph import (
    LayerGraph,
    SpikingPopulation,
)
from toolchain.networks.linear_maps import AveragePool, Convolution
from toolchain.passes import PassOptions, chosen_graph, lower_to_integers, pipeline
from toolchain.passes.fold_source_scales import fold_source_scales
from toolchain.passes.quantize_to_integers import quantize_to_integers


def two_neurons(weight=0.5, bias=0.25, alignment="average"):
    """input -> hidden (T = 4, alpha = 2) -> readout, one neuron each."""
    return float_network_of(
        float_spiking("hidden", timesteps=4, threshold=2.0, bias=bias),
        float_connect("input", "hidden", float_dense([[weight]]), alignment=alignment),
        float_connect("hidden", "readout", float_dense([[-3.0]])),
        max_value=10,
        unit=0.1,
        readout="readout",
        bias=1.0,
    )


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


def channels_of_many_sizes(weights):
    """input -> one hidden channel a weight -> readout."""
    return float_network_of(
        float_spiking("hidden", (len(weights), 1, 1), timesteps=3, threshold=2.0),
        float_connect("input", "hidden", float_dense(weights[:, None])),
        float_connect("hidden", "logits", float_dense(weights[None])),
        max_value=10,
        unit=0.1,
    )


SIZES = np.geomspace(0.04, 1, 40)  # weights of 40 channels, one each


def lowered_sizes(most):
    """Weights, thresholds and exponent of the 40 channels on a target of so many thresholds."""
    graph = channels_of_many_sizes(SIZES)
    network = lower_to_integers(graph, replace(WIDTHS, distinct_thresholds=most))
    synapse = network.incoming("hidden")[0]
    integers = synapse.maps[0].weight.reshape(-1).astype(float)
    return integers, network["hidden"].threshold.reshape(-1), synapse.exponent


@pytest.mark.parametrize(
    ("most", "distinct"), [(1, 1), (2, 2), (7, 7), (39, 39), (40, 40), (None, 40)]
)
def test_channels_share_as_few_thresholds_as_the_target_has(most, distinct):
    _, thresholds, _ = lowered_sizes(most)
    assert len(np.unique(thresholds)) == distinct


@pytest.mark.parametrize("most", [1, 2, 7, 39, 40, None])
def test_shared_thresholds_keep_the_scale_of_every_channel(most):
    """W / Theta stays w / alpha to half a weight."""
    integers, thresholds, exponent = lowered_sizes(most)
    real = SIZES * 0.1 / 2
    scale = 2.0**exponent / thresholds
    assert (np.abs(integers * scale - real) <= scale * (0.5 + 1e-3 * integers)).all()


def test_channels_of_their_own_threshold_use_all_bits_of_a_weight():
    integers, _, _ = lowered_sizes(None)
    assert (integers == 127).all()


@pytest.mark.parametrize("most", [1, 2, 7, 39, 40])
def test_of_channels_with_one_threshold_the_largest_uses_the_bits(most):
    integers, _, _ = lowered_sizes(most)
    assert 115 <= integers.max() <= 127


def test_seven_thresholds_lose_less_than_a_seventh_of_the_bits_between_the_channels():
    integers, _, _ = lowered_sizes(7)
    assert np.log2(127 / integers).mean() < np.log2(SIZES.max() / SIZES.min()) / 7


def test_which_thresholds_go_together_by_hand():
    """1, 1.1 | 8, 9, 10 | 64: joining 10 to 9 to 8 and 1.1 to 1 costs the fewest bits."""
    weights = 1 / np.array([1, 1.1, 8, 9, 10, 30])
    graph = channels_of_many_sizes(weights)
    network = lower_to_integers(graph, replace(WIDTHS, distinct_thresholds=3))
    thresholds = network["hidden"].threshold.reshape(-1)
    assert thresholds / thresholds[0] == pytest.approx([1, 1, 8, 8, 8, 30], rel=1e-3)
    integers = network.incoming("hidden")[0].maps[0].weight.reshape(-1)
    assert integers.tolist() == [127, 115, 127, 113, 102, 127]


def test_thresholds_that_differ_within_a_channel_are_left_alone():
    """Its weights have one unit, so no choice of units makes its thresholds equal."""
    thresholds = np.arange(1.0, 9).reshape(2, 2, 2)
    graph = float_network_of(
        float_spiking("hidden", (2, 2, 2), timesteps=2, threshold=thresholds),
        float_connect("input", "hidden", Convolution(weight=np.ones((2, 1, 1, 1)))),
        float_connect("hidden", "logits", float_dense(np.ones((1, 8)))),
        image=(1, 2, 2),
    )
    lowered = [
        quantize_to_integers(graph, replace(WIDTHS, distinct_thresholds=most)) for most in (3, None)
    ]
    first, second = (network["hidden"].threshold for network in lowered)
    assert np.array_equal(first, second)
    assert len(np.unique(first)) == 8


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


def one_neuron(threshold, bias, weight=1, exponent=0, timesteps=1, start=0):
    return network_of(
        spiking("hidden", ONE, timesteps, threshold, start, bias),
        connect("input", "hidden", dense([[weight]]), exponent=exponent),
        connect("hidden", "logits", dense([[1]])),
    )


@settings(max_examples=200)
@given(integer_networks(alignments=("average", "replicate", "truncate")), st.integers(0, 2**32 - 1))
def test_no_logit_leaves_its_bound(network, seed):
    run = run_stepped(network, random_pixels(network, seed))
    bound = potential_interval(network, "logits")
    assert (run.logits >= bound.low).all()
    assert (run.logits <= bound.high).all()


@settings(max_examples=500)
@given(
    st.integers(1, 50),
    st.integers(-60, 60),
    st.integers(-127, 127),
    st.integers(1, 8),
    st.floats(0, 0.99),
)
def test_no_potential_leaves_its_bound(threshold, bias, weight, timesteps, start):
    network = one_neuron(threshold, bias, weight, timesteps=timesteps, start=int(start * threshold))
    bound = potential_interval(network, "hidden")
    for pixel in (0, 1):
        potential = int(start * threshold)
        for _ in range(timesteps):
            potential += weight * pixel + bias
            assert bound.low <= potential <= bound.high
            potential -= threshold * (potential >= threshold)


def test_the_state_bound_holds_at_the_limit_and_not_one_past_it():
    widths = replace(WIDTHS, threshold_shift=0, bias_mantissa_bits=26, bias_exponent_bits=0)
    # the highest potential is just below the threshold plus one current: (2^17 - 1) + A
    limit = 2**23 - 1 - (2**17 - 1) - 1
    verify_integer_widths(one_neuron(2**17 - 1, limit), widths)
    with pytest.raises(IntegerWidthError) as refusal:
        verify_integer_widths(one_neuron(2**17 - 1, limit + 1), widths)
    assert str(refusal.value) == (
        "hidden: accumulator bound 8,388,608 exceeds the 24-bit state (8,388,607); "
        "use fewer weight bits or fewer timesteps"
    )


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (one_neuron(65, 0), r"hidden: threshold 65 must be a multiple of 64 up to 8,388,544"),
        (
            one_neuron(64, 4097),
            r"hidden: bias up to 4,097 is not a 13-bit mantissa .* 3-bit exponent",
        ),
        (one_neuron(64, 0, weight=-128), r"weight 128 exceeds 8 bits \(127\)"),
        (one_neuron(64, 0, exponent=14), r"exponent 14 exceeds the target's 13"),
    ],
)
def test_what_a_target_cannot_hold_is_refused(network, message):
    with pytest.raises(IntegerWidthError, match=message):
        verify_integer_widths(network, WIDTHS)


def test_a_layer_that_fits_at_no_exponent_is_refused_by_name():
    graph = two_neurons()
    with pytest.raises(
        IntegerWidthError, match=r"^hidden: accumulator bound .* exceeds the 7-bit state"
    ):
        lower_to_integers(graph, replace(WIDTHS, state_bits=7))


def test_a_narrow_state_takes_weight_bits_before_it_refuses():
    """The largest weight is halved until the accumulator's bound fits the state."""
    largest = {}
    for state_bits in (24, 11, 10):
        network = lower_to_integers(two_neurons(), replace(WIDTHS, state_bits=state_bits))
        largest[state_bits] = int(np.abs(network.incoming("hidden")[0].maps[0].weight).max())
    assert largest[24] == 127
    assert 127 > largest[11] > largest[10] >= 7


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
