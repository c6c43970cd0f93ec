"""What other engines computed from a network, compared with the stepped engine and the tick model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.backends.lava.emit_bundle import SOURCES
from deploy.build.load import LAVA, Build
from hw_models.multicore.pipeline.pipeline_ticks import Schedule
from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.functional import run_on_array
from hw_models.pe_array.modes import snn_schedules
from sim.results import Simulation, first_divergence
from sim.runners.lava import LavaRun, run_lava
from toolchain.networks.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True)
class LavaComparison:
    """A run in Lava compared with the stepped engine and the tick model, each None where it is equal.

    Attributes:
        integers: first difference of counts, spike trains and logits from the stepped engine.
        step_ticks: first population whose steps have other ticks than in the tick model.
        stalls: first stage whose counters differ from the tick model's.
    """

    integers: str | None
    step_ticks: str | None
    stalls: str | None

    @property
    def first_difference(self) -> str | None:
        return self.integers or self.step_ticks or self.stalls


def run_build_in_lava(build: Build, pixels: np.ndarray, *, num_ticks: int, python: Path) -> LavaRun:
    """Run a build's network in Lava with the installed processes: no file of the build is executed.

    Args:
        pixels: integers of shape ``(K, C, H, W)``.

    Raises:
        LavaError: the run failed.
    """
    return run_lava(
        build.folder / LAVA, pixels, num_ticks=num_ticks, python=python, sources=SOURCES
    )


def compare_lava_run(reference: Simulation, schedule: Schedule, run: LavaRun) -> LavaComparison:
    """Compare everything that a run in Lava gives.

    Args:
        reference: the stepped engine on the same samples.
        schedule: the tick model of as many samples.
    """
    return LavaComparison(
        integers=_first_difference(reference, run.simulation),
        step_ticks=next(
            (
                f"{name}: steps fire at other ticks than the tick model's"
                for name, ticks in schedule.step_ticks.items()
                if not np.array_equal(ticks, run.step_ticks[name])
            ),
            None,
        ),
        stalls=next(
            (
                f"{stage}: stall counters {dict(run.stalls[stage])} differ from the tick model's"
                for stage in schedule.spans
                if schedule.activity_ticks(stage) != run.stalls[stage]
            ),
            None,
        ),
    )


def compare_array(
    reference: Simulation, network: IntegerNetwork, array: PeArray, pixels: np.ndarray
) -> str | None:
    """The first difference of the PE array's own loop order from the stepped engine, or None.

    Both schedules are compared, where the network's alignment allows them.

    Args:
        reference: the stepped engine on the same pixels.
        pixels: integers of shape ``(K, C, H, W)``.
    """
    for mode in snn_schedules(network):
        run = run_on_array(network, array, pixels, mode)
        on_array = Simulation(logits=run.logits, counts=run.counts, trains=run.trains)
        if (difference := _first_difference(reference, on_array)) is not None:
            return f"{mode}: {difference}"
    return None


def _first_difference(reference: Simulation, other: Simulation) -> str | None:
    """As ``first_divergence``, of engines that give all spike trains."""
    for name in reference.trains.keys() - other.trains.keys():
        return f"{name}: its spike trains are missing"
    return first_divergence(reference, other)
