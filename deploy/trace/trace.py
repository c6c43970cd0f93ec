"""A trace: every step of chosen neurons up to a stop, by the stepped engine and the tick model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.trace.neurons import place_text
from deploy.trace.run import TracedRun, traceable
from deploy.trace.stop import Stop, shown_samples
from hw_models.multicore.pipeline.pipeline import stage_name
from sim.neuron_steps import NeuronSteps, joined_steps
from toolchain.networks.integer_network import IntegerReadout, IntegerSpiking

SHOWN_NEURONS = 3
"""Neurons of a spiking population that are traced if the user names none."""

SHOWN_LOGITS = 16
"""Logits that are traced if the user names none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """The steps of n neurons in B samples.

    Attributes:
        neurons: flat indices, in the order in which the user named them.
        samples: samples whose window has begun, in order.
        steps: of these samples and neurons.
        ticks: tick of each step, int64 ``(B, T)``.
        is_done: whether a step was fired up to the stop, bool ``(B, T)``.
        logits: of these samples, int64 ``(B, classes)``.
        stop: where the run stopped; None if it did not before its end.
    """

    run: TracedRun
    population: IntegerSpiking | IntegerReadout
    neurons: tuple[int, ...]
    samples: tuple[int, ...]
    steps: NeuronSteps
    ticks: np.ndarray
    is_done: np.ndarray
    logits: np.ndarray
    stop: Stop | None

    @property
    def name(self) -> str:
        return self.population.name

    def stage(self, sample: int) -> str:
        """The replica that works on a sample."""
        replicas = self.run.schedule.pipeline.num_replicas(self.name)
        return stage_name(self.name, sample % replicas, replicas)

    def place(self, neuron: int) -> str:
        """``channel:row:column`` of a neuron."""
        return place_text(neuron, self.population.shape)


def trace_neurons(
    run: TracedRun, population: str, neurons: Sequence[int] | None, stop: Stop | None
) -> Trace:
    """Trace neurons in every sample that is looked into, up to a stop.

    Args:
        neurons: None for the one that meets the stop, those that spike most, or a readout's first logits.

    Raises:
        TraceError: there is no such population.
    """
    traced = traceable(run.network, population)
    shown = shown_samples(run, population, stop)
    batches = [batch for batch in run.batches() if not set(shown).isdisjoint(batch)]
    batches = batches or [
        next(run.batches())
    ]  # arrays have their shapes also if no sample is shown
    whole = [run.steps(population, batch) for batch in batches]
    if neurons is None:
        neurons = _default_neurons(traced, whole, stop)
    samples = [sample for batch in batches for sample in batch]
    kept = [position for position, sample in enumerate(samples) if sample in set(shown)]
    ticks = run.schedule.step_ticks[population][list(shown)]
    return Trace(
        run=run,
        population=traced,
        neurons=tuple(neurons),
        samples=tuple(shown),
        steps=joined_steps([steps.only(neurons) for steps in whole]).of_samples(kept),
        ticks=ticks,
        is_done=ticks <= (ticks.max(initial=0) if stop is None else stop.tick),
        logits=np.concatenate([run.simulation(batch).logits for batch in batches])[kept],
        stop=stop,
    )


def _default_neurons(
    population: IntegerSpiking | IntegerReadout, whole: Sequence[NeuronSteps], stop: Stop | None
) -> list[int]:
    if stop is not None and stop.neuron is not None and stop.population == population.name:
        return [stop.neuron]
    if isinstance(population, IntegerReadout):
        return list(range(min(SHOWN_LOGITS, len(whole[0].bias))))
    counts = sum(steps.spikes.sum(axis=(0, 1)) for steps in whole)
    return sorted(np.argsort(-np.asarray(counts), kind="stable")[:SHOWN_NEURONS].tolist())
