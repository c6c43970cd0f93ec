"""Counts that are a difference of other counts, as every population of an exact max pool has.

If every weight of a population is ``+w``, ``-w`` or 0 with ``T 2^x_e w = Theta``, its bias is 0 and
``0 <= V0 < Theta``, then ``floor((V0 + T A) / Theta)`` is the difference of two sums of counts: no product
and no quotient is left. Both sums are added up tap by tap, in bytes, from views of the feature maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toolchain.networks.integer_network import IntegerNetwork, IntegerSpiking, IntegerSynapse
from toolchain.networks.integer_network.network import largest_source_value
from toolchain.networks.linear_maps import Convolution, Scale, Shape, as_grouped_convolution


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A weight of ``+w`` or ``-w``, at one place of the kernel.

    Attributes:
        is_added: whether the source's counts are added, not subtracted.
        targets, sources: rows and columns of the result, and those that they read: none in the padding.
    """

    source: str
    is_added: bool
    targets: tuple[slice, slice]
    sources: tuple[slice, slice]


@dataclass(frozen=True, kw_only=True, eq=False)
class CountDifferences:
    """``clip(sum of added counts - sum of subtracted counts, 0, T)`` in unsigned bytes.

    Attributes:
        shape: of the population.
    """

    sources: Sequence[str]
    taps: Sequence[Tap]
    shape: Shape
    timesteps: int

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """Counts ``(B, C, H, W)`` from those of the sources, which are unsigned bytes."""
        frames = {name: values[name].permute(0, 2, 3, 1).contiguous() for name in self.sources}
        any_frames, (channels, *size) = frames[self.sources[0]], self.shape
        added, subtracted = any_frames.new_zeros(2, len(any_frames), *size, channels)
        lanes = {name: _lanes(frame) for name, frame in frames.items()}
        totals = {True: _lanes(added), False: _lanes(subtracted)}
        for tap in self.taps:
            (rows, columns), (from_rows, from_columns) = tap.targets, tap.sources
            reached = totals[tap.is_added][:, rows, columns]
            reached.add_(lanes[tap.source][:, from_rows, from_columns])
        torch.maximum(added, subtracted, out=added)
        return added.sub_(subtracted).clamp_(max=self.timesteps).permute(0, 3, 1, 2)


def _lanes(frames: Tensor) -> Tensor:
    """Eight bytes as one number, if channels divide so: no sum of them exceeds its byte."""
    *axes, channels = frames.shape
    if channels % 8:
        return frames
    # flat, since an axis of one may have any stride
    return frames.flatten().view(torch.int64).view(*axes, channels // 8)


def count_differences(
    network: IntegerNetwork, population: IntegerSpiking, *, largest_byte: int
) -> CountDifferences | None:
    """The sums of a population whose counts are a difference; None if they are not.

    Args:
        population: with ``0 <= V0 < Theta``.
        largest_byte: that both sums must not exceed.
    """
    threshold = int(population.threshold.flat[0])
    if population.bias.any() or (population.threshold != threshold).any():
        return None
    incoming = network.incoming(population.name)
    taps: list[Tap] = []
    sums = {True: 0, False: 0}
    for synapse in incoming:
        shape = network[synapse.source].shape
        signs = _signs(synapse, threshold, population.timesteps, shape)
        if signs is None:
            return None
        convolution, sign_of_tap = signs
        for row, column in np.argwhere(sign_of_tap):
            is_added = bool(sign_of_tap[row, column] > 0)
            sums[is_added] += largest_source_value(network, synapse)
            rows = _reached(convolution, 0, int(row), shape[1], population.shape[1])
            columns = _reached(convolution, 1, int(column), shape[2], population.shape[2])
            taps.append(
                Tap(
                    source=synapse.source,
                    is_added=is_added,
                    targets=(rows[0], columns[0]),
                    sources=(rows[1], columns[1]),
                )
            )
    if max(sums.values()) > largest_byte:
        return None
    return CountDifferences(
        sources=[synapse.source for synapse in incoming],
        taps=taps,
        shape=population.shape,
        timesteps=population.timesteps,
    )


def _reached(
    convolution: Convolution, axis: int, tap: int, sources: int, targets: int
) -> tuple[slice, slice]:
    """Targets along one axis whose window has a source at a tap, and these sources."""
    stride = convolution.stride[axis]
    offset = tap * convolution.dilation[axis] - convolution.padding[axis]
    first = max(0, -(offset // stride))  # the least t with t * stride + offset >= 0
    end = max(first, min(targets, (sources - 1 - offset) // stride + 1))
    start = first * stride + offset
    return slice(first, end), slice(start, start + max(0, (end - first - 1) * stride + 1), stride)


def _signs(
    synapse: IntegerSynapse, threshold: int, timesteps: int, source_shape: Shape
) -> tuple[Convolution, np.ndarray] | None:
    """The synapse as a depthwise convolution, and the sign of each of its taps; None if it has none."""
    if synapse.pools_before or synapse.pools_after:
        return None
    if not isinstance(synapse.weighted, Convolution | Scale):
        return None
    convolution = as_grouped_convolution(synapse.weighted, source_shape)
    weight = convolution.weight.astype(np.int64)
    if convolution.groups != len(weight) or weight.shape[1] != 1 or (weight != weight[0]).any():
        return None
    parts = timesteps * weight[0, 0] << synapse.exponent
    signs = np.sign(parts)
    return (convolution, signs) if (parts == signs * threshold).all() else None
