"""Which source neurons reach which target neurons, without listing a single synapse.

A synapse's maps act on channels, rows and columns independently, so its connectivity is the Kronecker
product of three small boolean matrices. All counts (fan-in, fan-out, axons) follow from their sums.
Zero weights count as synapses: a core stores them like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.integer_network import IntegerSynapse
from toolchain.linear_maps import AveragePool, Convolution, Dense, Scale, Shape, SumPool


@dataclass(frozen=True, kw_only=True, eq=False)
class Connectivity:
    """Boolean matrices (target, source) along each axis of the feature map."""

    channels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def fan_out(self, channels: slice, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets in a tile that each source channel, row and column reaches.

        The number of synapses of source neuron (c, y, x) into the tile is the product of the three.
        """
        return (
            self.channels[channels].sum(axis=0),
            self.rows[rows].sum(axis=0),
            self.columns.sum(axis=0),
        )


def connectivity(synapse: IntegerSynapse, source_shape: Shape) -> Connectivity:
    """Propagate connectivity through the maps of a synapse."""
    channels, rows, columns = (np.eye(n, dtype=bool) for n in source_shape)
    shape = source_shape
    for linear_map in synapse.maps:
        out = linear_map.output_shape(shape)
        match linear_map:
            case Dense():
                channels = _through(np.ones((out[0], shape[0]), bool), channels)
                rows = _through(np.ones((1, shape[1]), bool), rows)
                columns = _through(np.ones((1, shape[2]), bool), columns)
            case Convolution(groups=groups):
                group_of = [np.arange(n) // (n // groups) for n in (out[0], shape[0])]
                channels = _through(group_of[0][:, None] == group_of[1], channels)
            case Scale():
                pass
        if isinstance(linear_map, Convolution | SumPool | AveragePool):
            kernel, stride, padding = linear_map.kernel, linear_map.stride, linear_map.padding
            rows = _through(_band(out[1], shape[1], kernel[0], stride[0], padding[0]), rows)
            columns = _through(_band(out[2], shape[2], kernel[1], stride[1], padding[1]), columns)
        shape = out
    return Connectivity(channels=channels, rows=rows, columns=columns)


def _through(step: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Boolean matrix product: who reaches whom over one more map."""
    return (step.astype(np.int64) @ before.astype(np.int64)) > 0


def _band(targets: int, sources: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Sources that each window position covers along one axis."""
    first = np.arange(targets)[:, None] * stride - padding
    source = np.arange(sources)
    return (source >= first) & (source < first + kernel)
