"""Energy of a kernel: each event count times a figure from the array's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw_models.pe_array.array_description import BUFFERS, PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.buffer_plan import buffer_of, potential_word_bits
from hw_models.pe_array.closed_form import LoopCounters
from hw_models.pe_array.kernel_timing import KernelTiming
from hw_models.pe_array.loop_nest import Ending

ENERGIES = ("accumulate", "node", *BUFFERS, "off_chip")


@dataclass(frozen=True, kw_only=True)
class PortTraffic:
    """Bytes between the array and each buffer, with bits packed."""

    read: Mapping[str, float]
    written: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.read.values()) + sum(self.written.values())


def port_traffic(kernel: ArrayKernel, array: PeArray, counters: LoopCounters) -> PortTraffic:
    """Bytes that a kernel moves through the ports of the array."""
    word_bits = potential_word_bits(kernel, array)
    return PortTraffic(
        read={
            "weight": counters.weight_reads * array.weight_bits / 8,
            "input": counters.input_reads * kernel.reads.bits / 8,
            "psum": counters.psum_reads * array.sum_bits / 8,
            "membrane": counters.membrane_reads * word_bits / 8,
        },
        written={
            "psum": counters.psum_writes * array.sum_bits / 8,
            "membrane": counters.membrane_writes * word_bits / 8,
            "output": counters.output_writes * kernel.leaves.written_bits / 8,
        },
    )


def kernel_energy_pj(
    kernel: ArrayKernel,
    array: PeArray,
    counters: LoopCounters,
    traffic: PortTraffic,
    timing: KernelTiming,
) -> dict[str, float]:
    """Energy by what it is spent on; a buffer's energy includes its off-chip transfers."""
    multiply_pj = 0.0
    if kernel.reads.bits > 1 and not kernel.nest.unit_weights:
        multiply_pj = array.multiply_pj * kernel.reads.bits / 8
    node_pj = array.requantize_pj if kernel.nest.ending is Ending.QUANTIZES else array.fire_pj
    energy = {
        "accumulate": counters.accumulations * (array.add_pj + multiply_pj),
        "node": counters.node_updates * node_pj,
    }
    for name in BUFFERS:
        buffer = array.buffers[name]
        stored = sum(n for o, n in timing.stored_bytes.items() if buffer_of(kernel, o) == name)
        read = traffic.read.get(name, 0) + stored
        written = traffic.written.get(name, 0) + timing.loaded_bytes[name]
        energy[name] = read * buffer.read_pj_per_byte + written * buffer.write_pj_per_byte
    energy["off_chip"] = timing.off_chip_bytes * array.off_chip_pj_per_byte
    return energy
