"""Which source neurons reach which target neurons, without listing a single synapse.

A synapse's maps act on channels, rows and columns independently, so its connectivity is the Kronecker
product of three small matrices. All counts (fan-in, fan-out, axons, shared synapse lists) follow from
them. Zero weights count as synapses: a core stores them like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.integer_network import IntegerSynapse
from toolchain.linear_maps import AveragePool, Convolution, Dense, Scale, Shape, SumPool


@dataclass(frozen=True, kw_only=True, eq=False)
class Connectivity:
    """Matrices (target, source) along each axis of the feature map.

    Attributes:
        channels: bool; which source channels reach which target channels.
        rows, columns: int64; 0 where nothing connects, else a fingerprint of the kernel taps on the
            way. Two sources whose columns hold the same fingerprints, shifted, see the same weights.
    """

    channels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def connectivity(synapse: IntegerSynapse, source_shape: Shape) -> Connectivity:
    """Propagate connectivity through the maps of a synapse."""
    random = np.random.default_rng(0)
    channels = np.eye(source_shape[0], dtype=bool)
    rows, columns = (np.eye(n, dtype=np.int64) for n in source_shape[1:])
    shape = source_shape
    for linear_map in synapse.maps:
        out = linear_map.output_shape(shape)
        match linear_map:
            case Dense():
                channels = _reaches(np.ones((out[0], shape[0]), bool), channels)
                rows = _taps(random, shape[1])[None] @ rows
                columns = _taps(random, shape[2])[None] @ columns
            case Convolution(groups=groups):
                group_of = [np.arange(n) // (n // groups) for n in (out[0], shape[0])]
                channels = _reaches(group_of[0][:, None] == group_of[1], channels)
            case Scale():
                pass
        if isinstance(linear_map, Convolution | SumPool | AveragePool):
            weighted = isinstance(linear_map, Convolution)
            sizes = zip(out[1:], shape[1:], strict=True)
            bands = [
                _band(
                    targets, sources, _taps(random, kernel) if weighted else np.ones(kernel), s, p
                )
                for (targets, sources), kernel, s, p in zip(
                    sizes, linear_map.kernel, linear_map.stride, linear_map.padding, strict=True
                )
            ]
            rows, columns = bands[0] @ rows, bands[1] @ columns
        shape = out
    return Connectivity(channels=channels, rows=rows, columns=columns)


def _taps(random: np.random.Generator, kernel: int) -> np.ndarray:
    """A random positive number for each tap: products of sums collide with negligible probability."""
    return random.integers(1, 1 << 20, kernel, dtype=np.int64)


def _reaches(step: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Boolean matrix product: who reaches whom over one more map."""
    return (step.astype(np.float32) @ before.astype(np.float32)) > 0


def _band(targets: int, sources: int, taps: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """The tap with which each window position meets each source along one axis, or 0."""
    tap = np.arange(sources) - (np.arange(targets)[:, None] * stride - padding)
    inside = (tap >= 0) & (tap < len(taps))
    return np.where(inside, taps.astype(np.int64)[np.clip(tap, 0, len(taps) - 1)], 0)
