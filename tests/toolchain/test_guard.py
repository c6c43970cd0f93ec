"""The user's network is executed and compared with what was made of it: right, or refused, never wrong."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize, prune

from toolchain.errors import DataError, UnsupportedNetworkError
from toolchain.importers import torch_module
from toolchain.importers.torch_module import Normalization, convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.guard import compare_with_module, evaluation_copy
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import SlipRelu, TimestepQuantizer, quantizers
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import AveragePool, Convolution, with_weight
from toolchain.training import ann_logits

SHAPE = (1, 8, 8)
PIXELS = np.random.default_rng(5).integers(0, 17, (12, *SHAPE))


class Net(nn.Module):
    """Two convolutions on two paths that meet in ``join``, given as a function of (y, x)."""

    def __init__(self, join=torch.add):
        super().__init__()
        self.join = join
        self.a, self.b, self.c = (nn.Conv2d(n, 4, 3, padding=1) for n in (1, 4, 4))
        self.f = nn.Linear(256, 5)

    def forward(self, x):
        x = F.relu(self.a(x))
        y = self.c(F.relu(self.b(x)))
        return self.f(F.relu(self.join(y, x)).flatten(1))


def float_logits(network, pixels=PIXELS):
    """The network as it is, in float64 and evaluation mode."""
    return ann_logits(network, pixels, 16)


def equal_or_refused(network):
    """Quantize and convert through the public interface.

    A conversion that succeeds computes what the quantized network does, and with very many levels what the
    user's own network does. Returns the refusal, or None.
    """

    def fine():
        return TimestepQuantizer(4096, max_timesteps=4096, threshold=8.0)

    try:
        module = quantize_activations(network, fine)
        graph = convert(module, SHAPE, 16)
    except UnsupportedNetworkError as refusal:
        return str(refusal)
    assert np.allclose(float_logits(module), float_logits(network), atol=0.02)
    coarse = quantize_activations(network, TimestepQuantizer)
    graph = convert(coarse, SHAPE, 16)
    assert np.allclose(float_logits(coarse), run_float_snn(graph, PIXELS).logits, rtol=0, atol=1e-9)
    return None


def statement(operation):
    """An operation whose result is not used: only its effect on ``y`` is."""

    def join(y, x):
        operation(y, x)
        return y

    return join


def aliased(y, x):
    z = y
    y += x
    return z


RIGHT = {
    "in place": lambda y, x: y.add_(x),
    "in place, as a statement": statement(lambda y, x: y.add_(x)),
    "in place, by another name": lambda y, x: (z := y, y.add_(x), z)[2],
    "into the source": lambda y, x: (x.add_(y), x)[1],
    "alpha": lambda y, x: torch.add(y, x, alpha=0.25),
    "negative alpha": lambda y, x: torch.add(y, x, alpha=-1),
    "alpha of a method": lambda y, x: y.add(x, alpha=2),
    "alpha in place": statement(lambda y, x: y.add_(x, alpha=0.5)),
    "other": lambda y, x: torch.add(y, other=x),
    "other, with alpha": lambda y, x: y.add(other=x, alpha=3),
    "dropout off": lambda y, x: F.dropout(y + x, 0.5, training=False),
    "dropout off by position": lambda y, x: F.dropout(y + x, 0.5, False),
    "pool by keyword": lambda y, x: (
        F.interpolate(y + x, scale_factor=1)
        if False
        else F.avg_pool2d(y + x, kernel_size=3, stride=1, padding=1)
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_joins_as_people_write_them_are_converted(name):
    torch.manual_seed(0)
    assert equal_or_refused(Net(RIGHT[name])) is None


REFUSED = {
    "in place by +=, by another name": aliased,
    "to its data": statement(lambda y, x: y.data.add_(x)),
    "to a detached alias": statement(lambda y, x: y.detach().add_(x)),
    "to a view": statement(lambda y, x: y.view(-1).add_(x.view(-1))),
    "to a slice": statement(lambda y, x: y[:, 0].add_(x[:, 0])),
    "by assignment to a slice": statement(lambda y, x: y.__setitem__(slice(None), x)),
    "into an output": lambda y, x: torch.add(y, x, out=torch.empty_like(y)),
    "of a number": statement(lambda y, x: y.add_(1.0)),
    "multiplied in place": statement(lambda y, x: y.mul_(0.5)),
    "zeroed": statement(lambda y, x: y.zero_()),
    "relu as a statement": statement(lambda y, x: F.relu_(y)),
    "relu by keyword": statement(lambda y, x: F.relu(y, inplace=True)),
    "dropout always on": lambda y, x: F.dropout(y + x, 0.5),
    "noise": lambda y, x: y + x + torch.rand(y.shape if isinstance(y, torch.Tensor) else 1),
    "divisor": lambda y, x: F.avg_pool2d(y + x, 3, 1, 1, divisor_override=2),
    "pool without its padding": lambda y, x: F.avg_pool2d(y + x, 3, 1, 1, count_include_pad=False),
    "pool of a keyword input": lambda y, x: F.avg_pool2d(input=y + x, kernel_size=1),
    "flip": lambda y, x: torch.flip(y, (2,)) + x,
    "mean over channels": lambda y, x: y + x.mean(1, keepdim=True),
    "of other samples": lambda y, x: y + x.roll(1, 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_joins_that_are_no_residual_join_are_refused(name):
    torch.manual_seed(0)
    assert equal_or_refused(Net(REFUSED[name])) is not None


class TrainingBranch(Net):
    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(256, 5)

    def forward(self, x):
        x = F.relu(self.a(x)).flatten(1)
        return self.aux(x) if self.training else self.f(x)


def test_a_branch_on_training_is_refused_before_it_is_trained():
    with pytest.raises(UnsupportedNetworkError) as refusal:
        quantize_activations(TrainingBranch(), TimestepQuantizer)
    assert str(refusal.value) == (
        "TrainingBranch computes something else in training than in evaluation, from 'f' on; quantize a "
        "network whose forward does not depend on self.training (nn.Dropout and batch norm may)"
    )


def test_a_branch_on_training_of_a_quantized_network_is_converted_as_in_evaluation():
    torch.manual_seed(0)

    class Branching(TrainingBranch):
        def __init__(self):
            super().__init__()
            self.q = TimestepQuantizer()

        def forward(self, x):
            x = self.q(self.a(x)).flatten(1)
            return self.aux(x) if self.training else self.f(x)

    network = Branching().train()
    graph = convert(network, SHAPE, 16)
    assert network.training
    assert np.allclose(run_float_snn(graph, PIXELS).logits, float_logits(network), atol=1e-9)


def test_functional_dropout_drops_in_training_alone():
    class Dropping(Net):
        def forward(self, x):
            x = F.dropout2d(F.relu(self.a(x)), 0.9, self.training)
            return self.f(F.dropout(x.flatten(1), p=0.9, training=self.training))

    torch.manual_seed(0)
    network = Dropping()
    assert equal_or_refused(network) is None
    module = quantize_activations(network, lambda: TimestepQuantizer(threshold=0.1))
    x = torch.rand(1, *SHAPE)
    assert module.training
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


class Sloped(nn.Module):
    def forward(self, weight):
        return weight * 2


def hooked(network):
    network.c.register_forward_hook(lambda module, inputs, output: output * 3)


def pre_hooked(network):
    network.c.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 3,))


def hooked_whole(network):
    network.register_forward_hook(lambda module, inputs, output: output * 3)


def patched(network):
    convolution = network.c.forward
    network.c.forward = lambda x: convolution(x) * 2


def subclassed(network):
    class Doubling(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    Doubling.__module__ = "torch.nn.modules.conv"  # a leaf of tracing
    network.c.__class__ = Doubling


def wrong_batch_norm(network):
    """Normalizes by the batch in evaluation, too: samples depend on each other."""
    network.join = nn.BatchNorm2d(4, track_running_stats=False)
    network.forward = lambda x: network.f(F.relu(network.join(network.a(x))).flatten(1))


@pytest.mark.parametrize(
    "change", [hooked, pre_hooked, hooked_whole, patched, subclassed, wrong_batch_norm]
)
def test_what_a_trace_does_not_show_is_refused(change):
    torch.manual_seed(0)
    network = Net()
    change(network)
    assert equal_or_refused(network) is not None


def test_parametrized_and_shared_weights_are_converted():
    torch.manual_seed(0)
    network = Net()
    parametrize.register_parametrization(network.c, "weight", Sloped())
    assert equal_or_refused(network) is None
    network = Net()
    network.c.weight = network.b.weight
    assert equal_or_refused(network) is None


def test_a_pruned_network_is_refused_until_it_is_made_permanent():
    network = Net()
    prune.random_unstructured(network.c, "weight", 0.5)
    refusal = equal_or_refused(network)
    assert refusal.startswith("Net cannot be copied (")
    assert "make pruning permanent with prune.remove" in refusal
    prune.remove(network.c, "weight")
    assert equal_or_refused(network) is None


def test_a_quantized_network_can_be_written_whatever_it_was_made_of():
    class Local(Net):
        pass

    torch.manual_seed(0)
    module = quantize_activations(Local(), TimestepQuantizer)
    again = pickle.loads(pickle.dumps(module))
    pairs = zip(
        convert(module, SHAPE, 16).synapses, convert(again, SHAPE, 16).synapses, strict=True
    )
    assert all(str(ours) == str(theirs) for ours, theirs in pairs)


def test_a_forward_that_fails_is_refused_by_what_it_said():
    class Failing(Net):
        def forward(self, x):
            return {}["no such key"]

    assert equal_or_refused(Failing()).startswith("Failing cannot be traced: 'no such key'")


def test_settings_that_evaluation_changes_are_those_of_evaluation():
    class Switching(Net):
        def train(self, mode=True):
            self.c.stride = 1 if mode else 2
            return super().train(mode)

        def forward(self, x):
            return self.f(F.relu(self.c(F.relu(self.a(x)))).flatten(1))

    torch.manual_seed(0)
    network = Switching()
    network.f = nn.Linear(64, 5)
    assert equal_or_refused(network) is None


def test_state_that_grows_with_each_call_is_refused():
    class Counting(Net):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) if self.calls == 1 else super().forward(x).mul(0.5)

    assert "gives other logits for the same sample in another batch" in equal_or_refused(Counting())

    class Sometimes(Net):
        def __init__(self):
            super().__init__()
            self.q, self.calls = TimestepQuantizer(), 0

        def forward(self, x):
            self.calls += 1
            x = self.f(self.q(self.a(x)).flatten(1))
            return (
                x + x if self.calls == 5 else x
            )  # tried in call 1, traced in 2, compared in 3 and 4

    with pytest.raises(UnsupportedNetworkError, match="gives other logits for the same sample in"):
        convert(Sometimes(), SHAPE, 16)


def test_names_of_new_quantizers_never_replace_what_the_network_has():
    class Named(Net):
        def __init__(self):
            super().__init__()
            self.act, self.act_1, self.relu = nn.ReLU(), self.b, nn.Sequential(self.c)
            del self.b, self.c

        def forward(self, x):
            x = self.act(self.act_1(self.act(self.a(x))))
            return self.f(F.relu(self.relu(x)).flatten(1))

    torch.manual_seed(0)
    network = Named()
    assert equal_or_refused(network) is None
    assert list(quantizers(quantize_activations(network, TimestepQuantizer))) == [
        "act", "act_2", "relu_1",
    ]  # fmt: skip


def test_what_is_changed_after_quantization_is_the_users_own():
    torch.manual_seed(0)
    module = quantize_activations(Net(), TimestepQuantizer)
    module.f = nn.Linear(256, 7)
    module.a.register_forward_hook(lambda *_: None)
    assert convert(module, SHAPE, 16)["readout"].shape == (7, 1, 1)

    def shift(network, images, logits):
        logits += 1

    module.register_forward_hook(shift)
    with pytest.raises(
        UnsupportedNetworkError, match=r"^readout: the converted network has other logits"
    ):
        convert(module, SHAPE, 16)


def test_a_difference_is_found_by_the_first_input_and_by_each_after_it():
    torch.manual_seed(0)
    module = quantize_activations(Net(aliased), TimestepQuantizer)
    for _ in range(2):
        with pytest.raises(UnsupportedNetworkError) as refusal:
            module(torch.rand(1, *SHAPE))
        assert str(refusal.value).startswith(
            "Net computes something else in front of or in module 'f' as soon as its activations are modules"
        )


@pytest.fixture
def judge():
    torch.manual_seed(0)
    return evaluation_copy(quantize_activations(Net(), TimestepQuantizer))


def changed(graph, name, **fields):
    populations = [
        replace(p, **{f: change(getattr(p, f)) for f, change in fields.items()})
        if p.name == name
        else p
        for p in graph.populations
    ]
    return LayerGraph.build(populations, graph.synapses)


def drop_a_term(graph):
    synapses = [s for s in graph.synapses if (s.source, s.target) != ("relu", "relu_2")]
    return LayerGraph.build(graph.populations, synapses)


def scale_a_weight(graph):
    (synapse,) = graph.incoming("relu_1")
    (convolution,) = synapse.maps
    weight = convolution.weight.copy()
    weight[0, 0, 0, 0] *= 1 + 1e-5
    wrong = replace(synapse, maps=(with_weight(convolution, weight),))
    return LayerGraph.build(
        graph.populations, [wrong if s is synapse else s for s in graph.synapses]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_a_term, "relu_2: the converted network has another input than the network itself: "),
        (scale_a_weight, "relu_1: the converted network has another input than the network itself"),
        (
            lambda g: changed(g, "relu", bias=lambda b: b + 1e-6),
            "relu: the converted network has another input than the network itself: 1e-06 at most",
        ),
        (
            lambda g: changed(g, "readout", bias=lambda b: b + 1e-6),
            "readout: the converted network has other logits than the network itself: 1e-06 at most",
        ),
        (
            lambda g: changed(g, "relu_1", initial_potential=lambda v: v * 1.2),
            "relu_1: the converted population fires ",
        ),
        (
            lambda g: changed(g, "relu_1", timesteps=lambda t: t + 1),
            "relu_1: TimestepQuantizer gives",
        ),
        (
            lambda g: changed(g, "relu_1", threshold=lambda t: t * 1.01),
            "relu_1: TimestepQuantizer gives",
        ),
    ],
)
def test_a_wrong_conversion_is_refused_at_its_first_population(judge, monkeypatch, change, message):
    right = torch_module._Converter.convert
    monkeypatch.setattr(
        torch_module._Converter, "convert", lambda self, traced: change(right(self, traced))
    )
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(judge, SHAPE, 16)
    assert str(refusal.value).startswith(message)


def test_a_count_that_is_off_by_one_is_no_tie(judge):
    graph = convert(judge, SHAPE, 16)
    quantizer = judge.get_submodule("relu_1")
    right = quantizer.forward
    step = float(quantizer.threshold.detach()) / float(quantizer.timesteps.detach())

    def off_by_one(x):
        counts = right(x)
        counts[-1, 2, 3, 4] += step
        return counts

    quantizer.forward = off_by_one
    with pytest.raises(
        UnsupportedNetworkError, match=r"^relu_1: the converted population fires \d"
    ):
        compare_with_module(judge, graph)


def test_a_quantizer_that_rounds_ties_down_differs_at_ties_alone_and_they_are_counted():
    class HalfDown(TimestepQuantizer):
        def forward(self, x):
            step, levels = self.step_and_levels()
            return torch.ceil(x / step - 0.5).clamp(0, float(levels)) * step

    network = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), HalfDown(4, threshold=1.0), nn.Flatten()
    )
    network.append(nn.Linear(64, 2))
    nn.init.constant_(network[0].weight, 2.0)  # pixel 1 of 16 is 1/8, half a step
    with pytest.warns(UserWarning, match=r"^\d+ of 640 spike counts lie on a rounding boundary"):
        graph = convert(network, SHAPE, 16)
    agreement = compare_with_module(evaluation_copy(network), graph)
    at_ties = (agreement.num_samples, agreement.num_counts, agreement.num_ties > 0)
    assert at_ties == (8, 640, True)


def test_an_activation_between_its_levels_is_refused():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), SlipRelu(4), nn.Flatten(), nn.Linear(144, 5))
    with pytest.raises(
        UnsupportedNetworkError, match=r"^1: SlipRelu gives values that are no multiple"
    ):
        convert(network, SHAPE, 16)


def test_a_quantizer_that_is_used_twice_is_refused():
    class Twice(Net):
        def __init__(self):
            super().__init__()
            self.q = TimestepQuantizer()

        def forward(self, x):
            return self.f(self.q(self.b(self.q(self.a(x)))).flatten(1))

    with pytest.raises(UnsupportedNetworkError, match="two populations are named 'q'"):
        convert(Twice(), SHAPE, 16)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (3, 8, 8),
            "GraphModule fails on an input of shape (1, 3, 8, 8) in float64 and evaluation mode",
        ),
        (
            (1, 9, 8),
            "GraphModule fails on an input of shape (1, 1, 9, 8) in float64 and evaluation mode",
        ),
    ],
)
def test_another_input_shape_is_refused(shape, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(quantize_activations(Net(), TimestepQuantizer), shape, 16)
    assert message.removeprefix("GraphModule") in str(refusal.value)


def test_normalization_and_samples_are_part_of_the_comparison(judge, monkeypatch):
    normalization = Normalization(mean=(0.4,), std=(0.3,))
    convert(judge, SHAPE, 16, normalization, samples=PIXELS)
    with pytest.raises(
        DataError, match=r"^samples have shape \(3, 8, 8\), but the network's input is"
    ):
        convert(judge, SHAPE, 16, samples=np.zeros((4, 3, 8, 8), int))
    monkeypatch.setattr(torch_module._Converter, "_input", _without_mean)
    with pytest.raises(
        UnsupportedNetworkError, match=r"^relu: the converted network has another input"
    ):
        convert(judge, SHAPE, 16, normalization)


def _without_mean(converter):
    value = torch_module.LinearExpression.of_population("input", SHAPE)
    return value.scaled(1 / np.array(converter.normalization.std))


def test_the_module_and_the_random_state_stay_as_they_are():
    module = quantize_activations(Net(), TimestepQuantizer)
    state = torch.random.get_rng_state()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    graph = convert(module, SHAPE, 16)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[n], t) for n, t in module.state_dict().items())
    assert all(t.dtype == torch.float32 for t in module.state_dict().values())
    assert module.training
    assert [p.name for p in graph.spiking] == [
        "relu", "relu_1", "relu_2",
    ]  # fmt: skip
    kinds = {type(m) for s in graph.synapses for m in s.maps}
    assert Convolution in kinds
    assert AveragePool not in kinds


class InPlaceOnTheIdentity(nn.Module):
    """No biases: on an input of zeros, all that it computes is zero."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.b = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(256, 5, bias=False)

    def forward(self, x):
        x = self.a(x)
        y = self.b(F.relu(x, inplace=True))
        return self.head(F.relu(y + x).flatten(1))


def test_a_first_input_of_zeros_hides_no_difference():
    """Conversion executes a network on zeros first, and users try shapes with them."""
    quantized = quantize_activations(InPlaceOnTheIdentity(), TimestepQuantizer)
    with pytest.raises(UnsupportedNetworkError, match="computes something else in front of"):
        convert(quantized, (1, 8, 8), 16)
    with pytest.raises(UnsupportedNetworkError, match="computes something else in front of"):
        quantized(torch.zeros(1, 1, 8, 8))


def test_a_hook_that_replaces_values_on_rare_samples_alone_is_refused():
    """No sample that the comparison tries reaches 100, so that execution shows no difference."""
    network = Net()
    network.c.register_forward_hook(lambda module, inputs, output: output.clamp(max=100.0))
    module = quantize_activations(network, TimestepQuantizer)
    with pytest.raises(UnsupportedNetworkError, match=r"^c: a forward hook replaces its values"):
        convert(module, SHAPE, 16)
