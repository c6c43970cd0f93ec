"""Which source neurons reach which target neurons, without listing a single synapse.

A synapse's maps act on channels, rows and columns independently, so its connectivity is the Kronecker
product of three small matrices. All counts (fan-in, fan-out, axons, shared synapse lists) follow from
them. Zero weights count as synapses: a core stores them like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from typing_extensions import assert_never

from toolchain.networks.integer_network import IntegerSynapse
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Scale,
    Shape,
    WeightedMap,
    as_grouped_convolution,
    window_taps,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Connectivity:
    """Which channels, rows and columns connect, and through which taps of the kernel.

    Attributes:
        channels: bool ``(target, source)``; which source channels reach which target channels.
        row_taps, column_taps: int64 ``(kernel taps, target, source)``; number of paths, over the pools
            before and after, from each source to each target through each tap of the weight.
    """

    channels: np.ndarray
    row_taps: np.ndarray
    column_taps: np.ndarray

    @cached_property
    def rows(self) -> np.ndarray:
        """int64 ``(target, source)``: a fingerprint of the taps between them; 0 if there are none.

        Two sources whose columns hold the same fingerprints, shifted, see the same weights.
        """
        return _fingerprints(self.row_taps)

    @cached_property
    def columns(self) -> np.ndarray:
        """int64 ``(target, source)``: the fingerprints along columns."""
        return _fingerprints(self.column_taps)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(target, source) matrices along channels, rows and columns; not 0 where they connect."""
        return self.channels, self.rows, self.columns


def connectivity(synapse: IntegerSynapse, source_shape: Shape) -> Connectivity:
    """The connectivity of a synapse: the product of that of its maps."""
    channels = np.eye(source_shape[0], dtype=bool)
    row_taps, column_taps = (np.eye(n, dtype=np.int64)[None] for n in source_shape[1:])
    shape = source_shape
    for linear_map in synapse.maps:
        if isinstance(linear_map, WeightedMap):
            convolution = as_grouped_convolution(linear_map, shape)
            channels = _reached(convolution, channels)
            bands = [
                window_taps(size, *window)
                for size, *window in zip(
                    shape[1:],
                    convolution.kernel,
                    convolution.stride,
                    convolution.padding,
                    convolution.dilation,
                    strict=True,
                )
            ]
        else:  # only the weight's taps are told apart; a pool adds up all of its own
            bands = [linear_map.axis_matrix(axis, shape[1 + axis])[None] for axis in (0, 1)]
            chosen = linear_map.channel_sources(shape[0])
            channels = channels[chosen] & (chosen >= 0)[:, None]
        row_taps, column_taps = bands[0] @ row_taps, bands[1] @ column_taps
        shape = linear_map.output_shape(shape)
    return Connectivity(channels=channels, row_taps=row_taps, column_taps=column_taps)


def kernel(synapse: IntegerSynapse, source_shape: Shape) -> np.ndarray:
    """The weight as a kernel over all channels, int64 ``(target, source, row taps, column taps)``.

    A synapse from source (i, r, c) to target (o, R, C) has the weight
    ``sum_kl kernel[o, i, k, l] * row_taps[k, R, r] * column_taps[l, C, c]``.
    """
    shape = synapse.weighted_input_shape(source_shape)
    convolution = as_grouped_convolution(synapse.weighted, shape)
    weight, groups = convolution.weight, convolution.groups
    outputs, inputs = len(weight) // groups, shape[0] // groups
    group = np.arange(len(weight)) // outputs
    full = np.zeros((len(weight), shape[0], *convolution.kernel), np.int64)
    full[np.arange(len(weight))[:, None], group[:, None] * inputs + np.arange(inputs)] = weight
    return full


def is_convolution(synapse: IntegerSynapse) -> bool:
    """Whether source pixels share synapse lists: every map but a dense one is the same for all pixels."""
    match synapse.weighted:
        case Convolution() | Scale():
            return True
        case Dense():
            return False
        case _:
            assert_never(synapse.weighted)


def _fingerprints(taps: np.ndarray) -> np.ndarray:
    """Sums of random positive numbers, one per tap, which collide with negligible probability."""
    numbers = np.random.default_rng(0).integers(1, 1 << 40, len(taps), dtype=np.int64)
    return np.tensordot(numbers, taps, axes=1)


def _reached(convolution: Convolution, before: np.ndarray) -> np.ndarray:
    """Source channels that reach each output of a convolution, given those that reach its inputs."""
    by_group = before.reshape(convolution.groups, -1, before.shape[1]).any(axis=1)
    return np.repeat(by_group, len(convolution.weight) // convolution.groups, axis=0)
