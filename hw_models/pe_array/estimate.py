"""Cycles, traffic and energy of a network on the array in one mode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel, array_kernels
from hw_models.pe_array.closed_form import LoopCounters, count_loops
from hw_models.pe_array.energy import PortTraffic, kernel_energy_pj, port_traffic
from hw_models.pe_array.kernel_timing import KernelTiming, time_kernel
from hw_models.pe_array.modes import Mode
from hw_models.pe_array.zero_skipping import SkippedWork
from toolchain.networks.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """One kernel in one mode; counters and cycles are exact for this array, energy is an estimate."""

    kernel: ArrayKernel
    counters: LoopCounters
    timing: KernelTiming
    ports: PortTraffic
    energy_pj: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ArrayEstimate:
    """A network in one mode; layers run one after another, so throughput is 1 / latency."""

    mode: Mode
    array: PeArray
    layers: tuple[LayerEstimate, ...]

    @property
    def total_cycles(self) -> int:
        return sum(layer.timing.total_cycles for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Share of all elements and cycles that accumulate; tails and stalls count as idle."""
        work = sum(layer.counters.accumulations for layer in self.layers)
        return work / (self.total_cycles * self.array.unrolling.num_elements)

    @property
    def latency_us(self) -> float:
        return self.total_cycles / self.array.clock_mhz

    @property
    def port_bytes(self) -> float:
        return sum(layer.ports.total for layer in self.layers)

    @property
    def off_chip_bytes(self) -> int:
        return sum(layer.timing.off_chip_bytes for layer in self.layers)

    @property
    def energy_pj(self) -> dict[str, float]:
        """Energy by what it is spent on."""
        total: dict[str, float] = defaultdict(float)
        for layer in self.layers:
            for name, energy in layer.energy_pj.items():
                total[name] += energy
        return total


def estimate_array(network: IntegerNetwork, array: PeArray, mode: Mode) -> ArrayEstimate:
    """Cycles, traffic and energy of one sample if no zero is skipped, which needs no data.

    Raises:
        UnsupportedNetworkError: the mode needs averaging, and a synapse does not average.
        TargetError: a buffer cannot hold a row of a layer.
    """
    return estimate_kernels(array_kernels(network, mode), array, mode)


def estimate_kernels(kernels: Iterable[ArrayKernel], array: PeArray, mode: Mode) -> ArrayEstimate:
    """Cycles, traffic and energy of the kernels of a network, each different one computed once.

    Raises:
        TargetError: a buffer cannot hold a row of a layer.
    """
    known: dict[Hashable, LayerEstimate] = {}
    layers = []
    for kernel in kernels:
        key = kernel.cost_key
        if (layer := known.get(key)) is None:
            layer = known[key] = estimate_kernel(kernel, array)
        layers.append(layer if layer.kernel is kernel else replace(layer, kernel=kernel))
    return ArrayEstimate(mode=mode, array=array, layers=tuple(layers))


def estimate_kernel(
    kernel: ArrayKernel, array: PeArray, work: SkippedWork | None = None
) -> LayerEstimate:
    """Cycles, traffic and energy of one kernel.

    Args:
        work: work that zero skipping leaves; None for all of it.
    """
    counters = count_loops(kernel.nest, array.unrolling, array.dataflow)
    timing = time_kernel(kernel, array, None if work is None else work.iterations)
    if work is not None:
        counters = replace(
            counters,
            cycles=timing.cycles,
            accumulations=work.accumulations,
            weight_reads=work.weight_reads,
            input_reads=work.input_reads,
        )
    ports = port_traffic(kernel, array, counters)
    return LayerEstimate(
        kernel=kernel,
        counters=counters,
        timing=timing,
        ports=ports,
        energy_pj=kernel_energy_pj(kernel, array, counters, ports, timing),
    )
