"""An integer network as a layer graph: the same spikes, and the same integers when it is lowered again."""

from dataclasses import replace

import numpy as np
import pytest
from builders import WIDTHS, connect, dense, network_of, spiking
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_modules import random_module
from strategies import integer_networks, random_pixels

from sim.stepped import run_stepped
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.integer_network.serialize import describe_network
from toolchain.networks.layer_graph import verify_layer_graph
from toolchain.passes import PassOptions, chosen_graph, lower_to_integers
from toolchain.passes.integers_as_graph import integers_as_graph
from toolchain.passes.trained_integers import uses_trained_integers

WIDE = replace(
    WIDTHS, state_bits=62, threshold_shift=0, threshold_mantissa_bits=32, distinct_thresholds=None,
    bias_mantissa_bits=32, max_exponent=30,
)  # fmt: skip


def assert_same(network, other):
    (document, arrays), (found_document, found) = map(describe_network, (network, other))
    assert document == found_document
    for name, array in arrays.items():
        assert np.array_equal(np.broadcast_to(found[name], array.shape), array), name


def _as_graph(network):
    try:
        return verify_layer_graph(integers_as_graph(network))
    except UnsupportedNetworkError:
        assume(False)


@settings(max_examples=30)
@given(network=integer_networks(), seed=st.integers(0, 2**16))
def test_the_float_network_spikes_as_the_integers(network, seed):
    graph = _as_graph(network)
    pixels = random_pixels(network, seed)
    stepped = run_stepped(network, pixels)
    floats = run_float_snn(graph, pixels, with_counts=True)
    for name, counts in floats.counts.items():
        assert np.array_equal(counts, stepped.counts[name]), name
    assert floats.logits == pytest.approx(stepped.logits * network.readout.unit, rel=1e-9, abs=1e-9)


@settings(max_examples=30)
@given(
    network=integer_networks(alignments=("average", "replicate", "truncate")),
    seed=st.integers(0, 2**16),
)
def test_the_same_integers_come_back(network, seed):
    """Lowering merges maps first; what it made once, it makes again."""
    once = lower_to_integers(_as_graph(network), WIDE)
    names = [p.name for p in network.populations[1:]]
    assume(
        uses_trained_integers(_as_graph(network), once) == names
    )  # merged weights can be too large
    pixels = random_pixels(network, seed)
    expected, found = run_stepped(network, pixels), run_stepped(once, pixels)
    assert np.array_equal(expected.logits, found.logits)
    for name, counts in expected.counts.items():
        assert np.array_equal(counts, found.counts[name]), name
    graph = _as_graph(once)
    again = lower_to_integers(graph, WIDE)
    assert uses_trained_integers(graph, again) == names
    assert_same(once, again)


@pytest.mark.filterwarnings("ignore:the network ends in")
@pytest.mark.parametrize("bits", [8, 3])
@pytest.mark.parametrize("seed", range(6))
def test_integers_of_random_modules_come_back(seed, bits):
    widths = replace(WIDTHS, weight_bits=bits, distinct_thresholds=7)
    module, shape = random_module(seed, own_quantizers=True)
    try:
        network = lower_to_integers(convert(module, shape, 255), widths)
    except UnsupportedNetworkError as refusal:  # some random modules do not use a layer
        pytest.skip(str(refusal))
    graph = verify_layer_graph(integers_as_graph(network))
    again = lower_to_integers(graph, widths)
    assert_same(network, again)
    assert uses_trained_integers(graph, again) == [p.name for p in network.populations[1:]]


def _one_neuron():
    """Theta = 128, T = 2: one integer is worth 2 / 128; W = 3 with exponent 1, B = 5, V0 = 64."""
    return network_of(
        spiking("hidden", timesteps=2, threshold=128, initial=64, bias=5),
        connect("input", "hidden", dense([[3]]), exponent=1),
        connect("hidden", "logits", dense([[-7]])),
    )


def test_a_network_in_real_numbers_by_hand():
    graph = integers_as_graph(_one_neuron())
    hidden, logits = graph["hidden"], graph.readout
    assert (hidden.threshold.item(), hidden.integer_unit.item()) == (2, 2 / 128)
    assert hidden.initial_potential.item() == 64.5 / 128 * 2
    assert hidden.bias.item() == 5 * 2 / 128
    assert graph.incoming("hidden")[0].maps[0].weight.item() == 3 * 2 * (2 / 128)
    assert graph.incoming("logits")[0].maps[0].weight.item() == -7 * logits.integer_unit.item()


@pytest.mark.parametrize(
    "change",
    [
        {"weight_bits": 2},  # 3 needs 3 bits
        {"threshold_shift": 8, "threshold_mantissa_bits": 8},  # 128 is no multiple of 256
        {"bias_mantissa_bits": 3, "bias_exponent_bits": 3},  # 5 is no multiple of 2
        {"state_bits": 8},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_target_chooses_its_own_integers(change):
    graph, widths = integers_as_graph(_one_neuron()), replace(WIDE, **change)
    assert "hidden" in uses_trained_integers(graph, lower_to_integers(graph, WIDE))
    assert "hidden" not in uses_trained_integers(graph, lower_to_integers(graph, widths))


def test_another_T_chooses_other_integers():
    """With another T a spike of the hidden neuron is worth another real value."""
    graph = chosen_graph(integers_as_graph(_one_neuron()), PassOptions(timesteps={"hidden": 3}))
    network = lower_to_integers(graph, WIDE)
    assert "logits" not in uses_trained_integers(graph, network)


@pytest.mark.parametrize("factor", [1e12, 2.0, 1.001, 1e-12])
def test_a_wrong_unit_is_not_believed(factor):
    graph = integers_as_graph(_one_neuron())
    wrong = graph.with_spiking(lambda p: replace(p, integer_unit=p.integer_unit * factor))
    network = lower_to_integers(wrong, WIDTHS)
    assert "hidden" not in uses_trained_integers(wrong, network)
    pixels = np.arange(2).reshape(-1, 1, 1, 1)
    expected, found = run_stepped(_one_neuron(), pixels), run_stepped(network, pixels)
    assert np.array_equal(expected.counts["hidden"], found.counts["hidden"])


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ({"threshold": np.array([[[2, 3]]]), "shape": (1, 1, 2)}, "thresholds that differ within"),
        ({"initial": 128}, "V0 must be from 0 to below the threshold, not 128 to 128"),
    ],
)
def test_networks_without_a_graph_are_refused(hidden, message):
    network = network_of(
        spiking("hidden", **{"threshold": 128, **hidden}),
        connect("input", "hidden", dense([[3]] * np.prod(hidden.get("shape", 1)))),
        connect("hidden", "logits", dense([[1] * np.prod(hidden.get("shape", 1))])),
    )
    with pytest.raises(UnsupportedNetworkError, match=f"hidden: {message}"):
        integers_as_graph(network)
