"""The registers of the RTL for one kernel: loop bounds, and the step that each loop adds to an address.

Order of the words in each memory: weights ``[group][channel tile][k_h][k_w][input tile]``, M x V per word;
operands ``[frame][group][row][column][input tile]``, V per word; values of neurons
``[frame][row][column][group][channel tile]``, M per word. Registers have the names of ``pass_t`` in
``rtl/sv/array_pkg.sv``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from hw_models.pe_array.loop_nest import Dataflow, Tiling

ADDRESS_BITS = 24
INDEX_BITS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class NeuronParameters:
    """Int64 arrays that broadcast to ``(C_o, 1, 1)`` or ``(C_o, H_o, W_o)``; a readout uses only the bias."""

    bias: np.ndarray
    threshold: np.ndarray
    initial_potential: np.ndarray

    @property
    def per_neuron(self) -> bool:
        values = (self.bias, self.threshold, self.initial_potential)
        return any(value.shape[1:] != (1, 1) for value in values)


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelData:
    """Inputs of a kernel.

    Attributes:
        weight: shape ``(groups, C_o, C_i, K_h, K_w)``, channels per group.
        operands: shape ``(F, groups * C_i, H_i, W_i)``, or a single frame that all F read.
        exponent: number of bits that sums are shifted left.
        signed: operands are two's complement numbers, or their bit planes.
        earlier_sums: sums of a join that the kernel adds to, ``(frames or 1, C_o, H_o, W_o)``, or None.
        parameters: parameters of the target if this is the last kernel into it, or None.
    """

    weight: np.ndarray
    operands: np.ndarray
    exponent: int = 0
    signed: bool = False
    earlier_sums: np.ndarray | None = None
    parameters: NeuronParameters | None = None


def kernel_registers(tiling: Tiling, dataflow: Dataflow, data: KernelData) -> dict[str, int]:
    """Value of each register by name; addresses are modulo 2^24."""
    nest, parameters = tiling.nest, data.parameters
    registers = {
        **_loops(tiling),
        "time_outermost": int(dataflow.time_loop == "outermost"),
        "sum_frames": int(nest.sum_frames),
        "signed_frames": int(data.signed and nest.sum_frames),
        "exponent": data.exponent,
        "adds_sums": int(nest.adds_sums),
        "adds_bias": int(parameters is not None),
        "fires": int(nest.fires),
        "unit_weights": int(nest.unit_weights),
        "parameters_per_neuron": int(parameters is not None and parameters.per_neuron),
        **_input_map(tiling),
    }
    addresses = {
        **_frame_order(tiling),
        **_input_addresses(tiling, same_frames=len(data.operands) == 1),
        **_weight_addresses(tiling),
        **_neuron_addresses(tiling),
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


def _loops(tiling: Tiling) -> dict[str, int]:
    nest = tiling.nest
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


def _frame_order(tiling: Tiling) -> dict[str, int]:
    """Order of frame tiles: bit planes go from the highest tile to the lowest, as sums shift between them."""
    if not tiling.nest.sum_frames:
        return {"first_frame": 0, "frame_tile": tiling.frames}
    return {
        "first_frame": (tiling.num_frame_tiles - 1) * tiling.frames,
        "frame_tile": -tiling.frames,
    }


def _input_map(tiling: Tiling) -> dict[str, int]:
    nest = tiling.nest
    return {
        "input_rows": nest.input_size[0],
        "input_columns": nest.input_size[1],
        "row_dilation": nest.dilation[0],
        "column_dilation": nest.dilation[1],
        "row_stride": nest.stride[0],
        "column_stride": nest.stride[1],
        "row_padding": nest.padding[0],
        "column_padding": nest.padding[1],
        "column_tile_stride": tiling.columns * nest.stride[1],
    }


def _input_addresses(tiling: Tiling, *, same_frames: bool) -> dict[str, int]:
    nest, column = tiling.nest, tiling.num_input_tiles
    row = nest.input_size[1] * column
    group = nest.input_size[0] * row
    frame = 0 if same_frames else nest.groups * group
    order = _frame_order(tiling)
    return {
        "input_origin": (
            order["first_frame"] * frame - nest.padding[0] * row - nest.padding[1] * column
        ),
        "input_frame": frame,
        "input_frame_tile": order["frame_tile"] * frame,
        "input_group": group,
        "input_kernel_row": nest.dilation[0] * row,
        "input_row_step": nest.stride[0] * row,
        "input_kernel_column": nest.dilation[1] * column,
        "input_column_step": nest.stride[1] * column,
        "input_column_tile": tiling.columns * nest.stride[1] * column,
    }


def _weight_addresses(tiling: Tiling) -> dict[str, int]:
    kernel_column = tiling.num_input_tiles
    kernel_row = tiling.nest.kernel_size[1] * kernel_column
    channel_tile = tiling.nest.kernel_size[0] * kernel_row
    return {
        "weight_kernel_column": kernel_column,
        "weight_kernel_row": kernel_row,
        "weight_channel_tile": channel_tile,
        "weight_group": tiling.num_channel_tiles * channel_tile,
    }


def _neuron_addresses(tiling: Tiling) -> dict[str, int]:
    nest = tiling.nest
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
