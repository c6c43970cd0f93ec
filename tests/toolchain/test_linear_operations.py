"""What is linear converts, however it is written, and what cannot be read is refused before any work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from converted_logits import check_logits
from random_modules import random_pixels
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.guard import evaluation_copy
from toolchain.method.quantizers import TimestepQuantizer

SHAPE = (1, 4, 6)


class Between(nn.Module):
    """A quantized convolution to (4, 4, 6), the operations of ``between``, and a second quantizer."""

    def __init__(self, between, *parts):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.first, self.last = (
            TimestepQuantizer(3, threshold=0.7),
            TimestepQuantizer(threshold=0.9),
        )
        self.parts = nn.ModuleList(parts)
        self.between = between

    def forward(self, x):
        y = self.conv(x)
        return self.last(self.between(self.first(y), y, *self.parts))


def with_shape(x, y):
    b, c, h, w = x.shape
    return F.avg_pool2d(x, (h, w)).view(b, c)


def normalized(x, y, mean, std):
    return (x - mean.weight[0].view(1, -1, 1, 1)) / std.weight[0].abs().view(-1, 1, 1)


def shuffled(x, y):
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


LINEAR = {
    "average over the width": lambda x, y: F.avg_pool2d(x, x.size()[2]),
    "average over height and width": with_shape,
    "channels": lambda x, y: x[:, :2],
    "every second row": lambda x, y: x[:, :, ::2, ::2],
    "Linear on the channels": (
        lambda x, y, m: m(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        nn.Linear(4, 2),
    ),
    "view of a computed size": lambda x, y: x.view(x.size(0), 4 * 4 * 6),
    "other by keyword": lambda x, y: torch.add(x, other=y),
    "residual of the convolution": lambda x, y: y + x,
    "scaling": lambda x, y: x * 0.25,
    "difference": lambda x, y: y - x,
    "constant": lambda x, y: x + 0.3,
    "normalization": (normalized, nn.Linear(4, 1), nn.Linear(4, 1)),
    "adaptive average of the same size": (lambda x, y, m: m(x), nn.AdaptiveAvgPool2d((4, 6))),
    "BatchNorm1d": (lambda x, y, m, n: n(m(x.flatten(1))), nn.Linear(96, 3), nn.BatchNorm1d(3)),
    "Conv1d": (lambda x, y, m: m(x[:, :, 0]), nn.Conv1d(4, 2, 3, padding=1)),
    "dilation": (lambda x, y, m: m(x), nn.Conv2d(4, 2, 2, dilation=(1, 2))),
    "same": (lambda x, y, m: m(x), nn.Conv2d(4, 2, (1, 3), padding="same")),
    "ceil mode": lambda x, y: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "without the padding": lambda x, y: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "ZeroPad2d": (lambda x, y, m: m(x), nn.ZeroPad2d((1, 0, 2, 0))),
    "squeeze": lambda x, y: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "contiguous": lambda x, y: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "concatenation": (
        lambda x, y, m: m(torch.cat([x[:, 1:3], y, x], dim=1)),
        nn.Conv2d(10, 2, 3, padding=1),
    ),
    "channel shuffle": shuffled,
    "Upsample": (lambda x, y, m: m(x), nn.Upsample(scale_factor=2)),
    "ConvTranspose2d": (lambda x, y, m: m(x), nn.ConvTranspose2d(4, 2, 3, 2, 1, 1)),
    "two convolutions": (lambda x, y, m, n: n(m(x)), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 2, 1)),
}


def network_of(entry):
    between, *parts = entry if isinstance(entry, tuple) else (entry,)
    torch.manual_seed(0)
    return Between(between, *parts)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operations_convert_exactly(name):
    network = network_of(LINEAR[name])
    graph = convert(network, SHAPE, 255)
    assert len(graph.spiking) == 2
    check_logits(evaluation_copy(network), graph, random_pixels(SHAPE, 1))


def test_the_function_of_the_logits_is_left_out_with_a_warning():
    network = network_of(lambda x, y: x)
    network.last = nn.Sequential(nn.Flatten(), nn.Linear(96, 3), nn.LogSoftmax(1))
    with pytest.warns(
        UserWarning, match="ends in log_softmax, which was left out: it does not change"
    ):
        graph = convert(network, SHAPE, 255)
    check_logits(evaluation_copy(network), graph, random_pixels(SHAPE, 1), "ends in log_softmax,")


@pytest.mark.parametrize(
    "changes",
    [
        {"input_shape": (13,)},
        {"input_shape": (1, -8, 8)},
        {"input_shape": (1, 8.0, 8)},
        {"input_shape": None},
        {"max_value": 0},
        {"max_value": 1.5},
    ],
)
def test_inputs_that_are_no_images_are_refused(changes):
    given = {"input_shape": SHAPE, "max_value": 255, **changes}
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(nn.Flatten(), **given)
    assert str(refusal.value) == (
        "input_shape must be (channels, height, width), and max_value the largest pixel, all positive "
        f"integers, not {given['input_shape']} and {given['max_value']}; pass for example (3, 32, 32) and 255"
    )


def test_sizes_of_numpy_are_integers():
    shape = tuple(np.array(SHAPE))
    network = nn.Sequential(TimestepQuantizer(), nn.Flatten())
    assert convert(network, shape, np.uint8(255)).input.shape == SHAPE


class Unpooled(nn.Module):
    def forward(self, x):
        values, indices = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(values, indices, 2)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            nn.Conv2d(2, 2, 1),
            "fails on an input of shape (1, 1, 4, 6) in float64 and evaluation mode",
        ),
        (
            nn.Flatten().state_dict(),
            "must be a torch.nn.Module, not OrderedDict; build the module, and load",
        ),
        (nn.DataParallel(nn.Flatten()), "the network is wrapped in DataParallel; pass its .module"),
        (
            torch.compile(nn.Flatten(), backend="eager"),
            "pass the network that was given to torch.compile, its ._orig_mod",
        ),
        (
            nn.Linear(6, 2, device="meta"),
            "cannot be brought to the CPU, float64 and evaluation mode",
        ),
        (
            Unpooled(),
            "it reads another result of 'max_pool2d_with_indices' than its values, such as indices",
        ),
        (
            nn.MaxPool2d(2),
            "its output is a max pool of values that are no spike counts; put a quantizer",
        ),
        (
            network_of(lambda x, y: x[..., ::2, ::2] - F.max_pool2d(y, 2)),
            "it follows a max pool of values that are no spike counts",
        ),
        (
            network_of(lambda x, y: torch.zeros_like(F.max_pool2d(y, 2)) + x[..., ::2, ::2]),
            "it follows a max pool of values that are no spike counts",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(network, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(network, SHAPE, 255)
    assert message in str(refusal.value)
