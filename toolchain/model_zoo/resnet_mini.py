"""A residual network that trains in seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.networks.linear_maps import Shape


class ResNetMini(nn.Module):
    """A residual network of four activations for images of 8x8 to 32x32.

    It contains each structure of the large networks once: a convolution, a residual join, a pool before a
    convolution, and a pool before a dense layer.
    """

    def __init__(self, input_shape: Shape, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        channels, height, image_width = input_shape
        narrow, wide = (max(1, round(n * width)) for n in (16, 32))
        stride = 2 if min(height, image_width) > 16 else 1
        self.stem_conv = nn.Conv2d(channels, narrow, 3, stride=stride, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(narrow)
        self.stem = nn.ReLU()
        self.inner_conv = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(narrow)
        self.inner = nn.ReLU()
        self.join_conv = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False)
        self.join_norm = nn.BatchNorm2d(narrow)
        self.join = nn.ReLU()
        self.wide_conv = nn.Conv2d(narrow, wide, 3, padding=1, bias=False)
        self.wide_norm = nn.BatchNorm2d(wide)
        self.wide = nn.ReLU()
        self.pool = nn.AvgPool2d(2)
        rows, columns = ((n + stride - 1) // stride // 2 // 2 for n in (height, image_width))
        self.head = nn.Linear(wide * rows * columns, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(self.stem_norm(self.stem_conv(x)))
        inner = self.inner(self.inner_norm(self.inner_conv(stem)))
        join = self.join(self.join_norm(self.join_conv(inner)) + stem)
        wide = self.wide(self.wide_norm(self.wide_conv(self.pool(join))))
        return self.head(torch.flatten(self.pool(wide), 1))
