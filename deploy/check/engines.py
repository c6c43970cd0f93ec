"""Compare the results of other engines with the stepped engine and the tick model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.backends.lava.emit_bundle import SOURCES
from deploy.backends.lava.environment import find_lava_python
from deploy.build.load import LAVA, Build
from hw_models.multicore.pipeline.pipeline_ticks import Schedule, schedule_pipeline
from hw_models.pe_array.array_description import PeArray
from hw_models.pe_array.functional import run_on_array
from hw_models.pe_array.modes import snn_schedules
from sim.results import Simulation, first_divergence
from sim.runners.lava import LavaRun, run_lava
from sim.stepped import run_stepped
from toolchain.files.whole_files import scratch_folder
from toolchain.networks.integer_network import IntegerNetwork


@dataclass(frozen=True, kw_only=True)
class LavaComparison:
    """First differences of a run in Lava from the stepped engine and the tick model; None if equal.

    Attributes:
        integers: of counts, spike trains and logits.
        step_ticks: the first population whose steps fire in other ticks.
        stalls: the first stage whose stall counters differ.
    """

    integers: str | None
    step_ticks: str | None
    stalls: str | None

    @property
    def first_difference(self) -> str | None:
        return self.integers or self.step_ticks or self.stalls


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedLavaRun:
    """A run in Lava, the tick model of its samples, and the comparison of both and of the stepped engine."""

    run: LavaRun
    schedule: Schedule
    comparison: LavaComparison


def run_and_compare_in_lava(
    build: Build,
    pixels: np.ndarray,
    python: Path | None = None,
    on_stage: Callable[[str], None] = lambda words: None,
) -> ComparedLavaRun:
    """Run a build in Lava, and compare it with the stepped engine and the tick model.

    Args:
        pixels: integers of shape ``(K, C, H, W)``.
        python: interpreter with Lava; None looks for one.
        on_stage: called with what is done next.

    Raises:
        LavaError: there is no such interpreter, or the run failed.
    """
    schedule = schedule_pipeline(build.pipeline, len(pixels))
    interpreter = find_lava_python(python)
    on_stage(f"running {schedule.num_ticks} ticks in Lava")
    run = run_build_in_lava(build, pixels, num_ticks=schedule.num_ticks, python=interpreter)
    compared = compare_lava_run(run_stepped(build.network, pixels), schedule, run)
    return ComparedLavaRun(run=run, schedule=schedule, comparison=compared)


def run_build_in_lava(
    build: Build,
    pixels: np.ndarray,
    *,
    num_ticks: int,
    python: Path,
    probes: Mapping[str, Sequence[int]] | None = None,
) -> LavaRun:
    """Run a build's network in Lava with the installed processes; no file of the build is executed.

    Args:
        pixels: integers of shape ``(K, C, H, W)``.
        probes: neurons to record, by name of their population.

    Raises:
        LavaError: the run failed.
        ModelFileError: the build was replaced since it was read.
    """
    bundle = build.folder / LAVA
    with scratch_folder() as scratch:
        with build.still_there():  # another run may replace the folder while this one runs
            network = shutil.copytree(bundle, scratch / LAVA)
        return run_lava(
            bundle,
            pixels,
            num_ticks=num_ticks,
            python=python,
            sources=SOURCES,
            network=network,
            probes=probes,
        )


def compare_lava_run(reference: Simulation, schedule: Schedule, run: LavaRun) -> LavaComparison:
    """Compare all results of a run in Lava.

    Args:
        reference: the stepped engine on the same samples.
        schedule: the tick model of these samples.
    """
    return LavaComparison(
        integers=_first_difference(reference, run.simulation),
        step_ticks=next(
            (
                f"{name}: steps fire in other ticks than in the tick model"
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
    """The first difference of a run in the PE array's loop order from the stepped engine, or None.

    Every schedule that the network's alignment allows is compared.

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
    """The first difference from the stepped engine, also if spike trains are missing."""
    for name in reference.trains.keys() - other.trains.keys():
        return f"{name}: its spike trains are missing"
    return first_divergence(reference, other)
