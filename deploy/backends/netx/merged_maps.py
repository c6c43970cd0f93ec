"""A synapse's chain of maps as one convolution or matrix, for formats without pools."""

from __future__ import annotations

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerSynapse
from toolchain.networks.integer_network.merged_weights import axis_taps, kernel
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Pair,
    Resample,
    SelectChannels,
    Shape,
    as_grouped_convolution,
    describe,
)


def merged_matrix(synapse: IntegerSynapse, source_shape: Shape) -> np.ndarray:
    """The whole chain as a matrix, int64 ``(targets, sources)``, both in row-major order."""
    rows, columns = axis_taps(synapse, source_shape)
    weights = np.einsum(
        "oikl,kRr,lCc->oRCirc", kernel(synapse, source_shape), rows, columns, optimize=True
    )
    return weights.reshape(np.prod(weights.shape[:3]), -1)


def merged_convolution(synapse: IntegerSynapse, source_shape: Shape) -> Convolution:
    """The whole chain as one convolution with int64 weights.

    Raises:
        UnsupportedNetworkError: it is dense, or no single window equals the chain at the borders.
    """
    if isinstance(synapse.weighted, Dense):
        raise UnsupportedNetworkError(f"{synapse}: a dense map is no convolution")
    windows = []
    for axis, taps in enumerate(axis_taps(synapse, source_shape)):
        window, stride, padding = _merged_window(synapse, source_shape, axis)
        if not np.array_equal(_band(window, stride, padding, taps.shape), taps):
            raise UnsupportedNetworkError(
                f"{synapse}: at the borders no single convolution equals its pool followed by its weights; "
                f"use a feature map that the pool divides, or no padding between them"
            )
        windows.append((window, stride, padding))
    (rows, *row), (columns, *column) = windows
    shape = synapse.weighted_input_shape(source_shape)
    weighted = as_grouped_convolution(synapse.weighted, shape)
    strides: Pair = (row[0], column[0])
    paddings: Pair = (row[1], column[1])
    return Convolution(
        weight=np.einsum("oikl,kr,lc->oirc", weighted.weight.astype(np.int64), rows, columns),
        stride=strides,
        padding=paddings,
        groups=weighted.groups,
    )


def _merged_window(synapse: IntegerSynapse, shape: Shape, axis: int) -> tuple[np.ndarray, int, int]:
    """For each tap of the weight, its multiples in the merged window; the stride; the padding."""
    window, stride, padding = np.ones((1, 1), np.int64), 1, 0
    for linear_map in synapse.maps:
        if isinstance(linear_map, Resample | SelectChannels):
            raise UnsupportedNetworkError(
                f"NetX has no {describe(linear_map)}; leave out this export"
            )
        step = as_grouped_convolution(linear_map, shape)
        size = step.kernel[axis]
        shifted = np.stack(
            [np.pad(window, ((0, 0), (k * stride, (size - 1 - k) * stride))) for k in range(size)]
        )
        # the weight's taps stay separate; a pool adds up its taps
        window = shifted[:, 0] if linear_map is synapse.weighted else shifted.sum(axis=0)
        padding += step.padding[axis] * stride
        stride *= step.stride[axis]
        shape = linear_map.output_shape(shape)
    return window, stride, padding


def _band(window: np.ndarray, stride: int, padding: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Entries of a window between every target and source, int64 ``(weight taps, targets, sources)``."""
    _, targets, sources = shape
    tap = np.arange(sources) - (np.arange(targets)[:, None] * stride - padding)
    inside = (tap >= 0) & (tap < window.shape[1])
    return window[:, np.where(inside, tap, 0)] * inside
