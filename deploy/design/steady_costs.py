"""Time and energy per sample in the steady state, for the report, the search and the sensitivity alike."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyDict
from dataclasses import dataclass

import numpy as np

from deploy.design.limits import MOST_EVENT_COUNTS
from hw_models.multicore.cost.asynchronous_time import AsynchronousTime, asynchronous_time
from hw_models.multicore.cost.event_counts import Events
from hw_models.multicore.cost.steady_pace import SteadyCost, SteadyState, steady_cost, steady_state
from hw_models.multicore.mapping.mapping import CoreMapping
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.target_description import TargetDescription
from sim.engines import simulate
from toolchain.datasets import Dataset
from toolchain.networks.integer_network import IntegerNetwork

COST_SAMPLES = 8
"""Samples whose events give time and energy; the last training images, for every design."""


@dataclass(frozen=True, eq=False)
class ShownSamples:
    """Samples, and a network's spikes on them.

    Attributes:
        pixels: shape ``(K, C, H, W)``.
        trains: spike trains by population, bool of shape ``(K, T_l, C, H, W)``.
    """

    pixels: np.ndarray
    trains: ReadOnlyDict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SteadyRun:
    """A design in its steady state, with ``COST_SAMPLES`` samples in turn, and its events."""

    shown: ShownSamples
    mapping: CoreMapping
    steady: SteadyState
    events: Events

    def costs(self, target: TargetDescription) -> dict[str, SteadyCost]:
        """Time and energy per sample, under each cost profile of a target."""
        return {
            name: steady_cost(self.mapping, profile, self.steady, self.events)
            for name, profile in target.cost_profiles.items()
        }

    def without_barrier(self, target: TargetDescription) -> dict[str, AsynchronousTime]:
        """Time per sample on a chip without a barrier, under each cost profile of a target."""
        return {
            name: asynchronous_time(self.mapping, profile, self.steady, self.events)
            for name, profile in target.cost_profiles.items()
        }


def shown_samples(network: IntegerNetwork, dataset: Dataset) -> ShownSamples:
    """Run a network on the samples that costs are measured on."""
    pixels = np.asarray(dataset.train_pixels[-COST_SAMPLES:])
    return ShownSamples(pixels, simulate(network, pixels, with_trains=True).trains)


def steady_run(mapping: CoreMapping, pipeline: Pipeline, shown: ShownSamples) -> SteadyRun | None:
    """Count the events of a network on its cores in the steady state.

    Returns:
        None if the counts, of each core in each tick, are more than ``MOST_EVENT_COUNTS``.
    """
    steady = steady_state(pipeline, len(shown.pixels))
    ticks = steady.schedule.first_latency_ticks + len(steady.ticks)
    if len(mapping.cores) * ticks > MOST_EVENT_COUNTS:
        return None
    return SteadyRun(
        shown, mapping, steady, steady.count_events(mapping, shown.pixels, shown.trains)
    )
