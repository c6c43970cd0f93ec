"""Builds ``report.json``, which the terminal and HTML views show."""

from __future__ import annotations

from math import prod
from typing import Any

from deploy.design.compilation import Compilation
from deploy.report.array_document import array_document
from deploy.report.comparison import array_rows, pipeline_rows
from deploy.report.designs import (
    design_point_records,
    fit_record,
    measures_record,
    own_command,
    suggestion_records,
)
from deploy.report.lowering import lowering_record
from deploy.report.max_pooling import max_pooling_record
from deploy.report.places import places_record
from deploy.report.records import (
    VERSION,
    CoreRecord,
    PipelineRecord,
    PopulationRecord,
    Report,
    StageRecord,
    SynapseRecord,
    plain,
)
from hw_models.multicore.cost.steady_pace import SteadyState, steady_state
from hw_models.multicore.mapping.mapping import CoreAssignment
from hw_models.multicore.pipeline.buffer_depths import steady_stall_share
from hw_models.multicore.pipeline.critical_path import critical_path
from hw_models.multicore.pipeline.initiation_interval import ideal_interval_ticks
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerPopulation,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.accumulator_bounds import potential_interval
from toolchain.networks.linear_maps import describe

FORMAT = "qac-deploy report"


def report_document(compilation: Compilation) -> Report:
    """The report as plain data, without host names and times of day: equal input gives equal bytes."""
    c = compilation
    mapping: Any = c.design.mapping.summary() | {"places": places_record(c.design.mapping)}
    on_array = array_document(c.on_array)
    timesteps = {p.name: p.timesteps for p in c.design.network.spiking}
    neurons = {p.name: prod(p.shape) for p in c.design.network.spiking}
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {
            "file": c.model.name,
            "path": str(c.model),
            "training": c.checkpoint.training,
        },
        "target": {"name": c.target.name, "description": c.target.description},
        "options": plain(c.design.options),
        "command": own_command(c),
        "fit": fit_record(c.design.mapping),
        "measures": measures_record(c.point),
        "suggestions": suggestion_records(c),
        "suggestions_left_out": c.suggestions_left_out,
        "data": None if c.data_record is None else c.data_record["data"],
        "data_sha256": None if c.data_record is None else c.data_record["data_sha256"],
        "data_contents": c.data_contents,
        "data_note": c.data_note,
        "mean_timesteps": c.design.network.mean_timesteps,
        "mean_timesteps_by_neurons": sum(t * neurons[n] for n, t in timesteps.items())
        / max(sum(neurons.values()), 1),
        "populations": [_population(c, p) for p in c.design.network.populations],
        "synapses": [_synapse(c, s) for s in c.design.network.synapses],
        "max_pooling": max_pooling_record(c),
        "lowering": lowering_record(c.design),
        "fidelity": None if c.fidelity is None else plain(c.fidelity),
        "alignment_trade": [plain(trade) for trade in c.alignment_trade],
        "design_points": design_point_records(c),
        "mapping": mapping,
        "pipeline": _pipeline(c),
        "activity": plain(c.activity),
        "costs": {name: plain(cost) for name, cost in c.costs.items()},
        "asynchronous": {name: plain(time) for name, time in c.asynchronous.items()},
        "cost_samples": c.cost_samples,
        "sensitivity": [plain(s) for s in c.sensitivity],
        "pe_array": on_array,
        "comparison": [*pipeline_rows(c), *array_rows(on_array)],
        "provenance": [
            {
                "figure": name,
                "value": figure.value,
                "kind": figure.kind,
                "source": figure.source,
            }
            for source in (c.target, c.array)
            for name, figure in source.figures.items()
        ],
    }


def _population(c: Compilation, population: IntegerPopulation) -> PopulationRecord:
    record: PopulationRecord = {
        "name": population.name,
        "shape": population.shape,
        "neurons": prod(population.shape),
        "timesteps": population.timesteps,
        "cores": len(c.design.mapping.cores_of(population.name)),
        "replicas": c.design.mapping.num_replicas(population.name),
        "kind": "spiking" if isinstance(population, IntegerSpiking) else "readout",
    }
    if isinstance(population, IntegerInput):
        record["kind"] = "input"
        return record
    record["state_bound"] = potential_interval(c.design.network, population.name).magnitude
    record["state_limit"] = c.target.widths.max_state
    if isinstance(population, IntegerSpiking):
        record["threshold_range"] = (
            int(population.threshold.min()),
            int(population.threshold.max()),
        )
    return record


def _synapse(c: Compilation, synapse: IntegerSynapse) -> SynapseRecord:
    buffer = next(
        b for b in c.design.pipeline.buffers if b.edge == (synapse.source, synapse.target)
    )
    return {
        "source": synapse.source,
        "target": synapse.target,
        "operation": " > ".join(describe(m) for m in synapse.maps),
        "alignment": synapse.alignment,
        "slots": buffer.slots,
        "weight_bits": _signed_bits(abs(synapse.weighted.weight.astype(int)).max()),
        "exponent": synapse.exponent,
    }


def _signed_bits(magnitude: int) -> int:
    """Width of an integer of that magnitude, sign included."""
    return int(magnitude).bit_length() + 1


def _pipeline(c: Compilation) -> PipelineRecord:
    schedule, interval = c.schedule, c.interval
    steady = steady_state(c.design.pipeline, num_shown=1)
    return {
        "samples": schedule.num_samples,
        "num_ticks": schedule.num_ticks,
        "link_ticks": c.design.pipeline.link_ticks,
        "first_latency_ticks": schedule.first_latency_ticks,
        "interval_ticks": float(interval.ticks),
        "interval_exact": str(interval.ticks),
        "ideal_interval_ticks": float(ideal_interval_ticks(c.design.pipeline)),
        "stall_share": steady_stall_share(c.design.pipeline, interval.ticks),
        "least_stall_share": steady_stall_share(
            c.design.pipeline, ideal_interval_ticks(c.design.pipeline)
        ),
        "critical_populations": list(interval.populations),
        "critical_buffers": [b.edge for b in interval.buffers],
        "explanation": explain_limit(c),
        "changes": [
            {"description": change.description, "interval_ticks": float(change.ticks)}
            for change in c.changes
            if change.ticks < interval.ticks
        ],
        "critical_paths": {
            str(sample): [plain(s) for s in critical_path(schedule, sample)]
            for sample in sorted({0, schedule.num_samples - 1})
        },
        "stages": {
            stage: _stage(schedule, steady, name, stage)
            for name in c.design.pipeline.windows
            for stage in c.design.pipeline.stages(name)
        },
        "cores": [_core(schedule, core) for core in c.design.mapping.cores],
    }


def _core(schedule: Schedule, core: CoreAssignment) -> CoreRecord:
    stages = schedule.pipeline.stages(core.tile.population)
    ticks = schedule.activity_ticks(stages[core.replica])
    return {
        "core": core.core_index,
        "population": core.tile.population,
        "replica": core.replica,
        "busy": ticks["busy"],
        "starved": ticks["starved"],
        "blocked": ticks["blocked"],
        "drained": ticks["drained"],
    }


def _stage(schedule: Schedule, steady: SteadyState, population: str, stage: str) -> StageRecord:
    return {
        "population": population,
        "steady_shares": steady.activity_shares(stage),
        "activity": schedule.activity_ticks(stage),
        "causes": [
            {"activity": activity, "edge": edge, "ticks": ticks}
            for (activity, edge), ticks in schedule.stall_causes(stage).items()
        ],
        "spans": [(s.start, s.stop, s.activity, s.sample, s.cause) for s in schedule.spans[stage]],
    }


def explain_limit(c: Compilation) -> str:
    """A sentence that says what sets the interval."""
    interval = c.interval
    if not interval.buffers:
        names = [
            name
            for name, window in c.design.pipeline.windows.items()
            if window == interval.ticks * c.design.pipeline.num_replicas(name)
        ]
        if any(not c.design.pipeline.incoming(name) for name in names):
            return "the host sends one image per tick: no pipeline can be faster"
        who = f"{names[0]} fires" if len(names) == 1 else f"{_listed(names)} fire"
        shared = any(c.design.pipeline.num_replicas(name) > 1 for name in names)
        return (
            f"{who} for {interval.ticks} ticks per sample{', shared by replicas' * shared}; no buffer can "
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
