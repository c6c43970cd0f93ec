"""The loops of Algorithm 2 walked as printed, one iteration at a time: the proof of the closed form."""

from __future__ import annotations

from collections import Counter

from hw_models.pe_array.closed_form import LoopCounters
from hw_models.pe_array.loop_nest import (
    Dataflow,
    LoopNest,
    Unrolling,
    outer_loops,
    tiles,
    tiling_of,
)


def trace_loops(nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow) -> LoopCounters:
    """Counters by visiting every iteration of every loop."""
    tiling = tiling_of(nest, unrolling, dataflow)
    count: Counter[str] = Counter()
    node_busy = accumulated = 0  # cycles the node unit still needs; cycles of this group so far
    for tile in outer_loops(tiling, dataflow):
        m, n, s = len(tile.channels), len(tile.columns), len(tile.frames)
        first_tile, last_tile = tile.frames.start == 0, tile.frames.stop == nest.frames
        for k_h in range(nest.kernel_size[0]):
            for k_w in range(nest.kernel_size[1]):
                in_range = sum(_reads(nest, tile.row, column, k_h, k_w) for column in tile.columns)
                for inputs in tiles(nest.input_channels, tiling.input_channels):
                    v = len(inputs)
                    accumulated += 1
                    count["cycles"] += 1
                    count["accumulations"] += m * n * s * v
                    count["weight_reads"] += 0 if nest.unit_weights else m * v
                    count["input_reads"] += in_range * s * v
        in_one_bank = nest.sum_frames and dataflow.time_loop == "innermost"
        if in_one_bank and not last_tile:
            continue
        sums = m * n if nest.sum_frames else m * n * s
        completes = last_tile or not nest.sum_frames
        begins = first_tile or in_one_bank or not nest.sum_frames
        count["psum_reads"] += sums if nest.adds_sums or not begins else 0
        count["psum_writes"] += 0 if nest.fires and completes else sums
        if nest.fires and not nest.sum_frames and dataflow.time_loop == "outermost":
            count["membrane_reads"] += 0 if first_tile else m * n
            count["membrane_writes"] += 0 if last_tile else m * n
        # the array goes on to the other bank as soon as the node unit has left it
        count["node_stall_cycles"] += max(0, node_busy - accumulated)
        node_busy, accumulated = 1, 0
        if nest.fires and completes:
            steps = nest.node_steps if nest.sum_frames else s
            count["node_updates"] += m * n * steps
            count["output_writes"] += m * n * steps
            node_busy = len(list(tiles(steps, tiling.frames)))
    fields = LoopCounters.__dataclass_fields__
    return LoopCounters(**{name: count[name] for name in fields})


def _reads(nest: LoopNest, row: int, column: int, k_h: int, k_w: int) -> bool:
    """The kernel offset meets a value of the map, not a zero of the padding or of the addresses."""
    input_row = row * nest.stride[0] + k_h * nest.dilation[0] - nest.padding[0]
    input_column = column * nest.stride[1] + k_w * nest.dilation[1] - nest.padding[1]
    inside = 0 <= input_row < nest.input_size[0] and 0 <= input_column < nest.input_size[1]
    return inside and not any(
        addresses is not None and addresses[position] == -1
        for addresses, position in zip(nest.addresses, (input_row, input_column), strict=True)
    )
