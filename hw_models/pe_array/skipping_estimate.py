"""A network on the array with zeros skipped: exact counts on each sample of real data, and their mean."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.array_kernels import ArrayKernel
from hw_models.pe_array.estimate import estimate_kernel
from hw_models.pe_array.modes import Mode
from hw_models.pe_array.operands import Activity, kernel_values
from hw_models.pe_array.zero_skipping import (
    SKIPPINGS,
    SkippedWork,
    Skipping,
    skip_zeros,
)
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
    known: dict[Hashable, SkippedKernel] = {}
    for kernel, values in kernel_values(network, mode, activity):
        cost_key = kernel.cost_key
        for skipping, kernels in found.items():
            samples = []
            for sample in range(len(values)):
                work = skip_zeros(kernel, array, values[sample : sample + 1], skipping)
                key = cost_key, *_content(work)
                if key not in known:
                    known[key] = _skipped(kernel, array, work)
                samples.append(known[key])
            kernels.append(SkippedKernel(**{n: _mean(samples, n) for n in samples[0].__dict__}))
    return {skipping: tuple(kernels) for skipping, kernels in found.items()}


def _content(work: SkippedWork) -> Iterator[Hashable]:
    """All that a cost depends on besides the kernel's ``cost_key``."""
    for iterations in (work.iterations.full, work.iterations.tail):
        yield from (iterations.shape, iterations.tobytes())
    yield from (work.accumulations, work.weight_reads, work.input_reads)


def _skipped(kernel: ArrayKernel, array: PeArray, work: SkippedWork) -> SkippedKernel:
    estimate = estimate_kernel(kernel, array, work)
    return SkippedKernel(
        cycles=estimate.timing.cycles,
        total_cycles=estimate.timing.total_cycles,
        accumulations=estimate.counters.accumulations,
        energy_pj=sum(estimate.energy_pj.values()),
    )


def _mean(samples: list[SkippedKernel], name: str) -> float:
    return sum(getattr(sample, name) for sample in samples) / len(samples)
