"""Conversion by tracing: the float SNN equals the quantized ANN; refusals say what to use instead."""

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import Normalization, convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.networks.linear_maps import AveragePool, Convolution, Dense
from toolchain.training import ann_logits


def randomized(module, seed=0):
    """Give a network random batch-norm statistics and timesteps, as if it were trained."""
    generator = torch.Generator().manual_seed(seed)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.3, generator=generator)
            child.running_var.uniform_(0.3, 2, generator=generator)
            with torch.no_grad():
                child.weight.uniform_(0.5, 1.5, generator=generator)
                child.bias.normal_(0, 0.3, generator=generator)
    for index, quantizer in enumerate(quantizers(module).values()):
        with torch.no_grad():
            quantizer.t.fill_(1 + index % 4)
            quantizer.alpha.uniform_(0.5, 2, generator=generator)
    return module


def mini(input_shape):
    return quantize_activations(build_model("resnet-mini", input_shape, 10), TimestepQuantizer)


@pytest.mark.parametrize("size", [8, 28])
def test_float_snn_equals_the_quantized_ann(size):
    torch.manual_seed(1)
    module = randomized(mini((1, size, size)))
    graph = convert(module, (1, size, size), max_value=16)
    pixels = np.random.default_rng(0).integers(0, 17, (20, 1, size, size))
    ann = ann_logits(module, pixels, max_value=16)
    snn = run_float_snn(graph, pixels)
    assert np.allclose(ann, snn.logits, rtol=0, atol=1e-10)
    assert np.array_equal(ann.argmax(1), snn.logits.argmax(1))


def test_the_graph_shows_the_structure_of_the_network():
    module = randomized(mini((1, 8, 8)))
    graph = convert(module, (1, 8, 8), max_value=16)
    assert [str(s) for s in graph.synapses] == [
        "input -> stem (conv 3x3, average)",
        "stem -> inner (conv 3x3, average)",
        "inner -> join (conv 3x3, average)",
        "stem -> join (identity, average)",
        "join -> wide (pool 2x2 > conv 3x3, average)",
        "wide -> readout (pool 2x2 > dense, average)",
    ]
    timesteps = {p.name: p.timesteps for p in graph.spiking}
    assert timesteps == {"stem": 1, "inner": 2, "join": 3, "wide": 4}


class Everything(nn.Module):
    """Strides, groups, biases, a projection shortcut with batch norm, and a global pool."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), TimestepQuantizer())
        self.depthwise = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8), TimestepQuantizer()
        )
        self.branch = nn.Sequential(nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6))
        self.shortcut = nn.Sequential(nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6))
        self.join = TimestepQuantizer()
        self.norm_of_identity = nn.BatchNorm2d(6)
        self.after = TimestepQuantizer()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        first = self.first(x)
        joined = self.join(self.branch(self.depthwise(first)) + self.shortcut(first))
        return self.head(self.pool(self.after(self.norm_of_identity(joined))).flatten(1))


def test_every_supported_operation_converts_without_a_gap():
    torch.manual_seed(2)
    module = randomized(Everything())
    graph = convert(module, (2, 9, 7), max_value=255)
    kinds = {type(m) for s in graph.synapses for m in s.maps}
    assert {Convolution, AveragePool, Dense} <= kinds
    pixels = np.random.default_rng(0).integers(0, 256, (20, 2, 9, 7))
    ann = ann_logits(module, pixels, max_value=255)
    assert np.allclose(ann, run_float_snn(graph, pixels).logits, rtol=0, atol=1e-10)


def test_a_constant_before_zero_padding_becomes_a_bias_per_neuron():
    """Batch norm, then a padded convolution and a padded pool: the constant is cut off at the border."""
    torch.manual_seed(4)
    module = randomized(
        nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.AvgPool2d(2, stride=1, padding=1),
            TimestepQuantizer(),
            nn.Flatten(),
            nn.Linear(4 * 5 * 6, 3),
        )
    )
    graph = convert(module, (2, 7, 9), max_value=255)
    assert graph["4"].bias.shape == (4, 5, 6)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 2, 7, 9))
    ann = ann_logits(module, pixels, max_value=255)
    assert np.allclose(ann, run_float_snn(graph, pixels).logits, rtol=0, atol=1e-10)


def test_normalization_of_the_input_becomes_weights_and_biases():
    torch.manual_seed(5)
    body = [nn.Conv2d(3, 4, 3, padding=1), TimestepQuantizer(), nn.Flatten(), nn.Linear(256, 5)]
    normalization = Normalization(mean=(0.49, 0.48, 0.45), std=(0.2, 0.25, 0.3))
    graph = convert(nn.Sequential(*body), (3, 8, 8), 255, normalization)
    norm = nn.BatchNorm2d(3, affine=False, eps=0.0)
    norm.running_mean[:] = torch.tensor(normalization.mean)
    norm.running_var[:] = torch.tensor(normalization.std) ** 2
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8))
    ann = ann_logits(nn.Sequential(norm, *body), pixels, max_value=255)
    assert np.allclose(ann, run_float_snn(graph, pixels).logits, rtol=0, atol=1e-5)
    with pytest.raises(UnsupportedNetworkError, match="positive std for each of 3 channels"):
        convert(nn.Sequential(*body), (3, 8, 8), 255, Normalization(mean=(0.5,), std=(0.2,)))


def net(*layers):
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), *layers, nn.Flatten(), nn.Linear(128, 2))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            net(nn.ReLU()),
            "1: ReLU has no spiking form; replace it by a quantizer before training (Algorithm 1), for "
            "example with quantize_activations",
        ),
        (
            net(nn.Sigmoid()),
            "1: Sigmoid has no integrate-and-fire form; replace it by ReLU and train again",
        ),
    ],
)
def test_what_cannot_be_converted_says_what_to_use_instead(module, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(module, (1, 8, 8), max_value=16)
    assert str(refusal.value) == message


def test_a_forward_that_branches_on_values_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(
        UnsupportedNetworkError,
        match=r"test_conversion\.py:\d+: torch\.export cannot follow this forward: a branch, a loop or",
    ):
        convert(Branching(), (1, 8, 8), max_value=16)


class Audio(nn.Module):
    """Conv1d, a max pool in front of its quantizer, and means along the length and over channels."""

    def __init__(self):
        super().__init__()
        self.first, self.q = nn.Conv1d(3, 4, 3, padding=1), TimestepQuantizer()
        self.second, self.q2 = nn.Conv1d(4, 6, 3, dilation=2), TimestepQuantizer()
        self.head = nn.Linear(10, 5)

    def forward(self, x):
        x = self.q(nn.functional.max_pool1d(self.first(x.squeeze(2)), 2))
        x = self.q2(self.second(x))
        return self.head(torch.cat([x.mean(2), x.mean(1)], dim=1))


def test_a_network_of_one_dimension_converts_without_a_gap():
    torch.manual_seed(0)
    network = Audio()
    graph = convert(network, (3, 1, 16), 255)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 1, 16))
    ann = ann_logits(network, pixels, max_value=255)
    assert np.allclose(ann, run_float_snn(graph, pixels).logits, rtol=0, atol=1e-10)


class Assigning(nn.Module):
    """A constant without axes of its own is written to one element of each sample."""

    def __init__(self):
        super().__init__()
        self.conv, self.q, self.head = nn.Conv2d(1, 2, 3), TimestepQuantizer(), nn.Linear(72, 3)

    def forward(self, x):
        x = self.q(self.conv(x)).flatten(1)
        x[:, 0] = 0
        return self.head(x)


def test_a_constant_that_is_assigned_to_an_element_converts_without_a_gap():
    torch.manual_seed(0)
    network = Assigning()
    graph = convert(network, (1, 8, 8), 16)
    pixels = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8))
    ann = ann_logits(network, pixels, max_value=16)
    assert np.allclose(ann, run_float_snn(graph, pixels).logits, rtol=0, atol=1e-10)
