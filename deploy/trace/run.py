"""The run that a trace looks into: its samples, the tick of every step, and the stepped engine's integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from sim.engines import STEPPED_BATCH_SAMPLES
from sim.neuron_steps import NeuronSteps, neuron_steps
from sim.results import Simulation
from sim.stepped import run_stepped
from toolchain.errors import TraceError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
)

SHOWN_SAMPLES = 16
"""Samples of a run by default, as in the report's timeline."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TracedRun:
    """A run of K samples through the pipeline.

    Attributes:
        pixels: integers ``(K, C, H, W)``.
        schedule: the tick model of these samples.
        samples: those that are looked into, in order; the others are only on their way through the pipeline.
    """

    network: IntegerNetwork
    pixels: np.ndarray
    schedule: Schedule
    samples: Sequence[int]
    _simulated: dict[tuple[int, ...], Simulation] = field(default_factory=dict, repr=False)

    def batches(self) -> Iterator[tuple[int, ...]]:
        """The samples that are looked into: one first, as a search often ends there, then more at once."""
        start, size = 0, 1
        while start < len(self.samples):
            yield tuple(self.samples[start : start + size])
            start, size = start + size, min(2 * size, STEPPED_BATCH_SAMPLES)

    def simulation(self, batch: tuple[int, ...]) -> Simulation:
        """Counts, trains and logits of a batch of ``batches``, computed once."""
        if batch not in self._simulated:
            self._simulated[batch] = run_stepped(self.network, self.pixels[list(batch)])
        return self._simulated[batch]

    def frames(self, batch: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Values that each population sends in each step, ``(B, T, C, H, W)``."""
        trains = self.simulation(batch).trains
        pixels = self.pixels[list(batch)][:, None].astype(np.int64)
        return {
            self.network.input.name: pixels,
            **{n: t.astype(np.int64) for n, t in trains.items()},
        }

    def steps(self, population: str, batch: tuple[int, ...]) -> NeuronSteps:
        """The steps of all neurons of a population."""
        return neuron_steps(self.network, traceable(self.network, population), self.frames(batch))


def traceable(network: IntegerNetwork, name: str) -> IntegerSpiking | IntegerReadout:
    """The population of a name, if it has membrane potentials.

    Raises:
        TraceError: there is none, or it is the input.
    """
    names = [p.name for p in network.populations if not isinstance(p, IntegerInput)]
    population = next((p for p in network.populations if p.name == name), None)
    if not name:
        raise TraceError(f"choose a population with --population: {', '.join(names)}")
    if population is None:
        raise TraceError(f"no population '{name}'; choose one of {', '.join(names)}")
    if isinstance(population, IntegerInput):
        raise TraceError(
            f"{name}: sends pixels and has no membrane potential; choose one of {', '.join(names)}"
        )
    return population


def num_samples_around(pipeline: Pipeline, sample: int) -> int:
    """Samples of a run in which the pipeline behind a sample is as full as it ever is while it passes."""
    ahead = sum(buffer.slots for buffer in pipeline.buffers)
    return sample + 1 + ahead + sum(map(pipeline.num_replicas, pipeline.windows))


def replica_of(pipeline: Pipeline, population: str, sample: int) -> int:
    return sample % pipeline.num_replicas(population)


def frames_read(run: TracedRun, population: str) -> Mapping[str, Sequence[int | None] | None]:
    """Frames of each source that the steps read; None if they read the count of the whole window."""
    return {b.source: b.frames for b in run.schedule.pipeline.incoming(population)}
