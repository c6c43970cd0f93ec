"""Quantize and dequantize operations wherever a program may have them, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format import read_exported
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.foreign.input_layout import for_images
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.torch_module import Normalization
from toolchain.method.quantizers import quantizers

SHAPE = (1, 6, 6)
INPUTS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (200, *SHAPE)) / 255).float()
decomposed = torch.ops.quantized_decomposed


def code(x, step=0.01, zero=0, low=0, high=255, dtype=torch.uint8):
    return decomposed.quantize_per_tensor(x, step, zero, low, high, dtype)


def value(x, step=0.01, zero=0, low=0, high=255, dtype=torch.uint8):
    return decomposed.dequantize_per_tensor(x, step, zero, low, high, dtype)


def quantized(x, *settings):
    return value(code(x, *settings), *settings)


INT8 = (0.01, -128, -128, 127, torch.int8)
SYMMETRIC = (0.01, 0, -128, 127, torch.int8)
FOUR_BITS = (0.1, 0, 0, 15, torch.uint8)


class Network(nn.Module):
    """A convolution, what a test does with its result, and a linear layer."""

    def __init__(self, between, classes=4 * 36):
        super().__init__()
        self.conv, self.classes = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(classes, 3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.between = between
        self.register_buffer("steps", torch.tensor([0.01, 0.02, 0.03, 0.04]))
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))

    def forward(self, x):
        return self.classes(self.between(self, self.conv(x)).flatten(1))


def read(between, classes=4 * 36, *, any_batch=True, make=Network):
    torch.manual_seed(0)
    network = make(between, classes).eval()
    shapes = ({0: torch.export.Dim("batch")},) if any_batch else None
    program = torch.export.export(network, (torch.zeros(2, *SHAPE),), dynamic_shapes=shapes)
    return read_exported(program)


def per_channel(n, x, low=0):
    settings = n.steps, n.zeros, 1, low, 15, torch.int8
    codes = decomposed.quantize_per_channel(x if low else torch.relu(x), *settings)
    return decomposed.dequantize_per_channel(codes, *settings)


def affine_operations(n, x):
    import torchao.quantization.quant_primitives

    block, step, zero = [2, 4, 6, 6], torch.tensor(0.02), torch.tensor(0)
    torchao = torch.ops.torchao
    codes = torchao.quantize_affine(torch.relu(x), block, step, zero, torch.uint8, 0, 31)
    return torchao.dequantize_affine(codes, block, step, zero, torch.uint8, 0, 31)


def residual(n, x):
    x = quantized(torch.relu(x), *FOUR_BITS)
    return quantized(torch.relu(n.second(x) + quantized(x, *FOUR_BITS)), 0.3, 0, 0, 7, torch.uint8)


def clipped_twice(x, one, other):
    return one(x) - 0.5 * other(x)


TAKEN = {
    "a quantizer is its own ReLU": (lambda n, x: quantized(x), {"conv.quantize_per_tensor": 255}),
    "int8 whose range starts at 0": (lambda n, x: quantized(torch.relu(x), *INT8), {"relu": 255}),
    "symmetric int8 behind a ReLU": (lambda n, x: quantized(torch.relu(x), *SYMMETRIC), {"relu": 127}),
    "a zero point above the lowest code": (
        lambda n, x: quantized(torch.relu(x), 0.01, 100, 0, 255, torch.uint8), {"relu": 155},
    ),
    "4 bits": (lambda n, x: quantized(torch.relu(x), *FOUR_BITS), {"relu": 15}),
    "ReLU6 above the range": (
        lambda n, x: quantized(nn.functional.relu6(x), *FOUR_BITS), {"relu6": 15},
    ),
    "a clip below the range": (
        lambda n, x: quantized(x.clamp(0, 0.52), *FOUR_BITS), {"clamp": 5},
    ),
    "steps of channels": (per_channel, {"relu": 15}),
    "two quantizers of one ReLU": (
        lambda n, x: n.second(quantized(torch.relu(x))) + quantized(torch.relu(x)),
        {"relu": 255, "relu_1": 255},
    ),
    "two quantizers that do the same": (
        lambda n, x: (lambda y: n.second(quantized(y)).flatten(1) + quantized(y.flatten(1)))(torch.relu(x)),
        {"relu": 255},
    ),
    "a coarser quantizer of a quantizer": (
        lambda n, x: quantized(quantized(torch.relu(x)), 0.03, 0, 0, 84, torch.uint8),
        {"relu": 255, "quantize_per_tensor_1": 84},
    ),
    "a residual join": (residual, {"relu": 15, "relu_1": 7}),
    "integers that are flattened": (
        lambda n, x: value(code(torch.relu(x), *FOUR_BITS).flatten(1), *FOUR_BITS), {"relu": 15},
    ),
    "a concatenation on one grid": (
        lambda n, x: quantized(
            torch.cat([quantized(torch.relu(v), *FOUR_BITS) for v in x.split(2, 1)], 1), *FOUR_BITS
        ),
        {"relu": 15, "relu_1": 15},
    ),
    "a signed quantizer behind which a ReLU follows": (
        lambda n, x: torch.relu(quantized(x, *SYMMETRIC)), {"conv.quantize_per_tensor": 127},
    ),
    "a signed quantizer with two ReLUs behind movements": (
        lambda n, x: clipped_twice(quantized(x, *SYMMETRIC).flatten(2), torch.relu, torch.relu),
        {"conv.quantize_per_tensor": 127},
    ),
    "integers of a signed quantizer that are moved": (
        lambda n, x: torch.relu(value(code(x, *SYMMETRIC).flatten(1), *SYMMETRIC)),
        {"conv.quantize_per_tensor": 127},
    ),
    "a signed quantizer in front of ReLU6": (
        lambda n, x: nn.functional.relu6(quantized(x, 0.1, 3, -128, 127, torch.int8)),
        {"conv.quantize_per_tensor": 60},
    ),
    "a clip at a multiple of the step": (
        lambda n, x: quantized(x).clamp(0, 0.3), {"conv.quantize_per_tensor": 30},
    ),
    "a clip between two steps": (
        lambda n, x: quantized(quantized(x, *SYMMETRIC).clamp(0, 0.302), *SYMMETRIC),
        {"conv.quantize_per_tensor": 31, "clamp": 30},
    ),
    "two clips of one quantizer": (
        lambda n, x: clipped_twice(
            quantized(x, *SYMMETRIC),
            lambda v: v.clamp(0, 0.6),
            lambda v: quantized(v.clamp(0, 0.3), *SYMMETRIC),
        ),
        {"conv.quantize_per_tensor": 60, "clamp": 30},
    ),
    "signed quantizers on both sides of ReLU6, with one grid": (
        lambda n, x: quantized(nn.functional.relu6(quantized(x, *SYMMETRIC)), *SYMMETRIC),
        {"conv.quantize_per_tensor": 127},
    ),
    "two signed quantizers and a ReLU behind them": (
        lambda n, x: torch.relu(
            quantized(quantized(x, *SYMMETRIC), 0.03, 0, -128, 127, torch.int8)
        ),
        {"conv.quantize_per_tensor": 127, "conv.quantize_per_tensor_1": 127},
    ),
    "a signed quantizer of channels in front of ReLU6": (
        lambda n, x: nn.functional.relu6(per_channel(n, x, low=-16)), {"conv.quantize_per_channel": 15},
    ),
    "torchao's operations": (affine_operations, {"relu": 31}),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_a_quantizer_has_the_counts_of_torch(case):
    between, expected = TAKEN[case]
    of_torchao = "torchao" in case
    if of_torchao:
        pytest.importorskip("torchao")
    network = read(between, any_batch=not of_torchao)
    agreement = compare_with_runtime(network, INPUTS)
    imported = import_network(network, SHAPE, 255)
    assert {p.name: p.timesteps for p in imported.graph.spiking} == expected
    shares = 2 if "concatenation" in case else 1  # each quantizer has half of the channels
    assert agreement.num_counts == len(expected) * 200 * 4 * 36 // shares
    assert agreement.num_ties < 10


def test_a_max_pool_keeps_the_grid_and_an_average_does_not():
    settings = 0.02, 0, 0, 100, torch.uint8

    def pools(n, x):
        x = quantized(torch.relu(x), *settings)
        x = quantized(nn.functional.max_pool2d(x, 2), *settings)
        return quantized(nn.functional.avg_pool2d(x, 3), *settings)

    network = read(pools, classes=4)
    assert len(quantizers(network.module)) == 2
    assert compare_with_runtime(network, INPUTS).num_counts == 200 * 4 * (36 + 1)


def test_the_input_may_be_quantized_where_its_grid_holds_every_pixel():
    settings = 1 / 255, -128, -128, 127, torch.int8

    class OfInput(Network):
        def forward(self, x):
            x = quantized((x * 2).flatten(1) / 2, *settings)
            return super().forward(x.unflatten(1, SHAPE))

    network = read(lambda n, x: quantized(torch.relu(x)), any_batch=False, make=OfInput)
    imported = import_network(network, SHAPE, 255)
    assert imported.notes == (
        "input_quantizer: the quantizer of the input gives evenly spaced levels for the pixels 0 to 255, so "
        "it became a factor of 1",
    )
    assert [p.name for p in imported.graph.spiking] == ["relu"]
    import_network(network, SHAPE, 15)  # every 17th level of the grid
    normalization = Normalization(mean=(0.4,), std=(0.3,))
    imported = import_network(network, SHAPE, 255, normalization)
    assert [p.name for p in imported.graph.spiking] == ["input_quantizer", "relu"]


def test_a_signed_quantizer_of_pixels_has_neurons_where_its_grid_does_not_hold_them():
    class OfInput(Network):
        def forward(self, x):
            return super().forward(quantized(x, *SYMMETRIC))

    network = read(lambda n, x: quantized(torch.relu(x)), make=OfInput)
    normalization = Normalization(mean=(0.4,), std=(0.3,))
    imported = import_network(network, SHAPE, 255, normalization)
    assert imported.graph["input_quantizer.counts"].timesteps == 255
    network = read(lambda n, x: quantized(torch.relu(x)), make=OfInput)
    imported = import_network(network, SHAPE, 100)  # its step is that of these pixels
    assert [p.name for p in imported.graph.spiking] == ["relu"]
    imported = import_network(network, SHAPE, 255)
    assert imported.graph["input_quantizer"].timesteps == 100


def test_two_quantizers_of_the_input_and_two_outputs():
    settings = 1 / 255, 0, 0, 255, torch.uint8

    class Twice(Network):
        def forward(self, x):
            y = quantized(torch.relu(self.conv(quantized(x, *settings))), *FOUR_BITS)
            skipped = quantized(x, *settings).flatten(1)
            return {"classes": self.classes(y.flatten(1)), "image": 0.5 * skipped}

    network = read(None, make=Twice)
    assert compare_with_runtime(network, INPUTS).num_counts == 200 * 4 * 36
    imported = import_network(network, SHAPE, 255)
    assert len(imported.notes) == 1
    assert [output.name for output in imported.graph.readout.outputs] == ["classes", "image"]


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.classes = nn.Linear(36, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.classes(quantized(torch.relu(self.hidden(x)), *FOUR_BITS))


def test_a_network_of_vectors_takes_images():
    torch.manual_seed(0)
    network = read_exported(torch.export.export(Vector().eval(), (torch.zeros(2, 36),)))
    assert network.input_shape == (36,)
    imported = import_network(for_images(network, SHAPE), SHAPE, 255)
    assert [(p.name, p.timesteps) for p in imported.graph.spiking] == [("relu", 15)]
    assert imported.agreement.num_counts == 12 * 8


class Observed(nn.Module):
    """A fake quantizer that still observes."""

    def __init__(self):
        super().__init__()
        for name, tensor in (("off", torch.tensor([0])), ("low", torch.tensor(0.0))):
            self.register_buffer(name, tensor)
        self.register_buffer("step", torch.tensor([0.1]))
        self.register_buffer("zero", torch.tensor([0], dtype=torch.int32))

    def forward(self, x):
        return torch.fused_moving_avg_obs_fake_quant(
            x, self.off, self.off, self.low, self.low, self.step, self.zero, 0.01, 0, 255, 1
        )


def dynamic(n, x):
    step, zero = decomposed.choose_qparams(x, 0, 255, 1e-6, torch.uint8)
    codes = decomposed.quantize_per_tensor.tensor(x, step, zero, 0, 255, torch.uint8)
    return decomposed.dequantize_per_tensor.tensor(codes, step, zero, 0, 255, torch.uint8)


REFUSED = {
    r"^conv\.quantize_per_tensor: this quantizer is signed: its values go from -1\.28 to 1\.27": (
        lambda n, x: quantized(x, *SYMMETRIC)
    ),
    r"is signed: its values go from -1 to 1\.55": (
        lambda n, x: quantized(n.second(torch.relu(x)), 0.01, 100, 0, 255, torch.uint8)
    ),
    r"is signed: its values go from -1\.28 to 1\.27": (
        lambda n, x: clipped_twice(quantized(x, *SYMMETRIC), torch.relu, lambda v: v)
    ),
    r"dynamic quantization computes its step from each input": dynamic,
    r"this activation, 'relu_1', is read by 'add' .* without a quantizer between them": (
        lambda n, x: quantized(torch.relu(x)) + torch.relu(x)
    ),
    r"this activation, 'relu', is read by 'avg_pool2d'": (
        lambda n, x: quantized(nn.functional.avg_pool2d(torch.relu(x), 1))
    ),
    r"this activation, '(clamp|relu)', is read by 'linear' .* without a quantizer": (
        lambda n, x: quantized(x, *SYMMETRIC).clamp(0, 0.302)
    ),
    r"this activation, 'relu', is read by 'cat' .* where the activation is a module": (
        lambda n, x: quantized(torch.cat([nn.functional.max_pool2d(torch.relu(x), 1), x], 1)[:, 2:6])
    ),
    r"'add' computes with integers; integer arithmetic hides": (
        lambda n, x: value((code(x) + 1).to(torch.uint8))
    ),
    r"its step or zero point is not that of its quantize operation": (
        lambda n, x: value(code(x), *FOUR_BITS)
    ),
    r"clipped at 0\.52, below the largest value .* for a part of what": (
        lambda n, x: quantized(torch.cat([x.clamp(0, 0.52), torch.relu(x)], 1)[:, 2:6], *FOUR_BITS)
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_spike_count_is_refused_by_name(message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        read(REFUSED[message])


def test_a_program_that_is_prepared_but_not_converted_is_refused():
    network = Network(lambda n, x: n.observed(torch.relu(x)))
    network.observed = Observed()
    program = torch.export.export(network.eval(), (torch.zeros(2, *SHAPE),))
    with pytest.raises(
        UnsupportedNetworkError, match="prepared for quantization but not converted"
    ):
        read_exported(program)


def test_a_network_without_quantizers_has_a_judge():
    network = read(lambda n, x: torch.relu(x))
    assert not network.is_quantized
    assert network.source == "PyTorch exported program without quantizers"
    assert network.input_shape == SHAPE
    with torch.no_grad():
        ours = network.module(INPUTS.double())
    theirs = network.execute(INPUTS.numpy())
    assert theirs.quantized == {}
    assert np.allclose(ours.numpy(), theirs.logits, atol=1e-6)
