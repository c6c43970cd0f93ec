"""Which source neurons reach which target neurons, without listing a single synapse.

A synapse's maps act on channels, rows and columns independently, so its connectivity is the Kronecker
product of three small matrices. All counts (fan-in, fan-out, axons, shared synapse lists) follow from
them. A synapse list holds zero weights like any others, but not whole channels, rows or columns of taps
that are zero for all neurons, such as the gaps of a difference of two neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from typing_extensions import assert_never

from toolchain.networks.integer_network import IntegerSynapse
from toolchain.networks.integer_network.merged_weights import axis_taps, channel_links, used_parts
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Scale,
    Shape,
    WeightedMap,
    as_grouped_convolution,
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


_KEPT_VALUES = 2**16
_known: WeakKeyDictionary[WeightedMap, tuple[tuple[object, ...], Connectivity]] = (
    WeakKeyDictionary()
)


def connectivity(synapse: IntegerSynapse, source_shape: Shape) -> Connectivity:
    """The connectivity of a synapse: the product of that of its maps.

    A small one is kept: deep networks are mapped and counted many times with the same maps.
    """
    maps = source_shape, synapse.pools_before, synapse.pools_after
    known = _known.get(synapse.weighted)
    if known is not None and known[0] == maps:
        return known[1]
    found = _compute_connectivity(synapse, source_shape)
    if found.channels.size + found.row_taps.size + found.column_taps.size <= _KEPT_VALUES:
        _known[synapse.weighted] = maps, found
    return found


def _compute_connectivity(synapse: IntegerSynapse, source_shape: Shape) -> Connectivity:
    rows, columns = axis_taps(synapse, source_shape)
    shape = synapse.weighted_input_shape(source_shape)
    _, _, used_rows, used_columns = used_parts(as_grouped_convolution(synapse.weighted, shape))
    return Connectivity(
        channels=channel_links(synapse, source_shape),
        row_taps=rows * used_rows[:, None, None],
        column_taps=columns * used_columns[:, None, None],
    )


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
