"""Where a kernel stands between the array's peak and the bandwidth off chip."""

from __future__ import annotations

from dataclasses import dataclass

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.kernel_timing import stall_free_bandwidth, time_kernel


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """One kernel under the two roofs, in accumulations a cycle.

    Attributes:
        accumulations_per_byte: of off-chip traffic.
        compute_roof: accumulations a cycle with tails and nothing else lost.
        bandwidth_roof: what the off-chip bandwidth allows at this traffic.
        attained: over all cycles of the kernel.
        stall_free_bytes_per_cycle: least bandwidth at which the array never waits for off chip, None
            where no bandwidth helps.
    """

    name: str
    accumulations_per_byte: float
    compute_roof: float
    bandwidth_roof: float
    attained: float
    stall_free_bytes_per_cycle: int | None


def roofline(kernel: ArrayKernel, array: PeArray) -> Roofline:
    """The roofs of a kernel."""
    counters = count_loops(kernel.nest, array.unrolling, array.dataflow)
    timing = time_kernel(kernel, array)
    intensity = counters.accumulations / timing.off_chip_bytes
    return Roofline(
        name=kernel.name,
        accumulations_per_byte=intensity,
        compute_roof=counters.accumulations / counters.cycles,
        bandwidth_roof=intensity * array.off_chip_bytes_per_cycle,
        attained=counters.accumulations / timing.total_cycles,
        stall_free_bytes_per_cycle=stall_free_bandwidth(kernel, array),
    )
