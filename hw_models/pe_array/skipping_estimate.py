"""A network on the array with zeros skipped: exact counts on each sample of real data, and their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.estimate import estimate_kernel
from hw_models.pe_array.modes import Mode
from hw_models.pe_array.operands import Activity, kernel_values
from hw_models.pe_array.zero_skipping import SKIPPINGS, Skipping, skip_zeros
from toolchain.networks.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True)
class SkippedKernel:
    """One kernel with zeros skipped; each value is the mean over the samples.

    Attributes:
        cycles: iterations of the innermost loop that are left.
        total_cycles: cycles with stalls, fill and drain.
    """

    cycles: float
    total_cycles: float
    accumulations: float
    energy_pj: float


def estimate_skipping(
    network: IntegerNetwork, array: PeArray, mode: Mode, activity: Activity
) -> dict[Skipping, tuple[SkippedKernel, ...]]:
    """Every kernel of a network under each kind of skipping, on the operands of a run."""
    found: dict[Skipping, list[SkippedKernel]] = {skipping: [] for skipping in SKIPPINGS}
    for kernel, values in kernel_values(network, mode, activity):
        for skipping, kernels in found.items():
            samples = [
                _skipped(kernel, array, values[sample : sample + 1], skipping)
                for sample in range(len(values))
            ]
            kernels.append(SkippedKernel(**{n: _mean(samples, n) for n in samples[0].__dict__}))
    return {skipping: tuple(kernels) for skipping, kernels in found.items()}


def _skipped(
    kernel: ArrayKernel, array: PeArray, values: np.ndarray, skipping: Skipping
) -> SkippedKernel:
    estimate = estimate_kernel(kernel, array, skip_zeros(kernel, array, values, skipping))
    return SkippedKernel(
        cycles=estimate.timing.cycles,
        total_cycles=estimate.timing.total_cycles,
        accumulations=estimate.counters.accumulations,
        energy_pj=sum(estimate.energy_pj.values()),
    )


def _mean(samples: list[SkippedKernel], name: str) -> float:
    return sum(getattr(sample, name) for sample in samples) / len(samples)
