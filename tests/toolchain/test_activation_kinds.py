"""Clipped ReLUs are quantizers; other activations are refused by name, place and remedy."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import QUANTIZER_CASES, TimestepQuantizer, quantizers


class Network(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, activation):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        if isinstance(activation, nn.Module):
            self.act = activation
        self.activation = activation

    def forward(self, x):
        x = self.first(x)
        x = self.act(x) if hasattr(self, "act") else self.activation(self, x)
        return self.last(x)


CLIPPED = {
    "ReLU6": (nn.ReLU6(inplace=True), 6.0),
    "Hardtanh": (nn.Hardtanh(0, 2), 2.0),
    "relu6": (lambda n, x: F.relu6(x), 6.0),
    "relu6 in place": (lambda n, x: F.relu6(x, inplace=True), 6.0),
    "hardtanh": (lambda n, x: F.hardtanh(x, 0.0, 2.0), 2.0),
    "hardtanh by keyword": (lambda n, x: F.hardtanh(input=x, max_val=2, min_val=0), 2.0),
    "hardtanh in place": (lambda n, x: F.hardtanh_(x, 0, 2), 2.0),
    "clamp": (lambda n, x: torch.clamp(x, 0, 2), 2.0),
    "clamp by keyword": (lambda n, x: torch.clamp(input=x, max=2.0, min=0), 2.0),
    "method": (lambda n, x: x.clamp(0, 2), 2.0),
    "method by keyword": (lambda n, x: x.clamp(0, max=2), 2.0),
    "method in place": (lambda n, x: x.clamp_(min=0, max=2), 2.0),
    "clip": (lambda n, x: torch.clip(x, 0, 2), 2.0),
    "clip method": (lambda n, x: x.clip(0, 2), 2.0),
    "ReLU": (nn.ReLU(), None),
    "clamp without maximum": (lambda n, x: x.clamp(min=0), None),
    "clamp_min": (lambda n, x: x.clamp_min(0.0), None),
    "clamp_min in place": (lambda n, x: torch.clamp_min_(x, 0), None),
    "threshold": (lambda n, x: F.threshold(x, 0.0, 0.0), None),
    "Threshold": (nn.Threshold(0, 0), None),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_a_clipped_relu_becomes_a_quantizer_that_starts_at_its_clip(name):
    torch.manual_seed(0)
    activation, clip = CLIPPED[name]
    network = Network(activation).eval()
    module = quantize_activations(network, lambda: TimestepQuantizer(4096, max_timesteps=None))
    x = 9 * torch.randn(64, 3)
    (quantizer,) = quantizers(module).values()
    if clip is None:
        quantizer.set_threshold(40.0)
    else:
        assert float(network.first(x).detach().max()) > clip
        assert float(quantizer.threshold.detach()) == clip
    assert torch.allclose(module(x), network(x), atol=0.02)


@pytest.mark.parametrize("case", QUANTIZER_CASES)
def test_balancing_never_raises_a_threshold_above_the_clip(case):
    torch.manual_seed(0)
    module = quantize_activations(Network(nn.Hardtanh(0, 0.5)), QUANTIZER_CASES[case])
    (quantizer,) = quantizers(module).values()
    assert float(quantizer.threshold.detach()) == 0.5
    assert int(quantizer.timesteps.detach()) == 4
    balance_thresholds(module, 4 * torch.randn(64, 3))
    assert float(quantizer.threshold.detach()) == 0.5
    balance_thresholds(module, 1e-2 * torch.randn(64, 3))
    assert float(quantizer.threshold.detach()) < 0.5


def test_balancing_passes_on_what_the_clipped_relu_gives():
    module = quantize_activations(nn.Sequential(nn.ReLU6(), nn.ReLU()), TimestepQuantizer)
    balance_thresholds(module, torch.tensor([[9.0, 8.0]]), quantile=1.0)
    assert [float(q.threshold.detach()) for q in quantizers(module).values()] == [6.0, 6.0]


LEAKS = "has no integrate-and-fire form; replace it by ReLU and train again"
REFUSED = {
    "GELU": (nn.GELU(), f"GELU {LEAKS}"),
    "LeakyReLU": (nn.LeakyReLU(), f"LeakyReLU {LEAKS}"),
    "SiLU": (nn.SiLU(), f"SiLU {LEAKS}"),
    "Hardswish": (nn.Hardswish(), f"Hardswish {LEAKS}"),
    "gelu": (lambda n, x: F.gelu(x), f"GELU {LEAKS}"),
    "leaky_relu": (lambda n, x: F.leaky_relu(x, 0.1), f"LeakyReLU {LEAKS}"),
    "leaky_relu_": (lambda n, x: F.leaky_relu_(x), f"LeakyReLU {LEAKS}"),
    "silu": (lambda n, x: F.silu(x, inplace=True), f"SiLU {LEAKS}"),
    "hardswish": (lambda n, x: F.hardswish(x), f"Hardswish {LEAKS}"),
    "torch.sigmoid": (lambda n, x: torch.sigmoid(x), f"Sigmoid {LEAKS}"),
    "x.sigmoid": (lambda n, x: x * x.sigmoid(), f"Sigmoid {LEAKS}"),
    "x.tanh": (lambda n, x: x.tanh(), f"Tanh {LEAKS}"),
    "Hardtanh": (nn.Hardtanh(), "a clip from -1.0 to 1.0 has no integrate-and-fire form; clip from 0 to"),
    "clamp max": (lambda n, x: x.clamp(max=6), "a clip from None to 6 has no integrate-and-fire form;"),
    "clamp 1": (lambda n, x: x.clamp(1, 6), "a clip from 1 to 6 has no integrate-and-fire form;"),
    "clamp 0": (lambda n, x: x.clamp(0, 0), "a clip from 0 to 0 has no integrate-and-fire form;"),
    "threshold": (lambda n, x: F.threshold(x, 0.1, 0), "a threshold of 0.1 with value 0 has no"),
    "maximum": (
        lambda n, x: torch.maximum(x, torch.zeros(4)),
        "'maximum' of feature maps has no integrate-and-fire form; write an activation as F.relu(x) or",
    ),
    "x > 0": (lambda n, x: x * (x > 0), "'gt' of feature maps has no integrate-and-fire form;"),
    "softmax": (lambda n, x: F.softmax(x, 1), "softmax has no integrate-and-fire form; it is supported at"),
    "dropout": (
        lambda n, x: F.dropout(x.relu(), 0.5),
        "this dropout is active in evaluation mode as well; pass training=self.training",
    ),
    "none": (lambda n, x: x, "Network has no activation (ReLU, or a clip from 0 to c), so that no"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_quantizer_is_refused_by_name_place_and_remedy(name):
    activation, message = REFUSED[name]
    with pytest.raises(UnsupportedNetworkError) as refusal:
        quantize_activations(Network(activation), TimestepQuantizer)
    text = str(refusal.value)
    assert message in text
    if name != "none":
        function = Network.forward if isinstance(activation, nn.Module) else activation
        line = inspect.getsourcelines(function)[1] + 2 * isinstance(activation, nn.Module)
        place = text.partition(" (")[2].partition("): ")[0]
        assert Path(place.rpartition(":")[0]).resolve() == Path(__file__).resolve()
        number = int(place.rpartition(":")[2])
        assert number in (line, line + 1)  # a lambda may start on the line of its key


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(dim=1)])
def test_softmax_at_the_end_stays_for_the_users_own_loss(last):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), last)
    module = quantize_activations(network, TimestepQuantizer)
    assert isinstance(module.get_submodule("3"), type(last))
    module(torch.randn(2, 3))


class Dropping(Network):
    """Drops whole samples in training, as the stochastic depth of EfficientNet does."""

    def forward(self, x):
        branch = self.act(self.first(x))
        if self.training:
            branch = branch * torch.rand_like(branch[:, :1]).round()
        return self.last(branch)


def test_an_activation_of_another_kind_is_named_before_a_branch_on_training():
    with pytest.raises(
        UnsupportedNetworkError, match=r"^act .*: SiLU has no integrate-and-fire form"
    ):
        quantize_activations(Dropping(nn.SiLU()), TimestepQuantizer)
    with pytest.raises(UnsupportedNetworkError, match="something else in training"):
        quantize_activations(Dropping(nn.ReLU()), TimestepQuantizer)


def test_a_sigmoid_at_the_end_is_to_be_left_out():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Sigmoid())
    with pytest.raises(UnsupportedNetworkError) as refusal:
        quantize_activations(network, TimestepQuantizer)
    assert str(refusal.value) == (
        "3: Sigmoid has no integrate-and-fire form; leave it out at the end: the largest logit is the same, "
        "and 0 is a probability of 1/2"
    )


def scripted(network):
    with torch.jit.optimized_execution(False):
        return torch.jit.trace(network, torch.zeros(1, 3), check_trace=False)


WRAPPED = {
    "DataParallel": (
        nn.DataParallel,
        "the network is wrapped in DataParallel; pass its .module",
    ),
    "compiled": (
        torch.compile,
        "the network is wrapped in OptimizedModule; pass the network that was given to torch.compile, its "
        "._orig_mod",
    ),
    "compiled part": (
        lambda n: nn.Sequential(torch.compile(n)),
        "0: the network is wrapped in OptimizedModule; pass the network that was given to torch.compile, its "
        "._orig_mod",
    ),
    "scripted": (
        scripted,
        "the network is a scripted module (torch.jit), whose Python is gone; pass the module that it was "
        "made from",
    ),
    "weight norm": (
        lambda n: (torch.nn.utils.weight_norm(n.first), n)[1],
        "first: WeightNorm computes 'weight' in a hook; use the function of torch.nn.utils.parametrizations",
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_networks_are_refused_by_what_to_pass(name):
    wrap, message = WRAPPED[name]
    with pytest.raises(UnsupportedNetworkError) as refusal:
        quantize_activations(wrap(Network(nn.ReLU())), TimestepQuantizer)
    assert str(refusal.value) == message


def test_more_timesteps_than_the_cap_are_said():
    with pytest.warns(
        UserWarning, match=r"^TimestepQuantizer: T = 32 is capped at max_timesteps = 16; pass a"
    ):
        quantizer = TimestepQuantizer(32)
    assert quantizer.cap_note().startswith("T = 32 is capped at max_timesteps = 16")
    assert TimestepQuantizer(32, max_timesteps=32).cap_note() is None
    assert TimestepQuantizer(32, max_timesteps=None).cap_note() is None
