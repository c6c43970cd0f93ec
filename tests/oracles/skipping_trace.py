"""Zero skipping turn by turn and lane by lane: the proof of the vectorised counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from oracles.timing_trace import Turn

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.layer_passes import LayerPass
from hw_models.pe_array.loop_nest import TileIndices, tiles, tiling_of
from hw_models.pe_array.operands import frame_operand
from hw_models.pe_array.zero_skipping import Skipping


@dataclass
class SkippingTrace:
    """Turns that each group makes on one sample; call it for each group of ``trace_pass``.

    Attributes:
        values: what the pass reads, ``(1, entries, C, H, W)``.
        accumulations, weight_reads, input_reads: over the groups seen so far.
    """

    layer: LayerPass
    array: PeArray
    values: np.ndarray
    skipping: Skipping
    accumulations: int = 0
    weight_reads: int = 0
    input_reads: int = 0
    _operands: dict[int | None, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self._operands = {
            entry: frame_operand(self.layer, self.values, entry)[0]
            for entry in set(self.layer.selection)
        }

    def __call__(self, group: list[TileIndices]) -> list[Turn]:
        if self.skipping == "lockstep":
            return [turn for tile in group for turn in self._lockstep(tile)]
        lanes = [self._lane(group, lane, column) for lane, column in self._lanes(group)]
        slowest = max(lanes)
        tiling = tiling_of(self.layer.nest, self.array.unrolling, self.array.dataflow)
        return [
            (max(len(t.frames) for t in group), min(tiling.input_channels, self._inputs))
        ] * slowest

    @property
    def _inputs(self) -> int:
        return self.layer.nest.input_channels

    def _lanes(self, group: list[TileIndices]) -> list[tuple[int, int]]:
        widest = max(len(tile.frames) for tile in group)
        return [(lane, column) for lane in range(widest) for column in group[0].columns]

    def _lockstep(self, tile: TileIndices) -> list[Turn]:
        turns = []
        m, n, s = len(tile.channels), len(tile.columns), len(tile.frames)
        for k_h in range(self.layer.nest.kernel[0]):
            for k_w in range(self.layer.nest.kernel[1]):
                for inputs in tiles(self._inputs, self.array.unrolling.input_channels):
                    read = [
                        self._read(tile, frame, column, k_h, k_w, inputs)
                        for frame in tile.frames
                        for column in tile.columns
                    ]
                    if not any(any(operands) for operands in read):
                        continue
                    v = len(inputs)
                    turns.append((s, v))
                    self.accumulations += m * n * s * v
                    self.weight_reads += 0 if self.layer.nest.unit_weights else m * v
                    self.input_reads += sum(len(operands) for operands in read)
        return turns

    def _lane(self, group: list[TileIndices], lane: int, column: int) -> int:
        """Turns of one lane over all frame tiles of its group."""
        turns, v = 0, self.array.unrolling.input_channels
        for tile in group:
            if lane >= len(tile.frames):
                continue
            nonzero = 0
            for k_h in range(self.layer.nest.kernel[0]):
                for k_w in range(self.layer.nest.kernel[1]):
                    for inputs in tiles(self._inputs, v):
                        read = self._read(tile, tile.frames[lane], column, k_h, k_w, inputs)
                        if self.skipping == "per_lane" and any(read):
                            turns += 1
                            self._count(tile, len(read))
                        nonzero += sum(map(bool, read))
            if self.skipping == "compacted":
                turns += -(-nonzero // v)
                self._count(tile, nonzero)
        return turns

    def _count(self, tile: TileIndices, operands: int) -> None:
        self.input_reads += operands
        self.accumulations += operands * len(tile.channels)
        if not self.layer.nest.unit_weights:
            self.weight_reads += operands * len(tile.channels)

    def _read(
        self, tile: TileIndices, frame: int, column: int, k_h: int, k_w: int, inputs: range
    ) -> list[int]:
        """Operands of one lane in one turn; none in the zero padding."""
        nest = self.layer.nest
        row = tile.row * nest.stride[0] + k_h - nest.padding[0]
        position = column * nest.stride[1] + k_w - nest.padding[1]
        if not (0 <= row < nest.input_size[0] and 0 <= position < nest.input_size[1]):
            return []
        operands = self._operands[self.layer.selection[frame]]
        first = tile.group * nest.input_channels
        return [int(operands[first + i, row, position]) for i in inputs]
