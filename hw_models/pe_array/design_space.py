"""All ways to unroll an array's elements over M, N, S and V, for one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil

from hw_models.pe_array.array_description import BufferName, PeArray
from hw_models.pe_array.array_kernels import ArrayKernel, array_kernels
from hw_models.pe_array.buffer_plan import potential_word_bits
from hw_models.pe_array.estimate import ArrayEstimate, estimate_kernels
from hw_models.pe_array.loop_nest import Unrolling
from hw_models.pe_array.modes import Mode
from toolchain.errors import TargetError
from toolchain.networks.integer_network import IntegerNetwork


def unrollings(num_elements: int) -> Iterator[Unrolling]:
    """All M x N x S x V with this number of elements."""

    def divisors(number: int) -> list[int]:
        return [d for d in range(1, number + 1) if number % d == 0]

    for m in divisors(num_elements):
        for n in divisors(num_elements // m):
            for s in divisors(num_elements // (m * n)):
                yield Unrolling(
                    output_channels=m,
                    output_columns=n,
                    timesteps=s,
                    input_channels=num_elements // (m * n * s),
                )


def sweep_unrollings(
    network: IntegerNetwork,
    array: PeArray,
    mode: Mode,
    progress: Callable[[], None] = lambda: None,
) -> list[ArrayEstimate]:
    """The network on every unrolling of the array's elements, with the same buffers and bandwidth.

    Every design gets ports as wide as it needs; otherwise ports would decide which design is best. A design
    whose buffers cannot hold a tile is left out.

    Args:
        progress: called after each unrolling.
    """
    designs = []
    kernels = array_kernels(network, mode)
    for unrolling in unrollings(array.unrolling.num_elements):
        try:
            wide = with_wide_ports(array, unrolling, kernels)
            designs.append(estimate_kernels(kernels, wide, mode))
        except TargetError:
            continue
        finally:
            progress()
    return designs


def with_wide_ports(
    array: PeArray, unrolling: Unrolling, kernels: Sequence[ArrayKernel]
) -> PeArray:
    """The array with another unrolling, and ports that move in one cycle all that a kernel needs in it."""
    m, n, s, v = unrolling.sizes
    lanes = n * s  # folding needs as many
    bits: dict[BufferName, int] = {
        "weight": m * v * array.weight_bits,
        "input": lanes * v * max(kernel.reads.bits for kernel in kernels),
        "psum": 2 * m * lanes * array.sum_bits,
        "membrane": 2 * m * lanes * max(potential_word_bits(kernel, array) for kernel in kernels),
        "output": m * lanes * max(k.nest.node_steps * k.leaves.written_bits for k in kernels),
    }
    buffers = {
        name: replace(buffer, port_bytes=ceil(bits[name] / 8))
        for name, buffer in array.buffers.items()
    }
    return replace(array, unrolling=unrolling, buffers=buffers)


def pareto_front(designs: Sequence[ArrayEstimate]) -> list[ArrayEstimate]:
    """Designs that no other design beats in both cycles and buffer traffic, in order of cycles."""
    front: list[ArrayEstimate] = []
    for design in sorted(designs, key=lambda d: (d.total_cycles, d.port_bytes)):
        if not front or design.port_bytes < front[-1].port_bytes:
            front.append(design)
    return front
