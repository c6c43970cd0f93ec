"""What a population's weights read in the integer network: patches of counts at a few positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.method.float_snn import transmit
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    LinearMap,
    Scale,
    Shape,
    as_grouped_convolution,
    chain_output_shape,
)
from toolchain.post_training.closed_form import SharedWeight, shared_weights

MOST_PATCHES = 4096
"""Positions of a layer, over all images, at which its inputs and currents are read."""

_GOLDEN_RATIO = (5**0.5 - 1) / 2


def sampled_positions(num_images: int, shape: Shape) -> np.ndarray:
    """Positions of a feature map that are read in each image: all, or a few at even distances.

    Returns:
        Indices in row-major order, int64 ``(images, positions)``.
    """
    num_positions = shape[1] * shape[2]
    per_image = max(1, MOST_PATCHES // num_images)
    if per_image >= num_positions:
        return np.tile(np.arange(num_positions), (num_images, 1))
    # multiples of the golden ratio fill the map evenly, within each image and over all of them
    index = np.arange(num_images * per_image).reshape(num_images, per_image)
    return np.floor(index * _GOLDEN_RATIO % 1 * num_positions).astype(np.int64)


def at_positions(values: Tensor, positions: np.ndarray) -> np.ndarray:
    """Values ``(B, C, H, W)`` at some positions, float64 ``(C, B * positions)``."""
    channels = values.shape[1]
    index = torch.from_numpy(positions)[:, None].expand(-1, channels, -1)
    read = values.flatten(2).gather(2, index)
    return read.permute(1, 0, 2).reshape(channels, -1).double().numpy()


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """A weight of a population; what follows an exact max pool reads several sources through one.

    Attributes:
        paths: sources, each with the maps in front of the weight. The weight reads their sum.
        convolution: the weight as a convolution of what it reads, with folded scales.
    """

    paths: tuple[tuple[str, tuple[LinearMap, ...]], ...]
    convolution: Convolution

    @property
    def sources(self) -> list[str]:
        return [source for source, _ in self.paths]

    def by_group(self, weight: np.ndarray) -> np.ndarray:
        """A weight in any of its shapes as ``(groups, outputs, inputs)``."""
        groups = self.convolution.groups
        return weight.reshape(groups, len(self.convolution.weight) // groups, -1)

    def patches(
        self, counts: Mapping[str, Tensor], positions: np.ndarray, columns: int
    ) -> np.ndarray:
        """Inputs of the weight at some positions of its target.

        Args:
            counts: of the sources, ``(B, C, H, W)``.
            positions: of targets in row-major order, ``(B, K)``.
            columns: of the target's feature map.

        Returns:
            float64 ``(groups, inputs, B * K)``, inputs in the order of the weight.
        """
        values = reduce(torch.add, [transmit(maps, counts[s]) for s, maps in self.paths])
        convolution = self.convolution
        (down, right), (height, width) = convolution.padding, convolution.kernel
        values = F.pad(values, (right, right, down, down))
        samples, channels, _, row = values.shape
        taps = (
            np.arange(height)[:, None] * convolution.dilation[0] * row
            + np.arange(width) * convolution.dilation[1]
        ).reshape(-1)
        corners = (
            positions // columns * convolution.stride[0] * row
            + positions % columns * convolution.stride[1]
        )
        pixels = torch.from_numpy((corners[:, :, None] + taps).reshape(samples, 1, -1))
        read = values.flatten(2).gather(2, pixels.expand(-1, channels, -1))
        read = read.view(samples, channels, -1, len(taps)).permute(1, 3, 0, 2)
        groups = convolution.groups
        return read.reshape(groups, channels // groups * len(taps), -1).double().numpy()


def layer_weights(graph: LayerGraph, name: str) -> list[LayerWeight]:
    """The weights of a population that read several inputs each and are the last map of their synapse.

    Args:
        graph: with folded scales.
    """
    shared = [s for s in shared_weights(graph) if s.target == name]
    return [_layer_weight(graph, s) for s in shared if _is_rounded(s)]


def _is_rounded(shared: SharedWeight) -> bool:
    return len(shared.tail) == 1 and not isinstance(shared.tail[0], Scale)


def _layer_weight(graph: LayerGraph, shared: SharedWeight) -> LayerWeight:
    source, maps = shared.paths[0]
    (weighted,) = shared.tail
    shape = chain_output_shape(maps, graph[source].shape)
    assert isinstance(weighted, Convolution | Dense)
    return LayerWeight(shared.paths, as_grouped_convolution(weighted, shape))
