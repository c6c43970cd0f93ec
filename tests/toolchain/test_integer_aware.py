"""Training with integers in the forward pass: what is trained is what the engines compute."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import WIDTHS, connect, dense, network_of, spiking
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import integer_networks, random_pixels

from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.datasets import load_dataset
from toolchain.errors import IntegerWidthError, UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.networks.integer_network import verify_integer_widths
from toolchain.passes import lower_to_integers
from toolchain.passes.coarser_integers import within_bounds
from toolchain.passes.integers_as_graph import integers_as_graph
from toolchain.training import TrainingPlan, ann_logits, train
from toolchain.training.integer_aware import FloatNetwork, IntegerAwareNetwork, relative_adam

WIDE = replace(
    WIDTHS,
    state_bits=62,
    threshold_shift=0,
    threshold_mantissa_bits=32,
    bias_mantissa_bits=32,
    max_exponent=30,
)


def one_neuron(**changes):
    """Theta = 128, T = 2, V0 = 64: a count needs an accumulator of 32 for 1 and of 96 for 2."""
    hidden = {"timesteps": 2, "threshold": 128, "initial": 64, "bias": 5, **changes}
    return network_of(
        spiking("hidden", **hidden),
        connect("input", "hidden", dense([[3]]), exponent=1),
        connect("hidden", "logits", dense([[-7]])),
        max_value=16,
    )


def aware(network, widths=WIDE):
    try:
        return IntegerAwareNetwork(network, widths)
    except UnsupportedNetworkError:
        assume(False)


@settings(max_examples=40)
@given(network=integer_networks(), seed=st.integers(0, 2**16), noise=st.sampled_from([0, 1]))
def test_the_module_computes_the_integers_wherever_training_leads(network, seed, noise):
    module = aware(network)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += noise * torch.randn_like(parameter)
    pixels = random_pixels(network, seed)
    expected = run_stepped(module.present_integers(), pixels)
    logits = ann_logits(module, pixels, network.input.max_value).reshape(len(pixels), -1)
    assert np.array_equal(logits, expected.logits * module.network.readout.unit)
    if not noise:
        assert np.array_equal(expected.logits, run_stepped(network, pixels).logits)


def test_gradients_by_hand():
    """One image of 10: A = 6 * 10 + 5 = 65, the count is floor((64 + 2 * 65) / 128) = 1, the logit -7."""
    module = IntegerAwareNetwork(one_neuron(), WIDE)
    logit = module(torch.full((1, 1, 1, 1), 10 / 16)).squeeze()
    assert logit.item() == -7
    logit.backward()
    into_hidden, into_logits = module.weights
    hidden, logits = module.biases
    unit = 2 / 128  # counts per integer of the accumulator
    assert into_logits.grad.item() == 1  # the count
    assert logits.grad.item() == 1
    assert hidden.grad.item() == pytest.approx(-7 * unit)
    assert into_hidden.grad.item() == pytest.approx(-7 * unit * 2 * 10)
    # the current in counts, 65 T / Theta, falls by itself as log(Theta) rises by 1
    assert module.levels[0].grad.item() == pytest.approx(-7 * -65 * unit)
    assert module.levels[1].grad is None  # a readout has no threshold


def test_no_gradient_where_the_neuron_is_silent_or_saturated():
    module = IntegerAwareNetwork(one_neuron(), WIDE)
    for pixel in (0, 16):  # A = 5 is a current of 0.08 counts, A = 101 one of 1.6
        assert 0 < (6 * pixel + 5) * 2 / 128 < 2
    for bias in (-200, 200):
        with torch.no_grad():
            module.biases[0].fill_(bias)
        module.zero_grad()
        module(torch.full((1, 1, 1, 1), 10 / 16)).sum().backward()
        assert module.biases[0].grad.item() == 0


def test_weights_beyond_the_bits_are_clipped():
    module = IntegerAwareNetwork(one_neuron(), replace(WIDE, weight_bits=3))
    with torch.no_grad():
        module.weights[0].fill_(99)
    synapse = module.integer_network().incoming("hidden")[0]
    assert synapse.weighted.weight.item() == 3


def test_channels_that_share_a_threshold_keep_sharing_it():
    network = network_of(
        spiking("hidden", (3, 1, 1), threshold=[128, 256, 128], initial=[64, 128, 64]),
        connect("input", "hidden", dense([[3], [4], [5]])),
        connect("hidden", "logits", dense([[1, 1, 1]])),
    )
    module = IntegerAwareNetwork(network, replace(WIDE, threshold_shift=6))
    with torch.no_grad():
        module.levels[0].copy_(torch.tensor([0.3, 0.6]))
    threshold = module.integer_network()["hidden"].threshold.reshape(-1)
    # 128 e^0.3 = 172.8 and 256 e^0.6 = 466.5, as multiples of 64
    assert threshold.tolist() == [192, 448, 192]


def test_a_maximum_is_not_trained():
    torch.manual_seed(0)
    ann = build_model("lenet", (1, 8, 8), 10, 0.2)
    module = quantize_activations(ann, lambda: TimestepQuantizer(3), max_pool="exact")
    network = lower_to_integers(convert(module, (1, 8, 8), 16), WIDTHS)
    trained = IntegerAwareNetwork(network, WIDTHS)
    relative_adam(trained, TrainingPlan(learning_rate=0.1))
    names = {s.shared.target: n for n, s in enumerate(trained.synapses)}
    maxima = [p.name for p in network.spiking if p.role == "maximum"]
    assert maxima
    for name in maxima:
        assert not trained.weights[names[name]].requires_grad
        assert not trained.biases[trained.number[name]].requires_grad
    pixels = np.random.default_rng(0).integers(0, 17, (2, 1, 8, 8))
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter += 2 * torch.randn_like(parameter)
    moved = trained.integer_network()
    again = lower_to_integers(integers_as_graph(moved), WIDTHS)
    assert np.array_equal(run_exact(again, pixels).logits, run_stepped(moved, pixels).logits)


def test_weights_that_grow_beyond_the_state_are_halved():
    """8-bit weights of 100 on 16 pixel steps and T = 2 need 2 * 1,600 * 2 + 64: more than 12 bits."""
    network = network_of(
        spiking("hidden", timesteps=2, threshold=128, initial=64),
        connect("input", "hidden", dense([[100]]), exponent=1),
        connect("hidden", "logits", dense([[1]])),
        max_value=16,
    )
    narrow = replace(WIDE, state_bits=12)
    with pytest.raises(IntegerWidthError, match="accumulator bound"):
        verify_integer_widths(network, narrow)
    fitted = within_bounds(network, narrow)
    (synapse,) = fitted.incoming("hidden")
    assert (synapse.exponent, synapse.weighted.weight.item()) == (0, 50)
    assert fitted["hidden"].threshold.item() == 32
    assert fitted["hidden"].initial_potential.item() == 16
    pixels = np.arange(17).reshape(-1, 1, 1, 1)
    assert np.array_equal(run_stepped(network, pixels).logits, run_stepped(fitted, pixels).logits)
    assert within_bounds(fitted, narrow) is fitted


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            network_of(
                spiking("hidden"),
                connect("input", "hidden", dense([[1]])),
                connect("hidden", "logits", dense([[1]]), alignment="truncate"),
            ),
            "needs average alignment",
        ),
        (
            one_neuron(shape=(1, 1, 2), threshold=np.array([[[2, 3]]]), initial=1),
            "within a channel",
        ),
    ],
)
def test_networks_without_a_closed_form_are_refused(network, message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        IntegerAwareNetwork(network, WIDE)


@pytest.fixture(scope="module")
def start():
    """An untrained network on digits, and the widths of 2-bit integers."""
    digits = load_dataset("digits")
    torch.manual_seed(0)
    ann = build_model("resnet-mini", digits.input_shape, digits.num_classes, 0.5)
    module = quantize_activations(ann, lambda: TimestepQuantizer(3), max_pool="average")
    train(module, digits, TrainingPlan(epochs=4, budget=None))
    graph = convert(module, digits.input_shape, digits.max_value)
    return digits, graph, replace(WIDTHS, weight_bits=2, distinct_thresholds=3)


def test_training_regains_what_rounding_lost(start):
    digits, graph, widths = start
    network = lower_to_integers(graph, widths)
    module = IntegerAwareNetwork(network, widths)
    plan = TrainingPlan(epochs=2, learning_rate=0.005, budget=None, distillation=0.5)
    train(module, digits, plan, teacher=FloatNetwork(graph), make_optimizer=relative_adam)
    trained = module.integer_network()
    before, after = (
        (run_exact(n, digits.test_pixels).predictions == digits.test_labels).mean()
        for n in (network, trained)
    )
    assert after > before + 0.1
    verify_integer_widths(trained, widths)
    assert all(len(np.unique(p.threshold)) <= 3 for p in trained.spiking)


def test_the_teacher_is_the_float_network(start):
    digits, graph, _ = start
    images = torch.from_numpy(digits.test_pixels[:50] / digits.max_value).float()
    expected = ann_logits(FloatNetwork(graph).double(), digits.test_pixels[:50], digits.max_value)
    assert FloatNetwork(graph)(images).numpy() == pytest.approx(expected, abs=1e-3)
