"""The pipeline under each cost profile beside the PE array in each mode, in the same units."""

from __future__ import annotations

from typing import Any

from deploy.compilation import Compilation
from hw_models.multicore.buffer_depths import steady_stall_share


def pipeline_rows(compilation: Compilation) -> list[dict[str, Any]]:
    """Two rows a cost profile, with a barrier and without; profiles are never mixed."""
    rows = []
    stalled = steady_stall_share(compilation.pipeline, compilation.interval.ticks)
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
                    "utilisation": 1
                    - stalled,  # in the steady state a stage is busy, starved or blocked
                    "stalled": stalled,  # of ticks, which are the same with and without
                    "port_bytes": None,
                    "off_chip_bytes": None,
                }
            )
    return rows


def array_rows(on_array: dict[str, Any]) -> list[dict[str, Any]]:
    """Every mode of the PE array; it takes a sample when it has finished the one before.

    Args:
        on_array: the PE array's part of the report.
    """
    return [
        {
            "kind": "pe_array",
            "design": f"{on_array['array']} ({mode['mode']})",
            "latency_us": mode["latency_us"],
            "interval_us": mode["latency_us"],
            "throughput_per_s": mode["throughput_per_s"],
            "energy_nj": sum(mode["energy_pj"].values()) * 1e-3,
            "utilisation": mode["utilisation"],
            "stalled": sum(mode["stalls"].values()) / mode["total_cycles"],
            "port_bytes": mode["port_bytes"],
            "off_chip_bytes": mode["off_chip_bytes"],
        }
        for mode in on_array["estimates"]
    ]
