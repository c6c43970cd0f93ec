"""``report.json``: everything the report shows, for machines; the terminal and HTML views read it."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from typing import Any

from deploy.compilation import Compilation
from deploy.report.array_document import array_document
from deploy.report.comparison import array_rows, pipeline_rows
from hw_models.multicore.buffer_depths import steady_stall_share
from hw_models.multicore.critical_path import critical_path
from hw_models.multicore.initiation_interval import ideal_interval_ticks
from hw_models.multicore.pipeline_ticks import Schedule
from hw_models.multicore.steady_pace import steady_state
from toolchain.integer_network import (
    IntegerInput,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.integer_network.accumulator_bounds import potential_interval
from toolchain.linear_maps import describe

FORMAT = "qac-deploy report"
VERSION = 1


def report_document(compilation: Compilation) -> dict[str, Any]:
    """The report as plain data: deterministic, no host names, no times of day."""
    c = compilation
    on_array = array_document(c.on_array)
    timesteps = {
        p.name: p.timesteps for p in c.network.populations if isinstance(p, IntegerSpiking)
    }
    neurons = {
        p.name: prod(p.shape) for p in c.network.populations if isinstance(p, IntegerSpiking)
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {"file": c.model.name, "training": c.checkpoint.training},
        "target": {"name": c.target.name, "description": c.target.description},
        "options": asdict(c.options),
        "data": c.data_name,
        "mean_timesteps": sum(timesteps.values()) / len(timesteps),
        "mean_timesteps_by_neurons": sum(t * neurons[n] for n, t in timesteps.items())
        / sum(neurons.values()),
        "populations": [_population(c, p) for p in c.network.populations],
        "synapses": [_synapse(c, s) for s in c.network.synapses],
        "fidelity": None if c.fidelity is None else asdict(c.fidelity),
        "alignment_trade": [asdict(trade) for trade in c.alignment_trade],
        "design_points": [asdict(point) for point in c.design_points],
        "mapping": c.mapping.summary(),
        "pipeline": _pipeline(c),
        "costs": {name: asdict(cost) for name, cost in c.costs.items()},
        "asynchronous": {name: asdict(time) for name, time in c.asynchronous.items()},
        "sensitivity": [asdict(s) for s in c.sensitivity],
        "pe_array": on_array,
        "comparison": [*pipeline_rows(c), *array_rows(on_array)],
        "provenance": [
            {"figure": name, **asdict(figure)}
            for source in (c.target, c.array)
            for name, figure in source.figures.items()
        ],
    }


def _population(c: Compilation, population: IntegerPopulation) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": population.name,
        "shape": list(population.shape),
        "neurons": prod(population.shape),
        "timesteps": population.timesteps,
        "cores": len(c.mapping.cores_of(population.name)),
        "replicas": c.mapping.num_replicas(population.name),
    }
    if isinstance(population, IntegerInput):
        return record | {"kind": "input"}
    record["kind"] = "readout" if isinstance(population, IntegerReadout) else "spiking"
    record["state_bound"] = potential_interval(c.network, population.name).magnitude
    record["state_limit"] = c.target.widths.max_state
    if isinstance(population, IntegerSpiking):
        record["threshold_range"] = [
            int(population.threshold.min()),
            int(population.threshold.max()),
        ]
    return record


def _synapse(c: Compilation, synapse: IntegerSynapse) -> dict[str, Any]:
    buffer = next(b for b in c.pipeline.buffers if b.edge == (synapse.source, synapse.target))
    return {
        "source": synapse.source,
        "target": synapse.target,
        "operation": " > ".join(describe(m) for m in synapse.maps),
        "alignment": synapse.alignment,
        "slots": buffer.slots,
        "exponent": synapse.exponent,
    }


def _pipeline(c: Compilation) -> dict[str, Any]:
    schedule, interval = c.schedule, c.interval
    steady = steady_state(c.pipeline, num_shown=1)
    return {
        "samples": schedule.num_samples,
        "num_ticks": schedule.num_ticks,
        "link_ticks": c.pipeline.link_ticks,
        "first_latency_ticks": schedule.first_latency_ticks,
        "interval_ticks": float(interval.ticks),
        "interval_exact": str(interval.ticks),
        "ideal_interval_ticks": float(ideal_interval_ticks(c.pipeline)),
        "stall_share": steady_stall_share(c.pipeline, interval.ticks),
        "least_stall_share": steady_stall_share(c.pipeline, ideal_interval_ticks(c.pipeline)),
        "critical_populations": list(interval.populations),
        "critical_buffers": [list(b.edge) for b in interval.buffers],
        "explanation": explain_limit(c),
        "changes": [
            {"description": change.description, "interval_ticks": float(change.ticks)}
            for change in c.changes
            if change.ticks < interval.ticks
        ],
        "critical_paths": {
            str(sample): [asdict(s) for s in critical_path(schedule, sample)]
            for sample in sorted({0, schedule.num_samples - 1})
        },
        "stages": {
            stage: {
                "population": name,
                "steady_shares": steady.activity_shares(stage),
                **_activity(schedule, stage),
            }
            for name in c.pipeline.windows
            for stage in c.pipeline.stages(name)
        },
        "cores": [
            {
                "core": core.core_index,
                "population": core.tile.population,
                "replica": core.replica,
                **schedule.activity_ticks(c.pipeline.stages(core.tile.population)[core.replica]),
            }
            for core in c.mapping.cores
        ],
    }


def _activity(schedule: Schedule, stage: str) -> dict[str, Any]:
    return {
        "activity": schedule.activity_ticks(stage),
        "causes": [
            {"activity": activity, "edge": list(edge), "ticks": ticks}
            for (activity, edge), ticks in schedule.stall_causes(stage).items()
        ],
        "spans": [
            [s.start, s.stop, s.activity, s.sample, None if s.cause is None else list(s.cause)]
            for s in schedule.spans[stage]
        ],
    }


def explain_limit(c: Compilation) -> str:
    """One sentence on what sets the interval."""
    interval = c.interval
    if not interval.buffers:
        names = [
            name
            for name, window in c.pipeline.windows.items()
            if window == interval.ticks * c.pipeline.num_replicas(name)
        ]
        if any(not c.pipeline.incoming(name) for name in names):
            return "the host sends one image a tick: no pipeline can be faster"
        who = f"{names[0]} fires" if len(names) == 1 else f"{_listed(names)} fire"
        shared = any(c.pipeline.num_replicas(name) > 1 for name in names)
        return (
            f"{who} for {interval.ticks} ticks a sample{', shared by replicas' * shared}; no buffer can "
            f"shorten that, only fewer timesteps or more replicas can"
        )
    buffers = ", ".join(f"{b} (D = {b.slots})" for b in interval.buffers)
    return (
        f"{', '.join(interval.populations)} wait for each other: a sample passes forward and its slot "
        f"comes back through {buffers}"
    )


def _listed(names: list[str], most: int = 3) -> str:
    """A few names in full, the rest counted."""
    if len(names) <= most:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{', '.join(names[:most])} and {len(names) - most} more"
