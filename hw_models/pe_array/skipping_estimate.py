"""A network on the array with zeros skipped: exact on each sample of real data, then their mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.energy import pass_energy_pj, port_traffic
from hw_models.pe_array.layer_passes import LayerPass, Mode
from hw_models.pe_array.operands import pass_values
from hw_models.pe_array.pass_timing import time_pass
from hw_models.pe_array.zero_skipping import SKIPPINGS, Skipping, skip_zeros
from toolchain.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True)
class SkippedPass:
    """One pass with zeros skipped; means over the samples of exact counts.

    Attributes:
        cycles: turns of the innermost loop that are left.
        total_cycles: with stalls, fill and drain.
    """

    cycles: float
    total_cycles: float
    accumulations: float
    energy_pj: float


def estimate_skipping(
    network: IntegerNetwork,
    array: PeArray,
    mode: Mode,
    pixels: np.ndarray,
    counts: Mapping[str, np.ndarray],
    trains: Mapping[str, np.ndarray],
) -> dict[Skipping, tuple[SkippedPass, ...]]:
    """Every pass of a network under each kind of skipping, on the operands of a run.

    Args:
        pixels: of the samples, integers ``(B, C, H, W)``.
        counts, trains: what the populations did on them, see ``pass_values``.
    """
    found: dict[Skipping, list[SkippedPass]] = {skipping: [] for skipping in SKIPPINGS}
    for layer, values in pass_values(network, mode, pixels, counts, trains):
        for skipping, passes in found.items():
            samples = [
                _skipped(layer, array, values[sample : sample + 1], skipping)
                for sample in range(len(values))
            ]
            passes.append(SkippedPass(**{n: _mean(samples, n) for n in samples[0].__dict__}))
    return {skipping: tuple(passes) for skipping, passes in found.items()}


def _skipped(
    layer: LayerPass, array: PeArray, values: np.ndarray, skipping: Skipping
) -> SkippedPass:
    work = skip_zeros(layer, array, values, skipping)
    timing = time_pass(layer, array, work.turns)
    counters = replace(
        count_loops(layer.nest, array.unrolling, array.dataflow),
        cycles=timing.cycles,
        accumulations=work.accumulations,
        weight_reads=work.weight_reads,
        input_reads=work.input_reads,
    )
    ports = port_traffic(layer, array, counters)
    return SkippedPass(
        cycles=timing.cycles,
        total_cycles=timing.total_cycles,
        accumulations=work.accumulations,
        energy_pj=sum(pass_energy_pj(layer, array, counters, ports, timing).values()),
    )


def _mean(samples: list[SkippedPass], name: str) -> float:
    return sum(getattr(sample, name) for sample in samples) / len(samples)
