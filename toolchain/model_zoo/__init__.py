"""Built-in networks: ANNs with ReLU, as the conversion literature defines them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.model_zoo.lenet import LeNet
from toolchain.model_zoo.resnet import ResNet
from toolchain.model_zoo.resnet_mini import ResNetMini
from toolchain.model_zoo.vgg import VGG
from toolchain.networks.linear_maps import Shape

_Builder = Callable[[Shape, int, float], nn.Module]

ARCHITECTURES: dict[str, _Builder] = {
    "lenet": LeNet,
    "resnet-mini": ResNetMini,
    "vgg-9": partial(VGG, stages=((64, 64), (128, 128), (256, 256, 256)), dense=(1024,)),
    "vgg-16": partial(
        VGG,
        stages=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
        dense=(4096, 4096),
    ),
    "resnet-8": partial(ResNet, widths=(16, 32, 64), depths=(1, 1, 1), halves=True),
    "resnet-18": partial(ResNet, widths=(64, 128, 256, 512), depths=(2, 2, 2, 2)),
    "resnet-19": partial(ResNet, widths=(128, 256, 512), depths=(3, 3, 2), dense=256),
    "resnet-20": partial(ResNet, widths=(16, 32, 64), depths=(3, 3, 3)),
    "resnet-34": partial(ResNet, widths=(64, 128, 256, 512), depths=(3, 4, 6, 3)),
}


def build_model(
    architecture: str, input_shape: Shape, num_classes: int, width: float = 1.0
) -> nn.Module:
    """Build an ANN with random initial weights.

    Args:
        width: factor on the number of channels and hidden units of every layer.

    Raises:
        UnsupportedNetworkError: there is no such architecture (the message lists them), or the images are
            too small for it.
    """
    if architecture not in ARCHITECTURES:
        raise UnsupportedNetworkError(
            f"no architecture is named '{architecture}'; choose one of {', '.join(ARCHITECTURES)}"
        )
    if width <= 0:
        raise UnsupportedNetworkError(f"width must be positive, not {width:g}")
    return ARCHITECTURES[architecture](input_shape, num_classes, width)
