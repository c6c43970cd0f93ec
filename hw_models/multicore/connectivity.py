"""Which source neurons reach which target neurons, without listing a single synapse.

A synapse's maps act on channels, rows and columns independently, so its connectivity is the Kronecker
product of three small matrices. All counts (fan-in, fan-out, axons, shared synapse lists) follow from
them. Zero weights count as synapses: a core stores them like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from toolchain.integer_network import IntegerSynapse
from toolchain.linear_maps import AveragePool, Convolution, Dense, Scale, Shape, SumPool


@dataclass(frozen=True, kw_only=True, eq=False)
class Connectivity:
    """Which channels, rows and columns connect, and through which taps of the kernel.

    Attributes:
        channels: bool ``(target, source)``; which source channels reach which target channels.
        row_taps, column_taps: int64 ``(kernel taps, target, source)``; in how many ways, over the pools
            before and after, each source meets each target through each tap of the weight.
    """

    channels: np.ndarray
    row_taps: np.ndarray
    column_taps: np.ndarray

    @cached_property
    def rows(self) -> np.ndarray:
        """int64 ``(target, source)``: 0 where nothing connects, else a fingerprint of the taps on the way.

        Two sources whose columns hold the same fingerprints, shifted, see the same weights.
        """
        return _fingerprints(self.row_taps)

    @cached_property
    def columns(self) -> np.ndarray:
        """The same along the other axis."""
        return _fingerprints(self.column_taps)


def connectivity(synapse: IntegerSynapse, source_shape: Shape) -> Connectivity:
    """Propagate connectivity through the maps of a synapse."""
    channels = np.eye(source_shape[0], dtype=bool)
    row_taps, column_taps = (np.eye(n, dtype=np.int64)[None] for n in source_shape[1:])
    shape = source_shape
    for linear_map in synapse.maps:
        out = linear_map.output_shape(shape)
        match linear_map:
            case Dense():  # a kernel as large as the feature map
                channels = np.broadcast_to(channels.any(axis=0), (out[0], source_shape[0]))
                row_taps = np.eye(shape[1], dtype=np.int64)[:, None] @ row_taps
                column_taps = np.eye(shape[2], dtype=np.int64)[:, None] @ column_taps
            case Convolution(groups=groups):
                group_of = [np.arange(n) // (n // groups) for n in (out[0], shape[0])]
                channels = _reaches(group_of[0][:, None] == group_of[1], channels)
        if isinstance(linear_map, Convolution | SumPool | AveragePool):
            bands = []
            for axis in (0, 1):
                window = (
                    linear_map.kernel[axis],
                    linear_map.stride[axis],
                    linear_map.padding[axis],
                )
                band = _band(out[1 + axis], shape[1 + axis], *window)
                # only the weight's taps are told apart; a pool adds up all of its own
                bands.append(
                    band if isinstance(linear_map, Convolution) else band.sum(axis=0, keepdims=True)
                )
            row_taps, column_taps = bands[0] @ row_taps, bands[1] @ column_taps
        shape = out
    return Connectivity(channels=channels, row_taps=row_taps, column_taps=column_taps)


def kernel(synapse: IntegerSynapse, source_shape: Shape) -> np.ndarray:
    """The weight as a kernel over all channels, int64 ``(target, source, row taps, column taps)``.

    A synapse from source (i, r, c) to target (o, R, C) has the weight
    ``sum_kl kernel[o, i, k, l] * row_taps[k, R, r] * column_taps[l, C, c]``.
    """
    shape = source_shape
    for linear_map in synapse.maps:
        match linear_map:
            case Dense(weight=weight):
                return weight.reshape(len(weight), *shape).astype(np.int64)
            case Scale(weight=weight):
                return np.diag(weight.astype(np.int64))[:, :, None, None]
            case Convolution(weight=weight, groups=groups):
                full = np.zeros((len(weight), shape[0], *weight.shape[2:]), np.int64)
                outputs, inputs = len(weight) // groups, shape[0] // groups
                for g in range(groups):
                    out = slice(g * outputs, (g + 1) * outputs)
                    full[out, g * inputs : (g + 1) * inputs] = weight[out]
                return full
        shape = linear_map.output_shape(shape)
    raise AssertionError("exactly one map of a synapse carries a weight")


def is_convolution(synapse: IntegerSynapse) -> bool:
    """Whether source pixels share synapse lists: all maps are the same everywhere but dense ones."""
    return not any(isinstance(linear_map, Dense) for linear_map in synapse.maps)


def _fingerprints(taps: np.ndarray) -> np.ndarray:
    """A random positive number for each tap: sums of products collide with negligible probability."""
    numbers = np.random.default_rng(0).integers(1, 1 << 40, len(taps), dtype=np.int64)
    return np.tensordot(numbers, taps, axes=1)


def _reaches(step: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Boolean matrix product: who reaches whom over one more map."""
    return (step.astype(np.float32) @ before.astype(np.float32)) > 0


def _band(targets: int, sources: int, size: int, stride: int, padding: int) -> np.ndarray:
    """Which window position meets which source through which tap, int64 ``(size, targets, sources)``."""
    tap = np.arange(sources) - (np.arange(targets)[:, None] * stride - padding)
    return (tap == np.arange(size)[:, None, None]).astype(np.int64)
