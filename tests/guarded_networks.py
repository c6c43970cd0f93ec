"""A network whose two paths meet in a given join, and the check that every conversion must pass."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
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
    """Logits of a network in float64 and evaluation mode."""
    return ann_logits(network, pixels, 16).reshape(len(pixels), -1)


def equal_or_refused(network):
    """Quantize and convert a network; return the text of a refusal, or None.

    A conversion that succeeds must compute the logits of the quantized network, and with very many levels
    those of the user's own network.
    """

    def fine():
        return TimestepQuantizer(4096, max_timesteps=4096, threshold=8.0)

    try:
        module = quantize_activations(network, fine)
        convert(module, SHAPE, 16)
    except UnsupportedNetworkError as refusal:
        return str(refusal)
    assert np.allclose(float_logits(module), float_logits(network), atol=0.02)
    coarse = quantize_activations(network, TimestepQuantizer)
    graph = convert(coarse, SHAPE, 16)
    assert np.allclose(float_logits(coarse), run_float_snn(graph, PIXELS).logits, rtol=0, atol=1e-9)
    return None


def statement(operation):
    """A join that uses only the effect of an operation on ``y``, not its result."""

    def join(y, x):
        operation(y, x)
        return y

    return join


def aliased(y, x):
    z = y
    y += x
    return z
