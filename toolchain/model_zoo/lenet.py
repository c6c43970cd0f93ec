"""LeNet-5 (LeCun et al., 1998) with ReLU and max pooling, for small grey images."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import Shape


class LeNet(nn.Sequential):
    """Two 5x5 convolutions, each with a ReLU and 2x2 max pooling, and three dense layers.

    Both convolutions are padded, so that images of 4x4 pixels and more fit.

    Raises:
        UnsupportedNetworkError: the images are smaller.
    """

    def __init__(self, input_shape: Shape, num_classes: int, width: float = 1.0) -> None:
        channels, rows, columns = input_shape
        if min(rows, columns) < 4:
            raise UnsupportedNetworkError(
                f"lenet halves the image twice and needs 4 x 4 pixels or more, not {rows} x {columns}; pad "
                f"the images"
            )
        first, second, third, fourth = (max(1, round(n * width)) for n in (6, 16, 120, 84))
        pixels = (rows // 4) * (columns // 4)
        layers: dict[str, nn.Module] = {
            "conv1_conv": nn.Conv2d(channels, first, 5, padding=2),
            "conv1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "conv2_conv": nn.Conv2d(first, second, 5, padding=2),
            "conv2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "dense1_linear": nn.Linear(second * pixels, third),
            "dense1": nn.ReLU(),
            "dense2_linear": nn.Linear(third, fourth),
            "dense2": nn.ReLU(),
            "head": nn.Linear(fourth, num_classes),
        }
        super().__init__(OrderedDict(layers))
