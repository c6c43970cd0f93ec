"""The registers of the RTL for one kernel: loop bounds, and the step that each loop adds to an address.

Order of the words in each memory: weights ``[group][channel tile][k_h][k_w][input tile]``, M x V per word;
operands ``[frame][group][row][column][input tile]``, V per word; values of neurons
``[frame][row][column][group][channel tile]``, M per word. Registers have the names of ``pass_t`` in
``rtl/sv/array_pkg.sv``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from hw_models.pe_array.loop_nest import Dataflow, LoopNest, Tiling, Unrolling, tiling_of

ADDRESS_BITS = 24
INDEX_BITS = 16


@dataclass(frozen=True, kw_only=True)
class KernelSettings:
    """Settings of a kernel besides its loops.

    Attributes:
        exponent: number of bits that sums are shifted left.
        signed_planes: bit planes are those of two's complement numbers.
        same_frames: all frames read the same operands, which are stored once.
        adds_bias: whether this is the last kernel into its population.
        parameters_per_neuron: bias, threshold and initial potential differ within a channel.
    """

    exponent: int
    signed_planes: bool
    same_frames: bool
    adds_bias: bool
    parameters_per_neuron: bool


def kernel_registers(
    nest: LoopNest, unrolling: Unrolling, dataflow: Dataflow, settings: KernelSettings
) -> dict[str, int]:
    """Value of each register by name; addresses are modulo 2^24."""
    tiling = tiling_of(nest, unrolling, dataflow)
    registers = {
        **_loops(nest, tiling),
        "time_outermost": int(dataflow.time_loop == "outermost"),
        "sum_frames": int(nest.sum_frames),
        "signed_frames": int(settings.signed_planes),
        "exponent": settings.exponent,
        "adds_sums": int(nest.adds_sums),
        "adds_bias": int(settings.adds_bias),
        "fires": int(nest.fires),
        "unit_weights": int(nest.unit_weights),
        "parameters_per_neuron": int(settings.parameters_per_neuron),
        **_input_map(nest, tiling),
    }
    addresses = {
        **_frame_order(nest, tiling),
        **_input_addresses(nest, tiling, settings.same_frames),
        **_weight_addresses(nest, tiling),
        **_neuron_addresses(nest, tiling),
    }
    assert all(0 <= value < 1 << INDEX_BITS for value in registers.values())
    return registers | {name: value % (1 << ADDRESS_BITS) for name, value in addresses.items()}


def num_weight_words(tiling: Tiling) -> int:
    return tiling.nest.groups * tiling.num_channel_tiles * tiling.cycles_per_window


def num_operand_words(tiling: Tiling, stored_frames: int) -> int:
    nest = tiling.nest
    return stored_frames * nest.groups * prod(nest.input_size) * tiling.num_input_tiles


def num_neuron_words(tiling: Tiling, frames: int) -> int:
    nest = tiling.nest
    return frames * nest.rows * nest.columns * nest.groups * tiling.num_channel_tiles


def _loops(nest: LoopNest, tiling: Tiling) -> dict[str, int]:
    return {
        "groups": nest.groups,
        "output_channels": nest.output_channels,
        "input_channels": nest.input_channels,
        "rows": nest.rows,
        "columns": nest.columns,
        "kernel_rows": nest.kernel_size[0],
        "kernel_columns": nest.kernel_size[1],
        "frames": nest.frames,
        "timesteps": nest.node_steps,
        "lanes_per_column": tiling.frames,
        "columns_per_tile": tiling.columns,
    }


def _frame_order(nest: LoopNest, tiling: Tiling) -> dict[str, int]:
    """Order of frame tiles: bit planes go from the highest tile to the lowest, as sums shift between them."""
    if not nest.sum_frames:
        return {"first_frame": 0, "frame_tile": tiling.frames}
    return {
        "first_frame": (tiling.num_frame_tiles - 1) * tiling.frames,
        "frame_tile": -tiling.frames,
    }


def _input_map(nest: LoopNest, tiling: Tiling) -> dict[str, int]:
    return {
        "input_rows": nest.input_size[0],
        "input_columns": nest.input_size[1],
        "row_stride": nest.stride[0],
        "column_stride": nest.stride[1],
        "row_padding": nest.padding[0],
        "column_padding": nest.padding[1],
        "column_tile_stride": tiling.columns * nest.stride[1],
    }


def _input_addresses(nest: LoopNest, tiling: Tiling, same_frames: bool) -> dict[str, int]:
    column = tiling.num_input_tiles
    row = nest.input_size[1] * column
    group = nest.input_size[0] * row
    frame = 0 if same_frames else nest.groups * group
    order = _frame_order(nest, tiling)
    return {
        "input_origin": (
            order["first_frame"] * frame - nest.padding[0] * row - nest.padding[1] * column
        ),
        "input_frame": frame,
        "input_frame_tile": order["frame_tile"] * frame,
        "input_group": group,
        "input_row": row,
        "input_row_step": nest.stride[0] * row,
        "input_column": column,
        "input_column_step": nest.stride[1] * column,
        "input_column_tile": tiling.columns * nest.stride[1] * column,
    }


def _weight_addresses(nest: LoopNest, tiling: Tiling) -> dict[str, int]:
    kernel_column = tiling.num_input_tiles
    kernel_row = nest.kernel_size[1] * kernel_column
    channel_tile = nest.kernel_size[0] * kernel_row
    return {
        "weight_kernel_column": kernel_column,
        "weight_kernel_row": kernel_row,
        "weight_channel_tile": channel_tile,
        "weight_group": tiling.num_channel_tiles * channel_tile,
    }


def _neuron_addresses(nest: LoopNest, tiling: Tiling) -> dict[str, int]:
    column = nest.groups * tiling.num_channel_tiles
    row = nest.columns * column
    frame = nest.rows * row
    return {
        "channel_tiles": tiling.num_channel_tiles,
        "neuron_column": column,
        "neuron_row": row,
        "neuron_frame": frame,
        "neuron_column_tile": tiling.columns * column,
        "neuron_frame_tile": tiling.frames * frame,
    }
