"""Built-in networks, trained from scratch with quantizers in place of ReLU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.linear_maps import Shape
from toolchain.quantizers import TimestepQuantizer


class ResNetMini(nn.Module):
    """A residual network of four spiking populations for images of 8x8 to 32x32.

    It has each structure of the large networks once: convolution, residual join, pool-then-convolution,
    pool-then-dense.
    """

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        stride = 2 if min(height, width) > 16 else 1
        self.stem_conv = nn.Conv2d(channels, 16, 3, stride=stride, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(16)
        self.stem = TimestepQuantizer()
        self.inner_conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(16)
        self.inner = TimestepQuantizer()
        self.join_conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.join_norm = nn.BatchNorm2d(16)
        self.join = TimestepQuantizer()
        self.wide_conv = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.wide_norm = nn.BatchNorm2d(32)
        self.wide = TimestepQuantizer()
        self.pool = nn.AvgPool2d(2)
        rows, columns = ((n + stride - 1) // stride // 2 // 2 for n in (height, width))
        self.head = nn.Linear(32 * rows * columns, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(self.stem_norm(self.stem_conv(x)))
        inner = self.inner(self.inner_norm(self.inner_conv(stem)))
        join = self.join(self.join_norm(self.join_conv(inner)) + stem)
        wide = self.wide(self.wide_norm(self.wide_conv(self.pool(join))))
        return self.head(torch.flatten(self.pool(wide), 1))


ARCHITECTURES: dict[str, Callable[[Shape, int], nn.Module]] = {"resnet-mini": ResNetMini}


def build_model(architecture: str, input_shape: Shape, num_classes: int) -> nn.Module:
    """A freshly initialized network.

    Raises:
        UnsupportedNetworkError: no such architecture; the message lists those there are.
    """
    if architecture not in ARCHITECTURES:
        raise UnsupportedNetworkError(
            f"no architecture is named '{architecture}'; choose one of {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[architecture](input_shape, num_classes)
