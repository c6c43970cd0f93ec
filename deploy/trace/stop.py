"""Where a run first meets a condition."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import assert_never

from deploy.trace.conditions import (
    AtTick,
    AtWindow,
    Compares,
    Comparison,
    Condition,
    Fires,
    IsIn,
    describe_neuron,
)
from deploy.trace.run import TracedRun
from sim.neuron_steps import NeuronSteps
from toolchain.errors import TraceError
from toolchain.networks.integer_network import IntegerNetwork

_NEVER = np.iinfo(np.int64).max

_COMPARISONS: Mapping[Comparison, Callable[[np.ndarray, int], np.ndarray]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The tick at which a condition is first met.

    Attributes:
        condition: as the user wrote it.
        sample: the sample that meets it; None if it is a tick.
        reason: what happens there.
        population, neuron: the first neuron that meets it; None if it is not about neurons.
    """

    condition: str
    tick: int
    sample: int | None
    reason: str
    population: str | None = None
    neuron: int | None = None


def first_stop(run: TracedRun, conditions: Mapping[str, Condition]) -> Stop | None:
    """The earliest stop of several conditions, by their texts; the first of equals.

    Raises:
        TraceError: a tick or sample is not in the run.
    """
    stops = (_first(run, text, condition) for text, condition in conditions.items())
    return min((stop for stop in stops if stop), key=lambda stop: stop.tick, default=None)


def _first(run: TracedRun, text: str, condition: Condition) -> Stop | None:
    match condition:
        case AtTick(tick=tick):
            if tick >= run.schedule.num_ticks:
                raise TraceError(
                    f"'{text}': the run of {run.schedule.num_samples} samples ends with tick "
                    f"{run.schedule.num_ticks - 1}; choose an earlier tick, or more samples with --samples"
                )
            return Stop(condition=text, tick=tick, sample=None, reason="as asked")
        case AtWindow():
            return _window(run, text, condition)
        case IsIn():
            return _activity(run, text, condition)
        case Fires() | Compares():
            return _step(run, text, condition)
        case _:
            assert_never(condition)


def _window(run: TracedRun, text: str, condition: AtWindow) -> Stop:
    ticks = run.schedule.step_ticks[condition.population]
    ends = ticks[:, 0 if condition.end == "starts" else -1]
    if condition.sample is None:
        sample = min(run.samples, key=lambda k: ends[k])
    elif condition.sample < run.schedule.num_samples:
        sample = condition.sample
    else:
        raise TraceError(
            f"'{text}': the run has samples 0 to {run.schedule.num_samples - 1}; choose one of them, or more "
            f"with --samples"
        )
    step = "first" if condition.end == "starts" else "last"
    return Stop(
        condition=text,
        tick=int(ends[sample]),
        sample=sample,
        reason=f"{condition.population} fires its {step} step of sample {sample}",
    )


def _activity(run: TracedRun, text: str, condition: IsIn) -> Stop | None:
    looked_into = {*run.samples} | ({-1} if len(run.samples) == run.schedule.num_samples else set())
    found = [
        (span.start, span.sample, stage)
        for stage in condition.stages
        for span in run.schedule.spans[stage]
        if span.activity == condition.activity and span.sample in looked_into
    ]
    if not found:
        return None
    tick, sample, stage = min(found)
    of_sample = f" with sample {sample}" if sample >= 0 else ""
    return Stop(
        condition=text,
        tick=tick,
        sample=sample if sample >= 0 else None,
        reason=f"{stage} is {condition.activity}{of_sample}",
    )


def _step(run: TracedRun, text: str, condition: Fires | Compares) -> Stop | None:
    """The first step, in order of ticks: replicas work on several samples at once."""
    ticks = run.schedule.step_ticks[condition.population]
    best = None
    for batch in run.batches():
        own = ticks[list(batch)]
        if best is not None and own.min() > best.tick:
            break
        steps = run.steps(condition.population, batch)
        neurons = [condition.neuron] if condition.neuron is not None else None
        steps = steps if neurons is None else steps.only(neurons)
        happens = _happens(condition, steps)
        when = np.where(happens.any(axis=2), own, _NEVER)
        at, step = (int(i) for i in np.unravel_index(when.argmin(), when.shape))
        tick = int(when[at, step])
        if tick < (_NEVER if best is None else best.tick):
            found = np.flatnonzero(happens[at, step])
            first = int(found[0]) if neurons is None else neurons[0]
            value = None
            if isinstance(condition, Compares):
                value = int(_quantity(condition, steps)[at, step, found[0]])
            best = Stop(
                condition=text,
                tick=tick,
                sample=batch[at],
                reason=_reason(run.network, condition, first, len(found), value)
                + f" in step {step} of sample {batch[at]}",
                population=condition.population,
                neuron=first,
            )
    return best


def _happens(condition: Fires | Compares, steps: NeuronSteps) -> np.ndarray:
    """Bool ``(B, T, n)``."""
    match condition:
        case Fires():
            return steps.spikes
        case Compares(comparison=comparison, value=value):
            return _COMPARISONS[comparison](_quantity(condition, steps), value)
        case _:
            assert_never(condition)


def _quantity(condition: Compares, steps: NeuronSteps) -> np.ndarray:
    match condition.quantity:
        case "potential":
            return steps.potentials
        case "reached":
            return steps.reached
        case "input":
            return steps.currents
        case _:
            assert_never(condition.quantity)


def _reason(
    network: IntegerNetwork,
    condition: Fires | Compares,
    neuron: int,
    num_neurons: int,
    value: int | None,
) -> str:
    who = describe_neuron(network, condition.population, neuron)
    what = "fires" if isinstance(condition, Fires) else f"has {condition.quantity} {value:,}"
    others = f", as {num_neurons - 1:,} more neurons do," if num_neurons > 1 else ""
    return f"{who} {what}{others}"


def shown_samples(run: TracedRun, population: str, stop: Stop | None) -> Sequence[int]:
    """The samples whose window in a population begins up to the stop."""
    starts = run.schedule.step_ticks[population][:, 0]
    return [k for k in run.samples if stop is None or starts[k] <= stop.tick]
