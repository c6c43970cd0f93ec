"""The loops of Algorithm 2 around one kernel, and the tiles that an array cuts them into.

A kernel is one linear map of one synapse into the partial sums of its target. For each group of channels::

    for o in C_o/M: for h in H_o: for w in W_o/N: for f in F/S:      (time innermost)
        for k_h: for k_w: for i in C_i/V: P_sum += W x I             one cycle each, M x N x S x V elements
        node unit

A tap reads the map at ``h * stride + k_h * dilation - padding``, and that row from where the addresses say it
is stored. With time outermost, the frame loop is around o, h and w. The schedule decides what the F *frames*
are:

- ``temporal``: the T_l timesteps, as in the paper. With averaging alignment, all frames are the same count.
- ``bit_planes``: the bits of the count. Averaging makes the partial sum the same in every timestep, so it
  is computed once, from ceil(log2(T_src + 1)) planes, and the node unit fires all T_l steps on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from math import ceil, prod
from typing import Literal, TypeAlias

import numpy as np

from toolchain.networks.linear_maps import Pair

Addresses: TypeAlias = tuple[int, ...] | None
"""Stored position of each row, or column, of an input map; -1 for zeros, None if each is at its own place."""


class Ending(Enum):
    """What becomes of the sums of a kernel."""

    FIRES = "fires"
    """The node unit fires spikes on them."""
    QUANTIZES = "quantizes"
    """The node unit quantizes them, as the ANN does."""
    JOINS = "joins"
    """The next kernel of a residual join adds to them."""
    MAPS = "maps"
    """The next map of the synapse reads them."""
    READS_OUT = "reads out"
    """They are the logits."""


TimeLoop: TypeAlias = Literal["innermost", "outermost"]
TIME_LOOPS: tuple[TimeLoop, ...] = ("innermost", "outermost")


@dataclass(frozen=True, kw_only=True)
class Unrolling:
    """The accumulations that the array computes in one cycle: M x N x S x V."""

    output_channels: int  # M
    output_columns: int  # N
    timesteps: int  # S
    input_channels: int  # V

    @classmethod
    def of(cls, sizes: Sequence[int]) -> Unrolling:
        """The unrolling with the given M, N, S and V."""
        m, n, s, v = sizes
        return cls(output_channels=m, output_columns=n, timesteps=s, input_channels=v)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """M, N, S and V."""
        return self.output_channels, self.output_columns, self.timesteps, self.input_channels

    @property
    def num_elements(self) -> int:
        return prod(self.sizes)


@dataclass(frozen=True, kw_only=True)
class Dataflow:
    """The order of the loops.

    Attributes:
        time_loop: place of the frame loop among the loops around the accumulation. "innermost" is the
            paper's: membrane potentials stay in the array. With "outermost" they go to the membrane buffer
            and back.
        fold: in a kernel of F < S frames, floor(S / F) groups of columns share the S lanes.
    """

    time_loop: TimeLoop = "innermost"
    fold: bool = False


@dataclass(frozen=True, kw_only=True)
class LoopNest:
    """Loop bounds of one kernel; channels are per group.

    Attributes:
        dilation: rows and columns of the map from one tap of the kernel to the next.
        input_size: the map that the kernel slides over.
        addresses: where the rows and the columns of that map are stored.
        frames: F.
        sum_frames: frames are bit planes, shifted and added up to one sum; otherwise each frame has a sum.
        node_steps: firing steps of the node unit: T_l, or 1 for the quantizer of an ANN.
        adds_sums: the kernel adds to the sums of an earlier kernel (residual join).
        ending: what becomes of the sums.
        unit_weights: every weight is 1 and none is read (sum pool).
        takes_maximum: elements compare operands and keep the larger one instead of adding (max pool).
    """

    groups: int
    output_channels: int  # C_o / groups
    input_channels: int  # C_i / groups
    rows: int  # H_o
    columns: int  # W_o
    kernel_size: Pair  # K_h, K_w
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)
    input_size: Pair  # H_i, W_i
    addresses: tuple[Addresses, Addresses] = (None, None)
    frames: int
    sum_frames: bool
    node_steps: int
    adds_sums: bool
    ending: Ending
    unit_weights: bool
    takes_maximum: bool = False

    def __post_init__(self) -> None:
        assert self.sum_frames or not self.fires or self.node_steps == self.frames

    @property
    def fires(self) -> bool:
        """Whether the node unit works on the sums; otherwise they are written."""
        return self.ending in (Ending.FIRES, Ending.QUANTIZES)

    @property
    def ends_population(self) -> bool:
        """Whether it is the last kernel into its target; biases are added after it."""
        return self.fires or self.ending is Ending.READS_OUT

    @property
    def num_neurons(self) -> int:
        return self.groups * self.output_channels * self.rows * self.columns

    @property
    def sums_per_neuron(self) -> int:
        """Partial sums of a neuron at the end of the kernel: one per frame, or one of all bit planes."""
        return 1 if self.sum_frames else self.frames


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Sizes of the tiles of a loop nest; ``columns`` and ``frames`` are N and S after folding."""

    nest: LoopNest
    output_channels: int
    columns: int
    frames: int
    input_channels: int

    @property
    def num_channel_tiles(self) -> int:
        return ceil(self.nest.output_channels / self.output_channels)

    @property
    def num_column_tiles(self) -> int:
        return ceil(self.nest.columns / self.columns)

    @property
    def num_frame_tiles(self) -> int:
        return ceil(self.nest.frames / self.frames)

    @property
    def num_input_tiles(self) -> int:
        return ceil(self.nest.input_channels / self.input_channels)

    @property
    def cycles_per_window(self) -> int:
        """Iterations of the innermost loops for one tile of outputs and frames."""
        return prod(self.nest.kernel_size) * self.num_input_tiles

    @property
    def firing_cycles(self) -> int:
        """Cycles that the node unit fires on one group, S steps per cycle.

        If timesteps are frames, a group has at most S of them.
        """
        return ceil(self.nest.node_steps / self.frames) if self.nest.sum_frames else 1


def tiling_of(nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow) -> Tiling:
    """The tiles of a kernel on an array."""
    column_groups = 1
    if dataflow.fold and nest.frames < unrolling.timesteps:
        column_groups = unrolling.timesteps // nest.frames
    return Tiling(
        nest=nest,
        output_channels=unrolling.output_channels,
        columns=unrolling.output_columns * column_groups,
        frames=unrolling.timesteps if column_groups == 1 else nest.frames,
        input_channels=unrolling.input_channels,
    )


@lru_cache(maxsize=1024)  # the same for every unrolling of a sweep
def tap_positions(nest: LoopNest, axis: int) -> np.ndarray:
    """Position on the input map that each output reads through each tap of the kernel, see ``Addresses``.

    Args:
        axis: 0 for rows, 1 for columns.

    Returns:
        int64 ``(outputs, taps)``; -1 where the tap meets a zero of the padding or of the addresses, which
        is not read.
    """
    outputs = np.arange((nest.rows, nest.columns)[axis])[:, None] * nest.stride[axis]
    taps = np.arange(nest.kernel_size[axis]) * nest.dilation[axis]
    positions = outputs + taps - nest.padding[axis]
    is_read = (positions >= 0) & (positions < nest.input_size[axis])
    if (addresses := nest.addresses[axis]) is not None:
        is_read &= np.array(addresses)[np.where(is_read, positions, 0)] >= 0
    result = np.where(is_read, positions, -1)
    result.flags.writeable = False
    return result


def stored_positions(nest: LoopNest, axis: int) -> np.ndarray:
    """Stored position of each tap of each output, int64 ``(outputs, taps)``; -1 where nothing is read."""
    positions, addresses = tap_positions(nest, axis), nest.addresses[axis]
    return (
        positions
        if addresses is None
        else np.where(positions < 0, -1, np.array(addresses)[positions])
    )


def stored_size(nest: LoopNest) -> Pair:
    """Rows and columns of the stored map from the first to the last that the input map has."""

    def length(axis: int) -> int:
        if (addresses := nest.addresses[axis]) is None:
            return nest.input_size[axis]
        stored = [address for address in addresses if address >= 0]
        return max(stored) + 1 - min(stored) if stored else 0

    return length(0), length(1)


def spans(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position of each row of ``positions``, and the one after the last; both 0 if all are -1."""
    stop = positions.max(axis=1) + 1
    first = np.where(positions < 0, stop[:, None], positions).min(axis=1)
    return first, stop


def tiles(size: int, tile: int) -> Iterator[range]:
    """Index ranges of length ``tile`` that cover ``size``; the last may be shorter."""
    return (range(start, min(start + tile, size)) for start in range(0, size, tile))


@dataclass(frozen=True, kw_only=True)
class TileIndices:
    """One iteration of the outer loops."""

    group: int
    channels: range
    row: int
    columns: range
    frames: range


def outer_loops(tiling: Tiling, dataflow: Dataflow) -> Iterator[TileIndices]:
    """Iterations of the loops around the accumulation, in the order of the dataflow."""
    nest = tiling.nest
    frame_tiles = list(tiles(nest.frames, tiling.frames))
    around = frame_tiles if dataflow.time_loop == "outermost" else [None]
    for group in range(nest.groups):
        for outer_frames in around:
            for channels in tiles(nest.output_channels, tiling.output_channels):
                for row in range(nest.rows):
                    for columns in tiles(nest.columns, tiling.columns):
                        within = frame_tiles if outer_frames is None else [outer_frames]
                        for frames in within:
                            yield TileIndices(
                                group=group,
                                channels=channels,
                                row=row,
                                columns=columns,
                                frames=frames,
                            )
