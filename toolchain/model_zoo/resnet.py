"""Residual networks of basic blocks (He et al., 2016), for small and large images.

ResNet-18 and ResNet-34 have the published widths; for small images their stem is one 3x3 convolution
without pooling. ResNet-20 is the three-stage CIFAR network with 1x1 convolution shortcuts, as in QCFS (Bu
et al., 2022). ResNet-8 is the same with one block per stage, and its stem halves small images of more than 16
pixels. ResNet-19 is the wide three-stage network with a hidden dense layer (Zheng et al., 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from toolchain.networks.linear_maps import Shape

LARGE_IMAGE = 64  # images with more rows or columns get the 7x7 stem with stride and pooling


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the second activation follows their sum."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.inner_conv = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(channels)
        self.inner = nn.ReLU()
        self.join_conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.join_norm = nn.BatchNorm2d(channels)
        self.join = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner(self.inner_norm(self.inner_conv(x)))
        return self.join(self.join_norm(self.join_conv(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, stages of basic blocks that halve the image, global average pool, dense head.

    Args:
        widths: channels of each stage.
        depths: blocks of each stage.
        dense: hidden units between the pool and the head; 0 for none.
        halves: whether the stem of small images halves those of more than 16 rows and columns.
    """

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        width: float,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        dense: int = 0,
        halves: bool = False,
    ) -> None:
        super().__init__()
        channels, *image = input_shape
        current = max(1, round(widths[0] * width))
        if max(image) > LARGE_IMAGE:
            self.stem_conv = nn.Conv2d(channels, current, 7, stride=2, padding=3, bias=False)
            self.stem_pool: nn.Module = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            stride = 2 if halves and min(image) > 16 else 1
            self.stem_conv = nn.Conv2d(channels, current, 3, stride, padding=1, bias=False)
            self.stem_pool = nn.Identity()
        self.stem_norm = nn.BatchNorm2d(current)
        self.stem = nn.ReLU()
        stages = []
        for stage, (base, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                wide = max(1, round(base * width))
                blocks.append(BasicBlock(current, wide, stride))
                current = wide
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        hidden = max(1, round(dense * width)) if dense else 0
        if hidden:
            self.dense_linear = nn.Linear(current, hidden)
            self.dense = nn.ReLU()
        self.head = nn.Linear(hidden or current, num_classes)
        self.has_dense = bool(hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_pool(self.stem(self.stem_norm(self.stem_conv(x))))
        x = torch.flatten(self.pool(self.stages(x)), 1)
        if self.has_dense:
            x = self.dense(self.dense_linear(x))
        return self.head(x)
