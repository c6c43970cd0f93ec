"""What exact max pooling costs: its populations, their neurons, cores and ticks."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from deploy.design.compilation import Compilation
from deploy.design.pace import every_ticks
from deploy.report.records import MaxPoolingRecord, Report
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline


def max_pooling_record(c: Compilation) -> MaxPoolingRecord | None:
    """Cost of the populations of exact max pooling; None if there are none."""
    maxima = [p for p in c.design.network.spiking if p.role == "maximum"]
    if not maxima:
        return None
    without = c.design.pipeline
    for population in maxima:
        without = _bypassed(without, population.name)
    return {
        "populations": [p.name for p in maxima],
        "neurons": sum(prod(p.shape) for p in maxima),
        "cores": sum(len(c.design.mapping.cores_of(p.name)) for p in maxima),
        "first_latency_ticks_without": schedule_pipeline(without, 1).first_latency_ticks,
        "interval_ticks_without": float(initiation_interval(without).ticks),
    }


def max_pooling_sentence(report: Report) -> str | None:
    """The cost in words; None without exact max pooling."""
    record, pipeline = report["max_pooling"], report["pipeline"]
    if record is None:
        return None
    num = len(record["populations"])
    slower = pipeline["interval_ticks"] > record["interval_ticks_without"]
    advice = " (--optimize stalls adds slots)" * (slower and report["options"]["optimize"] is None)
    return (
        f"exact max pooling: {num} population{'s' * (num > 1)}, {record['neurons']:,} neurons on "
        f"{record['cores']:,} of {report['mapping']['num_cores']:,} cores, the first result after "
        f"{pipeline['first_latency_ticks']:,} ticks instead of {record['first_latency_ticks_without']:,}, "
        f"then one {every_ticks(pipeline['interval_ticks'])} instead of "
        f"{every_ticks(record['interval_ticks_without'])}"
        f"{advice}; train --max-pool average does without, but is another network"
    )


def _bypassed(pipeline: Pipeline, name: str) -> Pipeline:
    """The pipeline without a population, whose targets read its sources."""
    edges = {b.edge for b in pipeline.buffers}
    kept = [b for b in pipeline.buffers if name not in b.edge]
    kept += [
        replace(after, source=before.source)
        for before in pipeline.incoming(name)
        for after in pipeline.outgoing(name)
        if (before.source, after.target) not in edges
    ]
    return replace(
        pipeline,
        windows={n: window for n, window in pipeline.windows.items() if n != name},
        buffers=tuple(kept),
        replicas={n: count for n, count in pipeline.replicas.items() if n != name},
    )
