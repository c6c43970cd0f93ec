"""The networks of the public QCFS implementation, with its names of modules.

Source: Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural
networks", 2022; repositories putshua/ANN_SNN_QCFS and, with ``up`` for ``thresh`` and ``relu`` for ``act``,
putshua/SNN_conversion_QCFS. Its ResNets have a 3x3 stem without pooling for images of every size.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import Shape

MakeActivation = Callable[[], nn.Module]

_VGG_WIDTHS = (64, 128, 256, 512, 512)  # of each stage
_VGG_DEPTHS = {
    "vgg-11": (1, 1, 2, 2, 2),
    "vgg-13": (2, 2, 2, 2, 2),
    "vgg-16": (2, 2, 3, 3, 3),
    "vgg-19": (2, 2, 4, 4, 4),
}
_WITHOUT_NORM = "-wobn"
_DENSE_WIDTH = 4096
_WIDE, _NARROW = (64, 128, 256, 512), (16, 32, 64)
_RESNETS = {  # widths and depths of the stages
    "resnet-18": (_WIDE, (2, 2, 2, 2)),
    "resnet-20": (_NARROW, (3, 3, 3)),
    "resnet-34": (_WIDE, (3, 4, 6, 3)),
    "resnet-50": (_WIDE, (3, 4, 6, 3)),
    "resnet-101": (_WIDE, (3, 4, 23, 3)),
    "resnet-152": (_WIDE, (3, 8, 36, 3)),
}
_BOTTLENECKS = ("resnet-50", "resnet-101", "resnet-152")
_EXPANSION = 4  # of a bottleneck block

ARCHITECTURES = (
    *_VGG_DEPTHS,
    *(name + _WITHOUT_NORM for name in _VGG_DEPTHS),
    *_RESNETS,
)
"""VGGs with average pooling and batch norm, VGGs without batch norm and with max pooling, and ResNets."""


def build_qcfs_network(
    architecture: str,
    input_shape: Shape,
    num_classes: int,
    activation: MakeActivation,
    width: float = 1.0,
) -> nn.Module:
    """Build a network with random weights.

    Args:
        architecture: one of ``ARCHITECTURES``.
        activation: makes the module for each activation; its parameters keep their names.
        width: factor on the number of channels and hidden units.

    Raises:
        UnsupportedNetworkError: there is no such architecture, or the images are too small for it.
    """
    name = qcfs_architecture(architecture)
    if name in _RESNETS:
        widths, depths = _RESNETS[name]
        return _resnet(
            input_shape[0],
            num_classes,
            activation,
            widths=_scaled(widths, width),
            depths=depths,
            bottleneck=name in _BOTTLENECKS,
        )
    return _vgg(
        input_shape,
        num_classes,
        activation,
        depths=_VGG_DEPTHS[name.removesuffix(_WITHOUT_NORM)],
        width=width,
        norm=not name.endswith(_WITHOUT_NORM),
    )


def qcfs_architecture(name: str) -> str:
    """The name of an architecture, also of one in the spelling of the public code, such as ``vgg16_wobn``.

    Raises:
        UnsupportedNetworkError: QCFS has no such architecture.
    """
    spelled = re.sub(r"^(vgg|resnet)-?(\d)", r"\1-\2", name.lower().replace("_", "-"))
    if spelled not in ARCHITECTURES:
        raise UnsupportedNetworkError(
            f"'{name}' is not a QCFS architecture; choose one of {', '.join(ARCHITECTURES)}"
        )
    return spelled


def _scaled(widths: Sequence[int], width: float) -> list[int]:
    return [max(1, round(base * width)) for base in widths]


def _vgg(
    input_shape: Shape,
    num_classes: int,
    activation: MakeActivation,
    *,
    depths: Sequence[int],
    width: float,
    norm: bool,
) -> nn.Module:
    current, rows, columns = input_shape
    halvings = len(depths)
    if min(rows, columns) < 2**halvings:
        raise UnsupportedNetworkError(
            f"this VGG halves the image {halvings} times and needs {2**halvings} x {2**halvings} pixels or "
            f"more, not {rows} x {columns}; give the size that it was trained with as --image"
        )
    network = nn.Sequential()
    stages = zip(_scaled(_VGG_WIDTHS, width), depths, strict=True)
    for stage, (channels, depth) in enumerate(stages, start=1):
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers.append(nn.Conv2d(current, channels, 3, padding=1))
            layers += [nn.BatchNorm2d(channels)] if norm else []
            layers += [activation(), nn.Identity()]  # dropout in training
            current = channels
        layers.append(nn.AvgPool2d(2) if norm else nn.MaxPool2d(2))
        network.add_module(f"layer{stage}", nn.Sequential(*layers))
    (dense,) = _scaled([_DENSE_WIDTH], width)
    features = current * (rows >> halvings) * (columns >> halvings)
    classifier = nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, dense), activation(), nn.Identity(),
        nn.Linear(dense, dense), activation(), nn.Identity(),
        nn.Linear(dense, num_classes),
    )  # fmt: skip
    network.add_module("classifier", classifier)
    return network


class _Block(nn.Module):
    """A residual function and a shortcut; the last activation follows their sum."""

    def __init__(
        self, current: int, channels: int, stride: int, activation: MakeActivation, bottleneck: bool
    ) -> None:
        super().__init__()
        outputs = channels * _EXPANSION if bottleneck else channels
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        widths = (current, *[channels] * (len(kernels) - 1), outputs)
        layers: list[nn.Module] = []
        for index, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            layers += [] if index == 0 else [activation()]
            layers += _convolution(widths[index], widths[index + 1], kernel, step)
        self.residual_function = nn.Sequential(*layers)
        differs = stride != 1 or current != outputs
        self.shortcut = nn.Sequential(
            *(_convolution(current, outputs, 1, stride) if differs else [])
        )
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.residual_function(x) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class _ResNet(nn.Module):
    """Stem, stages of blocks, global average pool, dense head."""

    def __init__(self, parts: OrderedDict[str, nn.Module], head: nn.Linear) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._parts = tuple(parts)
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = head

    def forward(self, x: Tensor) -> Tensor:
        for name in self._parts:
            x = self.get_submodule(name)(x)
        return self.fc(torch.flatten(self.avg_pool(x), 1))


def _resnet(
    channels: int,
    num_classes: int,
    activation: MakeActivation,
    *,
    widths: Sequence[int],
    depths: Sequence[int],
    bottleneck: bool = False,
) -> nn.Module:
    current = widths[0]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv1"] = nn.Sequential(*_convolution(channels, current, 3, 1), activation())
    for stage, (base, depth) in enumerate(zip(widths, depths, strict=True)):
        blocks = []
        for index in range(depth):
            stride = 2 if stage > 0 and index == 0 else 1
            blocks.append(_Block(current, base, stride, activation, bottleneck))
            current = base * (_EXPANSION if bottleneck else 1)
        parts[f"conv{stage + 2}_x"] = nn.Sequential(*blocks)
    return _ResNet(parts, nn.Linear(current, num_classes))
