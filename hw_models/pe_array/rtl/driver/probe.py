"""Membrane potentials of one population in the RTL, after each timestep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import assert_never

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.closed_form import array_cycles
from hw_models.pe_array.loop_nest import Ending
from hw_models.pe_array.modes import SNN_TEMPORAL
from hw_models.pe_array.operands import Activity
from hw_models.pe_array.rtl.driver.network import (
    KernelInNetwork,
    kernel_difference,
    network_kernels,
    rtl_array_for,
)
from hw_models.pe_array.rtl.driver.run import RtlKernelRun, run_kernel
from hw_models.pe_array.rtl.driver.simulator import SimulatorName, compile_rtl
from toolchain.errors import RtlError
from toolchain.networks.integer_network import IntegerNetwork, IntegerReadout, IntegerSpiking


@dataclass(frozen=True, kw_only=True, eq=False)
class RtlProbe:
    """A population in one sample.

    Attributes:
        potentials: after each timestep, int64 ``(T_l, C, H, W)``; of a readout the sums so far.
        spikes: bool ``(T_l, C, H, W)``.
        cycles: of all kernels into the population.
        difference: the first sum that the last kernel adds to and that differs from the model, or None.
    """

    potentials: np.ndarray
    spikes: np.ndarray
    cycles: int
    difference: str | None


def require_probe(
    network: IntegerNetwork,
    array: PeArray,
    population: str,
    num_samples: int,
    simulator: SimulatorName,
    cycle_limit: int,
) -> None:
    """Check that the RTL runs a population, and in how many cycles, before anything is simulated.

    Args:
        cycle_limit: most cycles to simulate, of all samples together.

    Raises:
        RtlError: the array does not run the population, or the cycles are too many.
        UnsupportedNetworkError: the array has no kernel for a map of the network.
    """
    kernels = [k for k in array_kernels(network, SNN_TEMPORAL) if k.target == population]
    if not kernels:
        raise RtlError(
            f"{population}: the PE array does not run it: comparators take the maximum that it is part of"
        )
    each = sum(
        array_cycles(kernel.nest, array.unrolling, array.dataflow)
        for kernel in kernels
        if not kernel.nest.takes_maximum
    )
    if each * num_samples > cycle_limit:
        several = num_samples > 1
        raise RtlError(
            f"{population}: {each * num_samples:,} cycles in {num_samples} "
            f"{'samples' if several else 'sample'} are above the limit of {cycle_limit:,} for {simulator}; "
            f"{'trace one --sample, or ' if several else ''}raise --rtl-cycles"
        )


def probe_in_rtl(
    network: IntegerNetwork,
    array: PeArray,
    population: str,
    activities: Sequence[Activity],
    *,
    simulator: SimulatorName,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> list[RtlProbe]:
    """Simulate every kernel into a population that ``require_probe`` accepts, for each sample.

    Args:
        activities: one sample each, from a run that is known to be right; the kernels read its spikes.

    Raises:
        RtlError: the simulator is missing or fails.
    """
    kernels = array_kernels(network, SNN_TEMPORAL)
    wanted = [at for at, kernel in enumerate(kernels) if kernel.target == population]
    in_network = [
        list(network_kernels(network, array, SNN_TEMPORAL, activity, wanted))
        for activity in activities
    ]
    every = [kernel for sample in in_network for kernel in sample]
    progress(f"RTL: compiling with {simulator}")
    compiled = compile_rtl(rtl_array_for(every, array), simulator, cache=cache)
    probes = []
    for number, sample in enumerate(in_network):
        runs = []
        for one in sample:
            progress(f"RTL: {one} (sample {number + 1} of {len(in_network)})")
            runs.append((one, run_kernel(compiled, one.kernel.nest, array.dataflow, one.data)))
        probes.append(_probe(network, population, runs, array))
    return probes


def _probe(
    network: IntegerNetwork,
    name: str,
    runs: Sequence[tuple[KernelInNetwork, RtlKernelRun]],
    array: PeArray,
) -> RtlProbe:
    population = network[name]
    assert isinstance(population, IntegerSpiking | IntegerReadout)
    window = (population.timesteps, *population.shape)
    potentials, spikes = np.zeros(window, np.int64), np.zeros(window, bool)
    differences = []
    for one, run in runs:
        channels = one.kernel.target_channels
        match one.kernel.nest.ending:
            case Ending.FIRES:
                assert run.potentials is not None
                assert run.spikes is not None
                potentials[:, channels], spikes[:, channels] = run.potentials, run.spikes
            case Ending.READS_OUT:
                assert run.sums is not None
                potentials[:, channels] = np.cumsum(run.sums, axis=0)
            case Ending.MAPS | Ending.JOINS:
                if (difference := kernel_difference(one, run, array)) is not None:
                    differences.append(f"{one}: {difference}")
            case Ending.QUANTIZES:
                raise AssertionError(f"{one}: a spiking mode does not quantize")
            case ending:
                assert_never(ending)
    return RtlProbe(
        potentials=potentials,
        spikes=spikes,
        cycles=sum(run.counters.total_cycles for _, run in runs),
        difference=differences[0] if differences else None,
    )
