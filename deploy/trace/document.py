"""A trace as one JSON document: every step with its numbers, the state at the stop, and the other engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.trace.engines import EngineTrace, Found
from deploy.trace.neurons import place
from deploy.trace.state import StageState
from deploy.trace.trace import Trace

if TYPE_CHECKING:
    from deploy.trace.sources import SourceShare


def trace_document(
    trace: Trace,
    state: Sequence[StageState],
    engines: Sequence[EngineTrace],
    shares: Sequence[Sequence[SourceShare]],
    labels: np.ndarray | None,
) -> dict[str, Any]:
    """The document of ``--json``.

    Args:
        state: of all stages at the stop; empty without one.
        shares: of each neuron, the source neurons that add most; empty if they were not asked for.
        labels: of all samples of the run; None if they have none.
    """
    pipeline = trace.run.schedule.pipeline
    return {
        "population": trace.name,
        "shape": list(trace.population.shape),
        "timesteps": trace.population.timesteps,
        "replicas": pipeline.num_replicas(trace.name),
        "sources": [
            {
                "source": buffer.source,
                "frames": None if buffer.frames is None else list(buffer.frames),
                "slots": buffer.slots,
            }
            for buffer in pipeline.incoming(trace.name)
        ],
        "run": {
            "samples": trace.run.schedule.num_samples,
            "ticks": trace.run.schedule.num_ticks,
        },
        "samples": [
            {
                "sample": sample,
                "stage": trace.stage(sample),
                "label": None if labels is None else np.asarray(labels[sample]).tolist(),
                "logits": trace.logits[position].tolist(),
                "ticks": trace.ticks[position].tolist(),
            }
            for position, sample in enumerate(trace.samples)
        ],
        "neurons": [
            {
                "neuron": neuron,
                "channel_row_column": list(place(neuron, trace.population.shape)),
                "threshold": _threshold(trace, position),
                "initial_potential": int(trace.steps.initial[position]),
                "bias": int(trace.steps.bias[position]),
                "steps": _steps(trace, position),
                "contributions": [asdict(share) for share in shares[position]] if shares else None,
            }
            for position, neuron in enumerate(trace.neurons)
        ],
        "contributions_sample": trace.samples[-1] if shares else None,
        "stop": None if trace.stop is None else asdict(trace.stop),
        "state": [asdict(stage) for stage in state],
        "engines": [
            {
                "engine": engine.engine,
                "status": engine.status,
                "detail": engine.detail,
                "neurons": None if engine.found is None else _found(trace, engine.found),
            }
            for engine in engines
        ],
    }


def _threshold(trace: Trace, position: int) -> int | None:
    threshold = trace.steps.threshold
    return None if threshold is None else int(threshold[position])


def _steps(trace: Trace, neuron: int) -> list[dict[str, Any]]:
    steps = trace.steps
    before, reached, currents = steps.before, steps.reached, steps.currents
    return [
        {
            "sample": trace.samples[sample],
            "step": step,
            "tick": int(trace.ticks[sample, step]),
            "before": int(before[sample, step, neuron]),
            "inputs": {
                source: int(values[sample, step, neuron]) for source, values in steps.inputs.items()
            },
            "input": int(currents[sample, step, neuron]),
            "reached": int(reached[sample, step, neuron]),
            "spike": bool(steps.spikes[sample, step, neuron]),
            "potential": int(steps.potentials[sample, step, neuron]),
        }
        for sample, step in np.argwhere(trace.is_done).tolist()
    ]


def _found(trace: Trace, found: Found) -> list[dict[str, Any]]:
    """What an engine shows, step by step as in ``_steps``."""
    return [
        {
            "neuron": neuron,
            "steps": [
                {
                    "sample": trace.samples[sample],
                    "step": step,
                    "tick": None if found.ticks is None else int(found.ticks[sample, step]),
                    "input": None
                    if found.currents is None
                    else int(found.currents[sample, step, position]),
                    "spike": bool(found.spikes[sample, step, position]),
                    "potential": int(found.potentials[sample, step, position]),
                }
                for sample, step in np.argwhere(trace.is_done).tolist()
            ],
        }
        for position, neuron in enumerate(trace.neurons)
    ]
