"""Maps as one convolution or one matrix, for formats that have fewer kinds of maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt, prod

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerSynapse
from toolchain.networks.integer_network.merged_weights import axis_taps, kernel
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    Resample,
    SelectChannels,
    Shape,
    as_grouped_convolution,
    window_taps,
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window along one axis."""

    size: int
    stride: int
    padding: int


def merged_matrix(synapse: IntegerSynapse, source_shape: Shape) -> np.ndarray:
    """The whole chain as a matrix, int64 ``(targets, sources)``, both in row-major order."""
    rows, columns = axis_taps(synapse, source_shape)
    of_taps = kernel(synapse, source_shape)
    weights = np.einsum("oikl,kRr,lCc->oRCirc", of_taps, rows, columns, optimize=True)
    return weights.reshape(prod(weights.shape[:3]), -1)


def merged_convolution(synapse: IntegerSynapse, source_shape: Shape) -> Convolution:
    """The whole chain as one convolution with int64 weights.

    Raises:
        UnsupportedNetworkError: it is dense, or no single window equals the chain.
    """
    if isinstance(synapse.weighted, Dense):
        raise UnsupportedNetworkError(f"{synapse}: a dense map is no convolution")
    both = axis_taps(synapse, source_shape)
    windows = [window for taps in both if (window := _smallest_window(taps))]
    if len(windows) < len(both):
        raise UnsupportedNetworkError(
            f"{synapse}: no single convolution equals these maps, because they differ at the borders or "
            f"resample; use a feature map that the pool divides, no padding between them, and no upsampling"
        )
    shape = synapse.weighted_input_shape(source_shape)
    weighted = as_grouped_convolution(synapse.weighted, shape)
    weight, groups = weighted.weight.astype(np.int64), weighted.groups
    if any(isinstance(m, SelectChannels) for m in synapse.maps):
        weight, groups = kernel(synapse, source_shape), 1
    return _spread(weight, groups, both, windows)


def square_convolution(
    linear_map: IntegerMap, shape: Shape, most_weights: int
) -> Convolution | None:
    """The convolution without groups and with a square kernel that equals a map, int64.

    Returns:
        None if there is none, or if it has more than ``most_weights``.
    """
    channels = linear_map.output_shape(shape)[0], shape[0]
    if isinstance(linear_map, Dense) or prod(channels) > most_weights:
        return None
    if isinstance(linear_map, Convolution) and linear_map.kernel[0] == linear_map.kernel[1]:
        if prod(channels) * prod(linear_map.kernel) > most_weights and linear_map.groups > 1:
            return None
        return replace(linear_map, weight=_without_groups(linear_map), groups=1)
    if isinstance(linear_map, Resample | SelectChannels):
        rows, columns = (linear_map.axis_matrix(axis, shape[1 + axis])[None] for axis in (0, 1))
        chosen = linear_map.channel_sources(shape[0])
        weight = (chosen[:, None] == np.arange(shape[0])).astype(np.int64)[..., None, None]
    else:
        convolution = as_grouped_convolution(linear_map, shape)
        rows, columns = (
            window_taps(shape[1 + axis], *window)
            for axis, window in enumerate(
                zip(
                    convolution.kernel,
                    convolution.stride,
                    convolution.padding,
                    convolution.dilation,
                    strict=True,
                )
            )
        )
        weight = _without_groups(convolution)
    fits = _fitting_strides(rows), _fitting_strides(columns)
    for size in range(1, isqrt(most_weights // prod(channels)) + 1):
        windows = [window for fit in fits if (window := _window_of_size(fit, size))]
        if len(windows) == len(fits):
            return _spread(weight, 1, (rows, columns), windows)
    return None


def _smallest_window(taps: np.ndarray) -> Window | None:
    """The smallest window; None if it is larger than what a convolution of stride 1 can see."""
    fits = _fitting_strides(taps)
    sizes = range(1, 2 * taps.shape[2])
    return next((window for n in sizes if (window := _window_of_size(fits, n))), None)


@dataclass(frozen=True, kw_only=True)
class _Stride:
    """A stride with which one window gives all of an axis; ``low..high`` are the offsets that it reads."""

    stride: int
    low: int
    high: int
    sources: int
    targets: int


def _fitting_strides(taps: np.ndarray) -> list[_Stride]:
    """The strides with which a window connects an axis as given.

    One above the length of the axis always does: each target then has places of its own in the window.

    Args:
        taps: int64 ``(weight taps, targets, sources)``: how often a target reads a source through a tap.
    """
    _, targets, sources = taps.shape
    _, target, source = np.nonzero(taps)
    found = []
    for stride in range(1, sources + 2):
        offsets = source - target * stride
        low, high = (int(offsets.min()), int(offsets.max())) if len(offsets) else (0, 0)
        window = Window(size=high - low + 1, stride=stride, padding=-low)
        if np.array_equal(_band(_values(taps, window), window, taps.shape), taps):
            fit = _Stride(stride=stride, low=low, high=high, sources=sources, targets=targets)
            found.append(fit)
    return found


def _window_of_size(fits: list[_Stride], size: int) -> Window | None:
    """A window with that many places, zeros included, and the padding that makes up for them."""
    for fit in fits:
        # padding such that (sources + 2 * padding - size) // stride + 1 is the number of targets
        extra = size - fit.sources + fit.targets * fit.stride
        least = max(0, -fit.low, -((fit.stride - extra) // 2))
        most = min(size - 1 - fit.high, (extra - 1) // 2)
        if least <= most:
            return Window(size=size, stride=fit.stride, padding=least)
    return None


def _places(window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """Place in the window at which each target reads each source, int64 ``(targets, sources)``."""
    _, targets, sources = shape
    return np.arange(sources) - np.arange(targets)[:, None] * window.stride + window.padding


def _values(taps: np.ndarray, window: Window) -> np.ndarray:
    """The entries at each place of a window, int64 ``(weight taps, size)``."""
    place = _places(window, taps.shape)
    inside = (place >= 0) & (place < window.size)
    values = np.zeros((len(taps), window.size), np.int64)
    for of_tap, entries in zip(values, taps, strict=True):
        np.maximum.at(of_tap, place[inside], entries[inside])
    return values


def _band(values: np.ndarray, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """The entries of a window between targets and sources, int64 ``(weight taps, targets, sources)``."""
    place = _places(window, shape)
    inside = (place >= 0) & (place < window.size)
    return values[:, np.where(inside, place, 0)] * inside


def _spread(
    weight: np.ndarray, groups: int, taps: tuple[np.ndarray, np.ndarray], windows: list[Window]
) -> Convolution:
    """A convolution with the taps of a weight spread over windows."""
    rows, columns = (_values(t, window) for t, window in zip(taps, windows, strict=True))
    row, column = windows
    return Convolution(
        weight=np.einsum("oikl,kr,lc->oirc", weight, rows, columns, optimize=True),
        stride=(row.stride, column.stride),
        padding=(row.padding, column.padding),
        groups=groups,
    )


def _without_groups(convolution: Convolution) -> np.ndarray:
    """The weight over all input channels, zero between groups, int64 ``(out, in, rows, columns)``."""
    weight, groups = convolution.weight, convolution.groups
    outputs, inputs = len(weight) // groups, weight.shape[1]
    full = np.zeros((groups, outputs, groups, inputs, *convolution.kernel), np.int64)
    group = np.arange(groups)
    full[group, :, group] = weight.reshape(groups, outputs, *weight.shape[1:])
    return full.reshape(len(weight), groups * inputs, *convolution.kernel)
