"""Roofline of a kernel: the array's peak and the off-chip bandwidth limit its speed."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.kernel_timing import stall_free_bandwidth, time_kernel


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """One kernel under the two roofs, in accumulations per cycle.

    Attributes:
        accumulations_per_byte: accumulations per byte of off-chip traffic.
        compute_roof: accumulations per cycle if nothing but tails is lost.
        bandwidth_roof: accumulations per cycle that the off-chip bandwidth allows at this traffic.
        attained: accumulations per cycle of the kernel, stalls included.
        stall_free_bytes_per_cycle: smallest bandwidth at which the array never waits for off chip, or None
            if no bandwidth is enough.
    """

    name: str
    accumulations_per_byte: float
    compute_roof: float
    bandwidth_roof: float
    attained: float
    stall_free_bytes_per_cycle: int | None


def rooflines(kernels: Iterable[ArrayKernel], array: PeArray) -> tuple[Roofline, ...]:
    """The roofline of each kernel, each different one computed once."""
    known: dict[Hashable, Roofline] = {}
    roofs = []
    for kernel in kernels:
        if kernel.cost_key not in known:
            known[kernel.cost_key] = roofline(kernel, array)
        roofs.append(replace(known[kernel.cost_key], name=kernel.name))
    return tuple(roofs)


def roofline(kernel: ArrayKernel, array: PeArray) -> Roofline:
    """A kernel's roofs, and the speed that it attains."""
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
