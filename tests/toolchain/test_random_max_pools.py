"""Random max pools: torch, the float network and both integer engines pool the same counts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from converted_logits import MAX_VALUE, check_logits
from random_modules import random_pixels
from torch import nn

from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.importers.torch_module import convert
from toolchain.method.guard import evaluation_copy
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.passes import lower_to_integers

LOIHI = load_target("loihi-sim").widths


class Pooled(nn.Module):
    """A quantized convolution whose counts are pooled; what it returns are the maxima themselves."""

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)
        channels, height, width = (self.random.randint(*b) for b in ((1, 3), (3, 9), (3, 9)))
        self.shape = channels, height, width
        self.stem = nn.Conv2d(channels, self.random.randint(1, 3), 3, padding=1)
        self.quantizer = TimestepQuantizer(
            self.random.choice([1, 2, 3, 4, 7, 16]), threshold=self.random.uniform(0.1, 0.8)
        )
        self.first = self.random.random() < 0.7
        self.pools = nn.Sequential(*(self.pool() for _ in range(self.random.choice([1, 1, 2]))))
        if not self.first:  # one pool may change places with the quantizer
            self.pools = self.pools[:1]

    def pool(self):
        chance = self.random
        kernel = chance.randint(1, 5), chance.randint(1, 4)
        if chance.random() < 0.5:
            kernel = kernel[0], kernel[0]
        return nn.MaxPool2d(
            kernel,
            stride=chance.choice([None, 1, 2, (1, 2), 3]),
            padding=tuple(chance.randint(0, k // 2) for k in kernel),
            dilation=chance.choice([1, 1, 1, 2, (2, 1)]),
            ceil_mode=self.first and chance.random() < 0.3,
        )

    def forward(self, x):
        x = self.stem(x)
        return self.pools(self.quantizer(x)) if self.first else self.quantizer(self.pools(x))


def check_pools(seed):
    """Convert, lower and run the network of a seed; whether its windows fit and some neuron fired."""
    torch.manual_seed(seed)
    network = Pooled(seed)
    try:
        network(torch.zeros(1, *network.shape))
    except RuntimeError:
        return False  # a window does not fit the feature map
    graph = convert(network, network.shape, MAX_VALUE)
    pixels = random_pixels(network.shape, seed, num=3)
    check_logits(evaluation_copy(network), graph, pixels)
    integers = lower_to_integers(graph, LOIHI)
    exact, stepped = run_exact(integers, pixels), run_stepped(integers, pixels)
    np.testing.assert_array_equal(exact.logits, stepped.logits)
    for name, counts in stepped.counts.items():
        np.testing.assert_array_equal(exact.counts[name], counts)
    counts = torch.from_numpy(stepped.counts["quantizer"]).to(torch.float64)
    maxima = network.pools(counts).flatten(1).numpy()
    logits = stepped.logits.reshape(len(pixels), -1)
    if not maxima.max():
        assert not logits.any()
        return False
    unit = logits.max() / maxima.max()  # the one integer weight of the readout
    assert unit == int(unit) > 0
    np.testing.assert_array_equal(logits, unit * maxima)
    return True


def test_random_max_pools_are_exact():
    assert sum(check_pools(seed) for seed in range(10)) >= 5


@pytest.mark.exhaustive
@pytest.mark.parametrize("start", range(0, 2000, 100))
def test_many_random_max_pools_are_exact(start):
    assert sum(check_pools(seed) for seed in range(start, start + 100)) >= 50
