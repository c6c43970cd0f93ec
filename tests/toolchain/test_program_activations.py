"""Exported programs with quantizers in the place of their activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format.program_activations import quantize_program
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.training import ann_logits

SHAPE = (1, 8, 8)
BATCH = ({0: torch.export.Dim("batch")},)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.norm(self.conv(x)))
        y += x
        return self.relu(y)  # the same module a second time


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.block, self.clip = nn.Conv2d(1, 4, 3, padding=1), Block(), nn.ReLU6()
        self.drop, self.hidden, self.classes = nn.Dropout(), nn.Linear(64, 6), nn.Linear(6, 3)
        self.bound = nn.Linear(6, 6)

    def forward(self, x):
        x = F.relu(self.conv(x), inplace=True)
        x = F.max_pool2d(self.block(x), 2)
        x = self.clip(self.hidden(self.drop(x.view(x.size(0), -1))))
        x = torch.clamp(self.bound(x), 0, 0.5)
        return self.classes(x)


NAMES = ["relu", "block.relu", "block.relu_1", "clip", "clamp"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module", params=["a free batch size", "batches of 1", "batches of 2"])
def program(network, request):
    size = 1 if request.param == "batches of 1" else 2
    images = torch.zeros(size, *SHAPE)
    return torch.export.export(
        network, (images,), dynamic_shapes=BATCH if "free" in request.param else None
    )


def test_the_program_with_transparent_quantizers_is_the_network(network, program):
    module = quantize_program(program, TimestepQuantizer)
    assert sorted(quantizers(module)) == sorted(NAMES)
    clips = {name: quantizer.clip for name, quantizer in quantizers(module).items()}
    assert (clips["clip"], clips["clamp"], clips["relu"]) == (6, 0.5, None)
    handles = [
        quantizer.register_forward_hook(lambda q, given, _: given[0].clamp(0, q.clip))
        for quantizer in quantizers(module).values()
    ]
    images = torch.rand(7, *SHAPE)
    assert torch.allclose(module(images), network(images), rtol=0, atol=1e-6)
    assert len(handles) == len(NAMES)
    for handle in handles:
        handle.remove()
    assert not torch.allclose(module(images), network(images), rtol=0, atol=1e-3)


def test_it_is_trained_and_converted(network, program):
    weights = network.conv.weight.clone()
    module = quantize_program(program, TimestepQuantizer).train()
    module(torch.rand(4, *SHAPE)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    torch.optim.SGD(module.parameters(), 1e-3).step()
    assert torch.equal(network.conv.weight, weights)  # the user's own stay
    graph = convert(module.eval(), SHAPE, 16)
    assert [p.name for p in graph.spiking if p.role == "activation"] == NAMES
    pixels = np.random.default_rng(0).integers(0, 17, (5, *SHAPE))
    expected = ann_logits(module, pixels, 16)
    assert np.allclose(run_float_snn(graph, pixels).logits, expected, rtol=0, atol=1e-5)


def test_a_module_is_taken_as_well(network):
    module = quantize_program(network, TimestepQuantizer)
    assert len(quantizers(module)) == len(NAMES)


def exported(*layers):
    return torch.export.export(nn.Sequential(*layers).eval(), (torch.zeros(2, *SHAPE),))


def test_what_has_no_quantizer_is_named():
    with pytest.raises(UnsupportedNetworkError, match="LeakyReLU has no integrate-and-fire form"):
        quantize_program(exported(nn.LeakyReLU(), nn.Flatten()), TimestepQuantizer)
    with pytest.raises(UnsupportedNetworkError, match="the program has no activation"):
        quantize_program(exported(nn.Flatten(), nn.Linear(64, 3)), TimestepQuantizer)


def test_a_program_that_was_exported_in_training_mode_is_refused():
    training = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU()).train()
    program = torch.export.export(training, (torch.zeros(2, *SHAPE),))
    with pytest.raises(UnsupportedNetworkError, match=r"^0: 'batch_norm' is in training mode"):
        quantize_program(program, TimestepQuantizer)


def test_a_program_of_one_batch_size_that_cannot_be_released_is_refused():
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.relu(x.permute(1, 0, 2, 3).reshape(1, 2, 64)[0])

    program = torch.export.export(Fixed(), (torch.zeros(2, *SHAPE),))
    with pytest.raises(UnsupportedNetworkError, match=r"exported for batches of 2 and does not"):
        quantize_program(program, TimestepQuantizer)
