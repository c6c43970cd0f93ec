"""Fit images, channels first, to the input that a network from another tool takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from torch import Tensor, fx, nn
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import ForeignNetwork, RuntimeValues
from toolchain.networks.linear_maps import Shape

Layout: TypeAlias = Literal[
    "channels first", "channels last", "flat", "without channels", "without height"
]
"""How a network's input holds an image: ``(C, H, W)``, ``(H, W, C)``, ``(C * H * W,)``, ``(H, W)`` if it has
one channel, or ``(C, W)`` if it has one row."""

_CHANNELS = (1, 3, 4)  # of an image, where nothing but a shape is known


def image_shape_of(shape: Sequence[int]) -> Shape:
    """The image (channels, height, width) that an input of a shape, without batch, holds.

    Raises:
        UnsupportedNetworkError: it holds no image.
    """
    match tuple(shape):
        case (size,):
            return size, 1, 1
        case (channels, length):
            return channels, 1, length
        case (height, width, channels) if channels in _CHANNELS and height not in _CHANNELS:
            return channels, height, width
        case (channels, height, width):
            return channels, height, width
    raise UnsupportedNetworkError(
        f"the network takes an input of shape {tuple(shape)} for each sample; only images, "
        f"(channels, height, width), and vectors can be converted"
    )


def layout_of(shape: Sequence[int], image: Shape) -> Layout:
    """How an input of a shape, without batch, holds an image.

    Raises:
        UnsupportedNetworkError: it cannot hold it.
    """
    channels, height, width = image
    match tuple(shape):
        case found if found == image:
            return "channels first"
        case found if found == (height, width, channels):
            return "channels last"
        case (size,) if size == prod(image):
            return "flat"
        case found if channels == 1 and found == (height, width):
            return "without channels"
        case found if height == 1 and found == (channels, width):
            return "without height"
    raise UnsupportedNetworkError(
        f"the network takes an input of shape {tuple(shape)} for each sample, but images have shape {image}, "
        f"(channels, height, width); choose the data set that it was trained on, or another input shape"
    )


def for_images(network: ForeignNetwork, image: Shape) -> ForeignNetwork:
    """The same network and judge, which take images ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: its input cannot hold such an image.
    """
    if network.input_shape is None:
        return network
    layout = layout_of(network.input_shape, image)
    if layout == "channels first":
        return network
    if isinstance(network.module, fx.GraphModule):
        _rearrange_first(network.module, layout)
    else:
        network.module.register_forward_pre_hook(partial(_rearranged, layout))

    def execute(
        inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        return network.execute(np.ascontiguousarray(_arranged(layout, inputs)), stimuli)

    note = f"its input holds an image as {_WORDS[layout]}"
    return replace(network, execute=execute, input_shape=image, notes=(*network.notes, note))


_WORDS: dict[Layout, str] = {
    "channels first": "(channels, height, width)",
    "channels last": "(height, width, channels)",
    "flat": "one vector, in the order of (channels, height, width)",
    "without channels": "(height, width)",
    "without height": "(channels, length)",
}


def _rearranged(layout: Layout, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
    (images,) = args
    return (_arranged(layout, images),)


def _rearrange_first(module: fx.GraphModule, layout: Layout) -> None:
    """Put the rearrangement into a graph: ``torch.export`` leaves out the hooks of a graph module."""
    (given,) = (node for node in module.graph.nodes if node.op == "placeholder")
    arranging = fx.Graph()
    arranging.output(_arranged(layout, fx.Proxy(arranging.placeholder("images"))).node)
    with module.graph.inserting_before(given):
        arranged = module.graph.graph_copy(arranging, {})
    given.replace_all_uses_with(cast(fx.Node, arranged))
    module.graph.erase_node(given)
    module.recompile()


def _arranged(layout: Layout, images: Any) -> Any:
    """Images ``(B, C, H, W)``, a tensor or an array, in another layout."""
    match layout:
        case "channels first":
            return images
        case "channels last":
            return images.swapaxes(1, 2).swapaxes(2, 3)
        case "flat":
            return images.reshape(images.shape[0], -1)
        case "without channels":
            return images[:, 0]
        case "without height":
            return images[:, :, 0]
        case _:
            assert_never(layout)
