"""Zero skipping iteration by iteration and lane by lane: the proof of the vectorised counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from oracles.timing_trace import Iteration

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.loop_nest import TileIndices, tiles, tiling_of
from hw_models.pe_array.operands import frame_operand
from hw_models.pe_array.zero_skipping import Skipping


@dataclass
class SkippingTrace:
    """Iterations that each group makes on one sample; call it for each group of ``trace_kernel``.

    Attributes:
        values: what the kernel reads, ``(1, entries, C, H, W)``.
        accumulations, weight_reads, input_reads: over the groups seen so far.
    """

    kernel: ArrayKernel
    array: PeArray
    values: np.ndarray
    skipping: Skipping
    accumulations: int = 0
    weight_reads: int = 0
    input_reads: int = 0
    _operands: dict[int | None, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self._operands = {
            entry: frame_operand(self.kernel, self.values, entry)[0]
            for entry in set(self.kernel.reads.selection)
        }

    def __call__(self, group: list[TileIndices]) -> list[Iteration]:
        if self.skipping == "lockstep":
            return [iteration for tile in group for iteration in self._lockstep(tile)]
        lanes = [self._lane(group, lane, column) for lane, column in self._lanes(group)]
        slowest = max(lanes)
        tiling = tiling_of(self.kernel.nest, self.array.unrolling, self.array.dataflow)
        return [
            (max(len(t.frames) for t in group), min(tiling.input_channels, self._inputs))
        ] * slowest

    @property
    def _inputs(self) -> int:
        return self.kernel.nest.input_channels

    def _lanes(self, group: list[TileIndices]) -> list[tuple[int, int]]:
        widest = max(len(tile.frames) for tile in group)
        return [(lane, column) for lane in range(widest) for column in group[0].columns]

    def _lockstep(self, tile: TileIndices) -> list[Iteration]:
        iterations = []
        m, n, s = len(tile.channels), len(tile.columns), len(tile.frames)
        for k_h in range(self.kernel.nest.kernel_size[0]):
            for k_w in range(self.kernel.nest.kernel_size[1]):
                for inputs in tiles(self._inputs, self.array.unrolling.input_channels):
                    read = [
                        self._read(tile, frame, column, k_h, k_w, inputs)
                        for frame in tile.frames
                        for column in tile.columns
                    ]
                    if not any(any(operands) for operands in read):
                        continue
                    v = len(inputs)
                    iterations.append((s, v))
                    self.accumulations += m * n * s * v
                    self.weight_reads += 0 if self.kernel.nest.unit_weights else m * v
                    self.input_reads += sum(len(operands) for operands in read)
        return iterations

    def _lane(self, group: list[TileIndices], lane: int, column: int) -> int:
        """Iterations of one lane over all frame tiles of its group."""
        iterations, v = 0, self.array.unrolling.input_channels
        for tile in group:
            if lane >= len(tile.frames):
                continue
            nonzero = 0
            for k_h in range(self.kernel.nest.kernel_size[0]):
                for k_w in range(self.kernel.nest.kernel_size[1]):
                    for inputs in tiles(self._inputs, v):
                        read = self._read(tile, tile.frames[lane], column, k_h, k_w, inputs)
                        if self.skipping == "per_lane" and any(read):
                            iterations += 1
                            self._count(tile, len(read))
                        nonzero += sum(map(bool, read))
            if self.skipping == "compacted":
                iterations += -(-nonzero // v)
                self._count(tile, nonzero)
        return iterations

    def _count(self, tile: TileIndices, operands: int) -> None:
        self.input_reads += operands
        self.accumulations += operands * len(tile.channels)
        if not self.kernel.nest.unit_weights:
            self.weight_reads += operands * len(tile.channels)

    def _read(
        self, tile: TileIndices, frame: int, column: int, k_h: int, k_w: int, inputs: range
    ) -> list[int]:
        """Operands of one lane in one iteration; none in zeros of the padding or of the addresses."""
        nest = self.kernel.nest
        row = tile.row * nest.stride[0] + k_h * nest.dilation[0] - nest.padding[0]
        position = column * nest.stride[1] + k_w * nest.dilation[1] - nest.padding[1]
        if not (0 <= row < nest.input_size[0] and 0 <= position < nest.input_size[1]):
            return []
        rows, columns = nest.addresses
        if (rows and rows[row] == -1) or (columns and columns[position] == -1):
            return []
        operands = self._operands[self.kernel.reads.selection[frame]]
        first = tile.group * nest.input_channels
        return [int(operands[first + i, row, position]) for i in inputs]
