"""Any module converts exactly, or is refused by name; no other exception leaves the importer."""

from __future__ import annotations

import random
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from converted_logits import MAX_VALUE, check_logits
from random_modules import module_of, random_module, random_pixels

from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from sim.stepped import run_stepped
from toolchain.errors import IntegerWidthError, UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.guard import evaluation_copy
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.passes import lower_to_integers

LOIHI = load_target("loihi-sim").widths


def quantized(network, seed):
    """A copy with quantizers of various T and alpha, and one of the treatments of max pooling."""
    chance = random.Random(seed)

    def make():
        return TimestepQuantizer(chance.randint(1, 5), threshold=chance.uniform(0.2, 1.6))

    max_pool = chance.choice(["exact", "exact", "average"])
    return quantize_activations(network, make, max_pool=max_pool)


def check_refusal(refusal):
    """A refusal says what to do, in one paragraph of a readable length."""
    text = str(refusal)
    assert 20 < len(text) < 1500, text
    assert "\n" not in text, text
    assert ";" in text or "does not depend on" in text, text


def outcome_of(network, shape, seed, *, own_quantizers, lowered):
    """What became of a module: 'refused', 'tied', 'converted' or 'lowered'; fails if it is wrong."""
    pixels = random_pixels(shape, seed, num=2)  # compared by conversion too, which counts ties
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = network if own_quantizers else quantized(network, seed)
            graph = convert(module, shape, MAX_VALUE, samples=pixels)
    except UnsupportedNetworkError as refusal:
        check_refusal(refusal)
        return "refused"
    messages = " ".join(str(w.message) for w in caught)
    if "rounding boundary" in messages:
        return "tied"  # which counts differ depends on the order of additions
    check_logits(evaluation_copy(module), graph, pixels, messages)
    return check_integers(graph, pixels) if lowered else "converted"


def check_integers(graph, pixels):
    """Lowering works or is refused, and both engines give the same integers."""
    try:
        network = lower_to_integers(graph, LOIHI)
    except (UnsupportedNetworkError, IntegerWidthError) as refusal:
        check_refusal(refusal)
        return "converted"
    exact, stepped = run_exact(network, pixels), run_stepped(network, pixels)
    np.testing.assert_array_equal(exact.logits, stepped.logits)
    for name, counts in stepped.counts.items():
        np.testing.assert_array_equal(exact.counts[name], counts)
    return "lowered"


def outcomes(seeds):
    """How often each outcome was."""
    found = Counter()
    for seed in seeds:
        own = bool(seed % 2)
        network, shape = random_module(seed, own_quantizers=own)
        try:
            found[outcome_of(network, shape, seed, own_quantizers=own, lowered=seed % 4 < 2)] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, input {shape}:\n{network.source}")
            raise
    return found


def test_random_modules_are_converted_or_refused():
    found = outcomes(range(20))
    assert found["converted"] + found["lowered"] >= 8
    assert found["lowered"] >= 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("start", range(0, 5000, 100))
def test_many_random_modules_are_converted_or_refused(start):
    found = outcomes(range(start, start + 100))
    assert found["converted"] + found["lowered"] >= 40


def test_the_comparison_sees_another_network():
    network, shape = random_module(47, own_quantizers=True)
    graph = convert(network, shape, MAX_VALUE)
    pixels = random_pixels(shape, 0)
    check_logits(evaluation_copy(network), graph, pixels)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01
    with pytest.raises(AssertionError):
        check_logits(evaluation_copy(network), graph, pixels)


FOUND = {
    "a clip in front of a pool and a second activation": """
x0 = self.conv(x0).clip(0, 2)
return F.relu(F.max_pool2d(x0, 2)).mean((2, 3))""",
    "a threshold behind a pool": """
return F.hardtanh(F.max_pool2d(F.threshold(self.conv(x0), 0, 0), 2), 0.0, 1.0)""",
    "a window larger than the map": """
x0 = F.adaptive_max_pool2d(F.relu(self.conv(x0)), 1)
return F.avg_pool2d(x0, 2, 2, ceil_mode=True, count_include_pad=False)""",
    "an activation in place whose result is not used": """
x0 = self.conv(x0)
x1 = F.adaptive_avg_pool2d(x0, (2, 1))
x0.relu_()
return self.conv2(x0).mean((2, 3)) + x1.mean((2, 3))""",
    "operations that PyTorch defines by others": """
x0 = F.relu(self.conv(x0))
x1 = torch.hstack((x0, x0.type_as(x0))).view_as(x0.tile((1, 2, 1, 1)))
return torch.lerp(x1, 2 * x1, 0.25).masked_fill(torch.arange(5) > 3, 0).mean((2, 3))""",
    "uninitialized memory that is filled": """
x0 = F.relu(self.conv(x0))
return torch.empty_like(x0).copy_(x0).double()""",
    "constants of single precision": """
x0 = F.relu(self.conv(x0))
return torch.lerp(x0, x0 + torch.linspace(-1, 1, 50).view(1, 2, 5, 5), 0.5)""",
    "a transposed convolution with a kernel of one": """
x0 = F.conv_transpose2d(F.relu(self.conv(x0)), self.conv2.weight, stride=2)
return F.relu(x0).mean((2, 3))""",
    "the maximum of rows, then of columns": """
return F.relu(self.conv(x0)).max(-1)[0].unsqueeze(-1).max(2)[0].flatten(1)""",
}


def written(body):
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    return module_of(
        "class RandomModule(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.conv2 = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)\n"
        "\n"
        "    def forward(self, x0):\n" + lines
    )


@pytest.mark.parametrize("name", FOUND)
def test_modules_that_were_refused_or_crashed(name):
    network = written(FOUND[name])
    assert outcome_of(network, (1, 5, 5), 0, own_quantizers=False, lowered=False) == "converted"


REFUSALS = {
    "a tensor without a batch": (
        "return F.avg_pool1d(F.relu(self.conv(x0)).flatten(1), 2)",
        "'avg_pool1d' takes a tensor of 2 axes for one sample without a batch; give it 3 axes, for example "
        "by x.unsqueeze(1)",
    ),
    "an operation that PyTorch defines by others": (
        "return torch.square(F.relu(self.conv(x0)))",
        "'square' has no spiking form",
    ),
    "a choice by values": (
        "x0 = F.relu(self.conv(x0))\nreturn x0.masked_fill(x0 > 1, 0)",
        "'gt' of feature maps has no integrate-and-fire form",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_name_what_the_user_wrote(name):
    body, message = REFUSALS[name]
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(quantized(written(body), 0), (1, 5, 5), MAX_VALUE)
    assert message in str(refusal.value)
