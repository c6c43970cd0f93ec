"""Simulate one kernel in the RTL: memories and registers in, sums or spikes and counters out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_models.pe_array.loop_nest import Dataflow, LoopNest, Tiling, tiling_of
from hw_models.pe_array.rtl.driver.memories import (
    load_words,
    neuron_values,
    neuron_words,
    operand_words,
    require_width,
    save_words,
    weight_words,
    word_lines,
)
from hw_models.pe_array.rtl.driver.registers import (
    KernelData,
    kernel_registers,
    num_neuron_words,
    num_operand_words,
    num_weight_words,
)
from hw_models.pe_array.rtl.driver.simulator import RtlSimulator
from toolchain.errors import RtlError
from toolchain.files.whole_files import scratch_folder


@dataclass(frozen=True, kw_only=True)
class RtlCounters:
    """Counts that the testbench took at the ports of the array.

    Attributes:
        total_cycles: cycles from the clock edge that sees ``start`` to the one that sees ``done``.
        weight_reads, input_reads: weights and operands.
        parameter_reads: neurons whose bias, threshold and initial potential were read.
        psum_reads, psum_writes: partial sums.
        membrane_reads, membrane_writes: membrane potentials.
        output_writes: spikes, zeros included.
    """

    total_cycles: int
    weight_reads: int
    input_reads: int
    parameter_reads: int
    psum_reads: int
    psum_writes: int
    membrane_reads: int
    membrane_writes: int
    output_writes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class RtlKernelRun:
    """Result of a kernel; sums have F frames, or 1 if bit planes are added up.

    Attributes:
        sums: int64 ``(frames, C_o, H_o, W_o)``; None if the kernel fires.
        spikes: bool ``(T_l, C_o, H_o, W_o)``; None if the kernel does not fire.
        potentials: membrane potentials after each step, int64 ``(T_l, C_o, H_o, W_o)``; None if the kernel
            does not fire.
    """

    counters: RtlCounters
    sums: np.ndarray | None
    spikes: np.ndarray | None
    potentials: np.ndarray | None


def memory_words_for(tiling: Tiling, stored_frames: int) -> int:
    """Number of words of the largest memory that a kernel needs."""
    nest = tiling.nest
    outputs = max(nest.sums_per_neuron, nest.node_steps if nest.fires else 1)
    return max(
        num_weight_words(tiling),
        num_operand_words(tiling, stored_frames),
        num_neuron_words(tiling, outputs),
    )


def run_kernel(
    simulator: RtlSimulator, nest: LoopNest, dataflow: Dataflow, data: KernelData
) -> RtlKernelRun:
    """Simulate a kernel from start to done.

    Raises:
        RtlError: values do not fit the array's words, or the simulation fails.
    """
    array = simulator.array
    tiling = tiling_of(nest, array.unrolling, dataflow)
    with scratch_folder() as folder:
        loaded = _save_memories(folder, simulator, tiling, data)
        spike_words = num_neuron_words(tiling, nest.node_steps) if nest.fires else 0
        sum_words = 0 if nest.fires else num_neuron_words(tiling, nest.sums_per_neuron)
        # between frame tiles, sums of bit planes use the memory for sums of a join
        kept = num_neuron_words(tiling, 1) if nest.sum_frames else 0
        plusargs = {
            **kernel_registers(tiling, dataflow, data),
            **{f"num_{memory}": words for memory, words in loaded.items()},
            "save_sum": max(sum_words, kept),
            "save_spike": spike_words,
            "save_potential": spike_words,
            "max_cycles": _cycle_limit(nest, tiling),
        }
        counters = RtlCounters(**simulator.run(folder, plusargs))
        _check_read_back(folder, loaded)
        if not nest.fires:
            words = load_words(folder / "sum.out.hex", tiling.output_channels, array.sum_bits)
            sums = neuron_values(words, tiling, nest.sums_per_neuron)
            return RtlKernelRun(counters=counters, sums=sums, spikes=None, potentials=None)
        spikes = load_words(folder / "spike.out.hex", tiling.output_channels, 1)
        potentials = load_words(
            folder / "potential.out.hex", tiling.output_channels, array.sum_bits
        )
        return RtlKernelRun(
            counters=counters,
            sums=None,
            spikes=neuron_values(spikes, tiling, nest.node_steps).astype(bool),
            potentials=neuron_values(potentials, tiling, nest.node_steps),
        )


def _save_memories(
    folder: Path, simulator: RtlSimulator, tiling: Tiling, data: KernelData
) -> dict[str, int]:
    """Write the memories of a kernel; returns the number of words of each."""
    array, nest = simulator.array, tiling.nest
    operand_bits, signed = array.operand_bits, array.signed_operands
    require_width("operand", data.operands, operand_bits, signed=signed)
    contents = {"input": (operand_words(data.operands, tiling), operand_bits)}
    if not nest.unit_weights:
        require_width("weight", data.weight, array.weight_bits, signed=True)
        contents["weight"] = (weight_words(data.weight, tiling), array.weight_bits)
    if data.earlier_sums is not None:
        frames = nest.sums_per_neuron
        shape = (frames, *data.earlier_sums.shape[1:])
        require_width("partial sum", data.earlier_sums, array.sum_bits, signed=True)
        sums = neuron_words(np.broadcast_to(data.earlier_sums, shape), tiling)
        contents["sum"] = (sums, array.sum_bits)
    if (parameters := data.parameters) is not None:
        channels = nest.groups * nest.output_channels
        size = (nest.rows, nest.columns) if parameters.per_neuron else (1, 1)
        for memory, values in (
            ("bias", parameters.bias),
            ("threshold", parameters.threshold),
            ("initial_potential", parameters.initial_potential),
        ):
            require_width(memory.replace("_", " "), values, array.sum_bits, signed=True)
            whole = np.broadcast_to(values, (channels, *size))[None]
            contents[memory] = (neuron_words(whole, tiling), array.sum_bits)
    for memory, (words, bits) in contents.items():
        if len(words) > array.memory_words:
            raise RtlError(
                f"{memory} memory: {len(words):,} words do not fit the {array.memory_words:,} that the "
                "simulation was compiled with"
            )
        save_words(folder / f"{memory}.hex", words, bits)
    return {memory: len(words) for memory, (words, _) in contents.items()}


def _check_read_back(folder: Path, loaded: dict[str, int]) -> None:
    """Check that the simulator has read every word; some drop the last one of a file."""
    for memory, num_words in loaded.items():
        written = word_lines(folder / f"{memory}.hex")
        if written != word_lines(folder / f"{memory}.read_back.hex"):
            raise RtlError(
                f"{memory} memory: the simulator has not read the {num_words:,} words of its file"
            )


def _cycle_limit(nest: LoopNest, tiling: Tiling) -> int:
    """A number of cycles that no kernel reaches, so that a simulation of faulty RTL ends."""
    groups = num_neuron_words(tiling, tiling.num_frame_tiles) + 1
    return 10 * groups * (tiling.cycles_per_window + nest.node_steps) + 100
