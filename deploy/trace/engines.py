"""The traced neurons in Lava and in the RTL of the PE array, compared with the stepped engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from deploy.build.load import Build
from deploy.check.engines import run_build_in_lava
from deploy.trace.conditions import describe_neuron
from deploy.trace.trace import Trace
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.operands import Activity
from hw_models.pe_array.rtl.driver.probe import probe_in_rtl, require_probe
from hw_models.pe_array.rtl.driver.simulator import SimulatorName
from sim.runners.lava import LavaRun
from toolchain.errors import LavaError, RtlError, UnsupportedNetworkError

Status = Literal["equal", "different", "skipped"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What an engine shows of the traced neurons.

    Attributes:
        potentials, spikes: after each step, ``(B, T, n)``.
        currents: input of each step, ``(B, T, n)``; None if the engine does not show it.
        ticks: of each step, ``(B, T)``; None if the engine has none.
    """

    potentials: np.ndarray
    spikes: np.ndarray
    currents: np.ndarray | None = None
    ticks: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineTrace:
    """An engine next to the stepped engine.

    Attributes:
        detail: what was compared, or the first difference, or why the engine was skipped or failed.
        found: None if it was skipped or failed.
    """

    engine: str
    status: Status
    detail: str
    found: Found | None


def compare_with(trace: Trace, engine: str, shown: str, found: Found) -> EngineTrace:
    """Compare what an engine shows with the stepped engine and the tick model.

    Args:
        shown: the quantities that the engine shows, for the message if they are equal.
    """
    difference = first_difference(trace, found)
    num_neurons = counted(len(trace.neurons), "neuron")
    compared = f"{shown} of {num_neurons} in {counted(int(trace.is_done.sum()), 'step')}"
    return EngineTrace(
        engine=engine,
        status="equal" if difference is None else "different",
        detail=compared if difference is None else f"{difference} in {engine}",
        found=found,
    )


def counted(number: int, what: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def first_difference(trace: Trace, found: Found) -> str | None:
    """The difference in the earliest tick, as "... is 3, not 4,", or None if all steps agree."""
    steps = trace.steps
    window = trace.is_done[..., None]
    pairs: list[tuple[str, np.ndarray, np.ndarray]] = []
    if found.ticks is not None:
        pairs.append(("tick", found.ticks[..., None], trace.ticks[..., None]))
    if found.currents is not None:
        pairs.append(("input", found.currents, steps.currents))
    pairs.append(("spike", found.spikes, steps.spikes))
    pairs.append(("potential", found.potentials, steps.potentials))
    differs = [
        np.broadcast_to((theirs != ours) & window, steps.potentials.shape)
        for _, theirs, ours in pairs
    ]
    anywhere = np.argwhere(np.any(differs, axis=0))
    if not len(anywhere):
        return None
    sample, step, neuron = min(anywhere.tolist(), key=lambda at: (trace.ticks[at[0], at[1]], at))
    place = next(place for place, wrong in enumerate(differs) if wrong[sample, step, neuron])
    what, theirs, ours = pairs[place]
    at = (sample, step, neuron if theirs.shape[2] > 1 else 0)
    who = describe_neuron(trace.run.network, trace.name, trace.neurons[neuron])
    return (
        f"{who}, sample {trace.samples[sample]}, step {step}, tick {trace.ticks[sample, step]}: {what} is "
        f"{int(theirs[at]):,}, not {int(ours[at]):,},"
    )


def trace_in_lava(build: Build, trace: Trace, find_python: Callable[[], Path]) -> EngineTrace:
    """The same neurons in Lava, in a run of all samples up to the last that is shown."""
    if not trace.samples:
        return _skipped("lava", _nothing_fired(trace))
    try:
        python = find_python()
    except LavaError as error:
        return _skipped("lava", str(error))
    count = trace.samples[-1] + 1
    schedule = schedule_pipeline(trace.run.schedule.pipeline, count)
    try:
        run = run_build_in_lava(
            build,
            np.asarray(trace.run.pixels[:count]),
            num_ticks=schedule.num_ticks,
            python=python,
            probes={trace.name: trace.neurons},
        )
    except LavaError as error:
        return _failed("lava", str(error))
    return compare_with(
        trace, "lava", "ticks, inputs, spikes and potentials", lava_found(trace, run)
    )


def lava_found(trace: Trace, run: LavaRun) -> Found:
    """The traced samples and neurons of a run in Lava."""
    samples = list(trace.samples)
    potentials = run.potentials[trace.name][samples]
    spikes = np.zeros(potentials.shape, bool)
    if trace.name in run.simulation.trains:
        train = run.simulation.trains[trace.name][samples]
        spikes = train.reshape(*train.shape[:2], -1)[..., list(trace.neurons)]
    return Found(
        potentials=potentials,
        spikes=spikes,
        currents=run.currents[trace.name][samples],
        ticks=run.step_ticks[trace.name][samples],
    )


def trace_in_rtl(
    array: PeArray,
    trace: Trace,
    simulator: Callable[[], SimulatorName],
    *,
    cycle_limit: Callable[[SimulatorName], int],
    on_stage: Callable[[str], None],
    cache: Path | None = None,
) -> EngineTrace:
    """The same neurons in the RTL of the PE array; the spikes of their sources are the stepped engine's."""
    if not trace.samples:
        return _skipped("rtl", _nothing_fired(trace))
    network, num_samples = trace.run.network, len(trace.samples)
    try:
        name = simulator()
        require_probe(network, array, trace.name, num_samples, name, cycle_limit(name))
    except (RtlError, UnsupportedNetworkError) as error:
        return _skipped("rtl", str(error))
    try:
        runs = probe_in_rtl(
            network,
            array,
            trace.name,
            [_activity(trace, sample) for sample in trace.samples],
            simulator=name,
            progress=on_stage,
            cache=cache,
        )
    except RtlError as error:
        return _failed("rtl", str(error))
    neurons = list(trace.neurons)
    found = Found(
        potentials=np.stack([run.potentials.reshape(len(run.potentials), -1) for run in runs])[
            ..., neurons
        ],
        spikes=np.stack([run.spikes.reshape(len(run.spikes), -1) for run in runs])[..., neurons],
    )
    for sample, run in zip(trace.samples, runs, strict=True):
        if run.difference is not None:
            detail = f"sample {sample}, {run.difference}"
            return EngineTrace(engine="rtl", status="different", detail=detail, found=found)
    cycles = sum(run.cycles for run in runs)
    return compare_with(trace, "rtl", f"spikes and potentials ({name}, {cycles:,} cycles)", found)


def _activity(trace: Trace, sample: int) -> Activity:
    """Pixels, counts and trains of one sample."""
    batch = next(batch for batch in trace.run.batches() if sample in batch)
    at = slice(batch.index(sample), batch.index(sample) + 1)
    simulation = trace.run.simulation(batch)
    return Activity(
        pixels=trace.run.pixels[sample : sample + 1],
        counts={name: counts[at] for name, counts in simulation.counts.items()},
        trains={name: train[at] for name, train in simulation.trains.items()},
    )


def _skipped(engine: str, reason: str) -> EngineTrace:
    return EngineTrace(engine=engine, status="skipped", detail=reason, found=None)


def _failed(engine: str, reason: str) -> EngineTrace:
    return EngineTrace(engine=engine, status="different", detail=reason, found=None)


def _nothing_fired(trace: Trace) -> str:
    return f"{trace.name} has fired no step yet"
