"""Rows that compare the pipeline under each cost profile with the PE array in each mode."""

from __future__ import annotations

from deploy.design.compilation import Compilation
from deploy.report.array_records import ArrayRecord
from deploy.report.records import ComparisonRow
from hw_models.multicore.pipeline.buffer_depths import steady_stall_share


def pipeline_rows(compilation: Compilation) -> list[ComparisonRow]:
    """Two rows per cost profile: with a barrier and without."""
    rows: list[ComparisonRow] = []
    stalled = steady_stall_share(compilation.design.pipeline, compilation.interval.ticks)
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
                    # in the steady state a stage is busy, starved or blocked
                    "utilisation": 1 - stalled,
                    "stalled": stalled,  # of ticks, which are the same with and without
                    "port_bytes": None,
                    "off_chip_bytes": None,
                }
            )
    return rows


def array_rows(on_array: ArrayRecord) -> list[ComparisonRow]:
    """One row per mode of the PE array, which runs one sample at a time.

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
