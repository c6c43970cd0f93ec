"""Max pooling that stays, behind the quantizer of the activation that followed it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from guarded_networks import equal_or_refused
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer

SHAPE = (1, 9, 9)


class Pooled(nn.Module):
    """A convolution, the operations of ``between``, and an activation."""

    def __init__(self, between):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.between = between if isinstance(between, nn.Module) else nn.Identity()
        self.act = nn.ReLU()
        self.apply_between = self.between if isinstance(between, nn.Module) else between
        self.head = nn.LazyLinear(2)

    def forward(self, x):
        return self.head(self.act(self.apply_between(self.conv(x))).flatten(1))


def shape_read(x):
    y = F.max_pool2d(x, 2)
    return y.view(y.size(0), y.shape[1] * 16)


BETWEEN = {
    "2x2": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, 2, 1),
    "one axis": nn.MaxPool2d((1, 3), (1, 2)),
    "ceil mode": nn.MaxPool2d(2, ceil_mode=True),
    "dilated": nn.MaxPool2d(2, 1, dilation=2),
    "even windows": nn.AdaptiveMaxPool2d(3),
    "whole map": nn.AdaptiveMaxPool2d(1),
    "function": lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
    "torch function": lambda x: torch.max_pool2d(x, 2, 2, 0, 1, True),
    "by keyword": lambda x: F.max_pool2d(input=x, kernel_size=2),
    "adaptive function": lambda x: F.adaptive_max_pool2d(x, (3, 3)),
    "amax": lambda x: x.amax((2, 3)),
    "window from the shape": lambda x: F.max_pool2d(x, x.shape[2:]),
    "shape is read": shape_read,
    "twice": nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Identity(), nn.MaxPool2d(2)),
    "dropout": nn.Sequential(nn.MaxPool2d(2), nn.Dropout2d(0.5), nn.Flatten()),
}


def quantized_in_place(network):
    """The network with a quantizer where its ReLU was."""
    reference = copy.deepcopy(network)
    reference.act = TimestepQuantizer()
    return reference


def source_of_quantizer(module):
    (node,) = (n for n in module.graph.nodes if n.target == "act")
    return node.args[0].target


@pytest.mark.parametrize("name", BETWEEN)
def test_max_pooling_changes_places_with_its_activation(name):
    torch.manual_seed(0)
    network = Pooled(BETWEEN[name]).eval()
    x = torch.randn(4, *SHAPE)
    network(x)
    module = quantize_activations(network, TimestepQuantizer)
    assert torch.equal(module(x), quantized_in_place(network)(x))
    assert source_of_quantizer(module) == "conv"


def test_max_pooling_stays_in_training_mode_and_trains():
    torch.manual_seed(0)
    network = Pooled(nn.MaxPool2d(2))
    network(torch.randn(2, *SHAPE))
    module = quantize_activations(network, TimestepQuantizer).train()
    module(torch.randn(4, *SHAPE)).sum().backward()
    assert float(module.get_parameter("conv.weight").grad.abs().sum()) > 0
    assert float(module.get_parameter("act.alpha").grad.abs()) > 0


def test_a_pooled_value_that_something_else_reads_stays_in_place():
    class ReadTwice(Pooled):
        def forward(self, x):
            pooled = self.between(self.conv(x))
            return self.head((self.act(pooled) + pooled).flatten(1))

    torch.manual_seed(0)
    network = ReadTwice(nn.MaxPool2d(2)).eval()
    x = torch.randn(4, *SHAPE)
    network(x)
    module = quantize_activations(network, TimestepQuantizer)
    assert torch.equal(module(x), quantized_in_place(network)(x))
    assert source_of_quantizer(module) == "between"


def test_a_shared_pool_and_activation_get_one_quantizer_per_use():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.pool, self.act = nn.MaxPool2d(2), nn.ReLU(inplace=True)
            self.head = nn.Linear(12, 2)

        def forward(self, x):
            x = self.act(self.pool(self.a(x)))
            return self.head(self.act(self.pool(self.b(x))).flatten(1))

    torch.manual_seed(0)
    network = Shared().eval()
    fine = quantize_activations(
        network, lambda: TimestepQuantizer(100_000, max_timesteps=None, threshold=8.0)
    )
    x = torch.randn(4, *SHAPE)
    assert torch.allclose(fine(x), network(x), atol=1e-3)
    assert [str(n.target) for n in fine.graph.nodes if n.op == "call_module"] == [
        "a", "act", "pool", "b", "act_1", "pool", "head",
    ]  # fmt: skip


def test_the_comparison_finds_a_pool_that_must_not_move():
    """A max pool whose class computes something else does not commute with the activation."""
    network = Pooled(nn.MaxPool2d(2))
    network(torch.randn(2, *SHAPE))
    network.between.forward = lambda x: -F.max_pool2d(-x, 2) - 1
    module = quantize_activations(network, TimestepQuantizer)
    with pytest.raises(UnsupportedNetworkError, match="computes something else"):
        module(torch.randn(2, *SHAPE))


def test_average_pooling_needs_windows_of_numbers():
    network = Pooled(BETWEEN["window from the shape"])
    network(torch.randn(2, *SHAPE))
    with pytest.raises(UnsupportedNetworkError) as refusal:
        quantize_activations(network, TimestepQuantizer, max_pool="average")
    assert "max_pool2d (" in str(refusal.value)
    assert "window of this max pooling is computed from a shape; use" in str(refusal.value)


def test_an_unknown_treatment_of_max_pooling_is_refused():
    network = Pooled(nn.MaxPool2d(2))
    with pytest.raises(ValueError, match=r"^max_pool must be one of exact, average, not 'mean'$"):
        quantize_activations(network, TimestepQuantizer, max_pool="mean")


def test_dropout_between_pooling_and_activation_is_passed_as_a_function_too():
    class Functions(Pooled):
        def forward(self, x):
            x = F.dropout2d(F.max_pool2d(self.conv(x), 2), 0.5, self.training)
            return self.head(F.relu(x).flatten(1))

    torch.manual_seed(0)
    network = Functions(nn.Identity()).eval()
    x = torch.randn(4, *SHAPE)
    network(x)
    module = quantize_activations(network, TimestepQuantizer)
    module(x)
    order = [str(node.target) for node in module.graph.nodes if node.op == "call_module"]
    assert order == ["conv", "relu", "dropout2d", "head"]


def test_an_activation_of_pooled_spike_counts_stays_behind_the_pool():
    """In front of it, a second population of the larger map would repeat the first."""
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)
    )
    module = quantize_activations(network, TimestepQuantizer)
    module(torch.randn(4, *SHAPE))
    order = [str(node.target) for node in module.graph.nodes if node.op == "call_module"]
    assert order == ["0", "1", "2", "3", "4", "5"]


AFFINE = {
    "batch norm": lambda x, norm: F.max_pool2d(norm(x), 2, 2, 1),
    "pools and batch norms in turn": lambda x, norm: F.max_pool2d(
        norm(F.max_pool2d(norm(x), 2)), 3
    ),
    "a scale, one axis": lambda x, norm: (3 * x - 1).amax(2),
    "a scale, along time": lambda x, norm: torch.max(2 * x.flatten(2), 2)[0],
}


class NormBeforePool(nn.Module):
    """Convolution, ReLU, batch norm and max pooling in this order, as many networks have them."""

    def __init__(self, pooled):
        super().__init__()
        self.conv, self.norm, self.pooled = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), pooled
        self.norm.bias.data = torch.tensor([0.5, -0.5, 0.2])
        self.norm.weight.data = torch.tensor([0.5, 2.0, 0.0])
        self.f = nn.LazyLinear(5)

    def forward(self, x):
        return self.f(self.pooled(F.relu(self.conv(x)), self.norm).flatten(1))


@pytest.mark.parametrize("pooled", AFFINE.values(), ids=AFFINE)
def test_a_batch_norm_of_spike_counts_changes_places_with_the_pool(pooled):
    torch.manual_seed(0)
    network = NormBeforePool(pooled).eval()
    network(torch.zeros(1, 1, 8, 8))
    assert equal_or_refused(network) is None


def test_a_batch_norm_of_spike_counts_that_mirrors_a_channel_is_refused():
    torch.manual_seed(0)
    network = NormBeforePool(AFFINE["batch norm"]).eval()
    network(torch.zeros(1, 1, 8, 8))
    network.norm.weight.data[1] = -1.0
    assert "put the quantizer before the pool" in equal_or_refused(network)
