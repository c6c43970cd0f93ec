"""The pipeline under each cost profile beside the PE array in each mode, in the same units."""

from __future__ import annotations

from typing import Any

from deploy.compilation import Compilation
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.pe_array.estimate import ArrayEstimate


def pipeline_rows(compilation: Compilation) -> list[dict[str, Any]]:
    """Two rows a cost profile, with a barrier and without; profiles are never mixed."""
    rows = []
    for name, cost in compilation.costs.items():
        without = compilation.asynchronous[name]
        for words, time in ((name, cost), (f"{name}, no barrier", without)):
            rows.append(
                {
                    "kind": "pipeline",
                    "design": f"{compilation.target.name}, {words}",
                    "latency_us": time.first_latency_s * 1e6,
                    "interval_us": time.interval_s * 1e6,
                    "throughput_per_s": 1 / time.interval_s,
                    "energy_nj": cost.energy_per_sample_j * 1e9,
                    "utilisation": _mean_busy_share(compilation.schedule),
                }
            )
    return rows


def array_row(name: str, estimate: ArrayEstimate) -> dict[str, Any]:
    """One mode of the PE array; it takes a sample when it has finished the one before."""
    return {
        "kind": "pe_array",
        "design": f"{name} ({estimate.mode})",
        "latency_us": estimate.latency_us,
        "interval_us": estimate.latency_us,
        "throughput_per_s": estimate.throughput_per_s,
        "energy_nj": estimate.energy_pj * 1e-3,
        "utilisation": estimate.utilisation,
    }


def _mean_busy_share(schedule: Schedule) -> float:
    totals = [schedule.activity_ticks(name) for name in schedule.spans]
    return sum(t["busy"] for t in totals) / sum(sum(t.values()) for t in totals)
