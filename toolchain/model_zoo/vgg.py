"""Plain convolutional networks: VGG-16 (Simonyan & Zisserman, 2015) and VGG-9 (Lee et al., 2020).

As in QCFS (Bu et al., 2022), every 3x3 convolution has a batch norm, every stage ends with 2x2 pooling, and
hidden dense layers have dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import Shape


class VGG(nn.Module):
    """Stages of convolutions with a pool after each, then dense layers.

    Args:
        stages: channels of each convolution, stage by stage.
        dense: units of each hidden dense layer.

    Raises:
        UnsupportedNetworkError: the images are too small for the number of pools.
    """

    def __init__(
        self,
        input_shape: Shape,
        num_classes: int,
        width: float,
        *,
        stages: Sequence[Sequence[int]],
        dense: Sequence[int],
    ) -> None:
        super().__init__()
        current, rows, columns = input_shape
        if min(rows, columns) < 2 ** len(stages):
            raise UnsupportedNetworkError(
                f"this VGG halves the image {len(stages)} times and needs {2 ** len(stages)} x "
                f"{2 ** len(stages)} pixels or more, not {rows} x {columns}; pad the images, or use "
                f"vgg-9 or a ResNet"
            )
        features = nn.Sequential()
        index = 0
        for stage, channels in enumerate(stages, start=1):
            for base in channels:
                index += 1
                scaled = max(1, round(base * width))
                features.add_module(f"conv{index}_conv", nn.Conv2d(current, scaled, 3, padding=1))
                features.add_module(f"conv{index}_norm", nn.BatchNorm2d(scaled))
                features.add_module(f"conv{index}", nn.ReLU())
                current = scaled
            features.add_module(f"pool{stage}", nn.MaxPool2d(2))
            rows, columns = rows // 2, columns // 2
        self.features = features
        classifier = nn.Sequential()
        classifier.add_module("flatten", nn.Flatten())
        current *= rows * columns
        for layer, units in enumerate(dense, start=1):
            scaled = max(1, round(units * width))
            classifier.add_module(f"dense{layer}_linear", nn.Linear(current, scaled))
            classifier.add_module(f"dense{layer}", nn.ReLU())
            classifier.add_module(f"dense{layer}_dropout", nn.Dropout(0.5))
            current = scaled
        classifier.add_module("head", nn.Linear(current, num_classes))
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))
