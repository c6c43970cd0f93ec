"""The layer graph is compared with the executed network: each kind of difference is found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from guarded_networks import PIXELS, SHAPE, Net
from torch import nn

from toolchain.errors import DataError, UnsupportedNetworkError
from toolchain.importers import torch_module
from toolchain.importers.torch_module import Normalization, convert
from toolchain.method.graph_comparison import compare_with_module
from toolchain.method.guard import evaluation_copy
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizer_calls import QuantizerCall
from toolchain.method.quantizers import SlipRelu, TimestepQuantizer
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import AveragePool, Convolution, with_weight


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
    wrongly_read(monkeypatch, change)
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(judge, SHAPE, 16)
    assert str(refusal.value).startswith(message)


def wrongly_read(monkeypatch, change):
    """Make the reader return a changed layer graph."""
    right = torch_module.read_network

    def wrong(*args):
        read = right(*args)
        return replace(read, graph=change(read.graph))

    monkeypatch.setattr(torch_module, "read_network", wrong)


def calls_of(graph):
    """The calls of a network whose quantizers are called once each and named as their populations."""
    return [
        QuantizerCall(module=p.name, repeat=0, population=p.name)
        for p in graph.spiking
        if p.role == "activation"
    ]


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
        compare_with_module(judge, graph, calls_of(graph))


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
    with pytest.warns(UserWarning, match=r"^\d+ of 512 spike counts lie on a rounding boundary"):
        graph = convert(network, SHAPE, 16)
    agreement = compare_with_module(evaluation_copy(network), graph, calls_of(graph))
    at_ties = (agreement.num_samples, agreement.num_counts, agreement.num_ties > 0)
    assert at_ties == (6, 512, True)


def test_an_activation_between_its_levels_is_refused():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), SlipRelu(4), nn.Flatten(), nn.Linear(144, 5))
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^1: SlipRelu gives values that are not multiples of alpha / T",
    ):
        convert(network, SHAPE, 16)


def test_each_call_of_a_shared_quantizer_is_a_population_that_is_compared():
    class Twice(Net):
        def __init__(self):
            super().__init__()
            self.q = TimestepQuantizer()

        def forward(self, x):
            return self.f(self.q(self.b(self.q(self.a(x)))).flatten(1))

    network = Twice()
    graph = convert(network, SHAPE, 16)
    assert [p.name for p in graph.spiking] == ["q", "q_1"]
    calls = [QuantizerCall(module="q", repeat=i, population=f"q{'_1' * i}") for i in range(2)]
    judge = evaluation_copy(network)
    compare_with_module(judge, graph, calls)
    with pytest.raises(
        UnsupportedNetworkError, match=r"^q_1: the converted network has another input"
    ):
        compare_with_module(judge, changed(graph, "q_1", bias=lambda b: b + 1), calls)


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
def test_another_input_shape_is_refused(shape, message, capsys):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(quantize_activations(Net(), TimestepQuantizer), shape, 16)
    assert message.removeprefix("GraphModule") in str(refusal.value)
    assert capsys.readouterr().err == ""  # torch.fx prints a traceback


def test_normalization_and_samples_are_part_of_the_comparison(judge, monkeypatch):
    normalization = Normalization(mean=(0.4,), std=(0.3,))
    convert(judge, SHAPE, 16, normalization, samples=PIXELS)
    with pytest.raises(
        DataError, match=r"^samples have shape \(3, 8, 8\), but the network's input is"
    ):
        convert(judge, SHAPE, 16, samples=np.zeros((4, 3, 8, 8), int))
    monkeypatch.setattr(torch_module, "_first_values", _without_mean)
    with pytest.raises(
        UnsupportedNetworkError, match=r"^relu: the converted network has another input"
    ):
        convert(judge, SHAPE, 16, normalization)


def _without_mean(image, normalization):
    value = torch_module.LinearExpression.of_population(image.name, image.shape)
    return value.scaled(1 / np.array(normalization.std))


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
