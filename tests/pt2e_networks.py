"""Networks that torchao's export quantization made, small enough for tests."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from types import SimpleNamespace

import torch
from torch import nn

SHAPE = (1, 8, 8)
BATCH = ({0: torch.export.Dim("batch")},)


@cache
def torchao():
    """What the tests use of it; importing it takes as long as collecting hundreds of tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        from torchao.quantization import pt2e
        from torchao.quantization.pt2e import quantize_pt2e
        from torchao.quantization.pt2e.quantizer import (
            arm_inductor_quantizer,
            x86_inductor_quantizer,
        )
        from torchao.testing.pt2e import _xnnpack_quantizer

        logging.disable(logging.NOTSET)
    return SimpleNamespace(
        steps=quantize_pt2e,
        move_to_eval=pt2e.move_exported_model_to_eval,
        arm=arm_inductor_quantizer,
        x86=x86_inductor_quantizer,
        xnnpack=_xnnpack_quantizer,
    )


class Block(nn.Module):
    """A residual block; the second has a channel more for its 1x1 convolution to make."""

    def __init__(self, channels, features):
        super().__init__()
        self.conv1, self.norm1 = (
            nn.Conv2d(channels, features, 3, padding=1),
            nn.BatchNorm2d(features),
        )
        self.conv2, self.norm2 = (
            nn.Conv2d(features, features, 3, padding=1),
            nn.BatchNorm2d(features),
        )
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        y += x
        return self.relu2(y)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.block1, self.block2 = Block(4, 4), Block(4, 4)
        self.classes = nn.Linear(64, 3)

    def forward(self, x):
        x = self.block2(self.block1(self.relu(self.conv(x))))
        return self.classes(self.pool(x).flatten(1))


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        self.hidden, self.clip, self.classes = nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x):
        x = self.pool(self.relu(self.conv(x)))
        return self.classes(self.clip(self.hidden(x.view(x.size(0), -1))))


def quantizer_of(name, is_qat):
    match name:
        case "x86":
            config = torchao().x86.get_default_x86_inductor_quantization_config
            quantizer = torchao().x86.X86InductorQuantizer()
            return quantizer.set_global(config(is_qat=is_qat))
        case "arm":
            config = torchao().arm.get_default_arm_inductor_quantization_config
            quantizer = torchao().arm.ArmInductorQuantizer()
            return quantizer.set_global(config(is_qat=is_qat))
    xnnpack = torchao().xnnpack
    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_qat=is_qat)
    return xnnpack.XNNPACKQuantizer().set_global(config)


def quantized(network, quantizer, *, is_qat=False, size=None):
    """The converted module of a network, calibrated on random pixels.

    Args:
        size: the only batch size that it takes; None for any.
    """
    shapes = BATCH if size is None else None
    images = torch.zeros(size or 2, *SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = network.train() if is_qat else network.eval()
        exported = torch.export.export(module, (images,), dynamic_shapes=shapes).module()
        steps = torchao().steps
        prepare = steps.prepare_qat_pt2e if is_qat else steps.prepare_pt2e
        prepared = prepare(exported, quantizer_of(quantizer, is_qat))
        for _ in range(3):
            prepared(torch.randint(0, 256, (size or 16, *SHAPE)) / 255)
        converted = steps.convert_pt2e(prepared)
        torchao().move_to_eval(converted)
    return converted


def exported(module, size=None):
    images = torch.zeros(size or 2, *SHAPE)
    return torch.export.export(module, (images,), dynamic_shapes=BATCH if size is None else None)
