"""The subjects of the benchmark: each is prepared once, then runs the same samples repeatedly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from benchmarks.performance.networks import MODEL, float_network, random_pixels
from benchmarks.performance.peers import Convolve, Outputs, snntorch_network, spikingjelly_network
from deploy.backends.lava.emit_bundle import emit_bundle
from deploy.backends.lava.environment import find_lava_python
from deploy.design.compilation import CompileOptions
from deploy.design.design import build_design
from hw_models.multicore.cost.event_counts import count_events
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.target_description import load_target
from sim.exact.engine import ExactEngine
from sim.results import Simulation
from sim.runners.lava import LavaRun, run_lava
from sim.stepped import run_stepped
from toolchain.files.checkpoint import load_checkpoint
from toolchain.networks.integer_network.serialize import load_integer_network

Integers: TypeAlias = Mapping[str, np.ndarray]
"""Counts of each population, and ``logits``; two subjects agree if these are equal."""

LOGITS = "logits"

ONE_THRESHOLD = CompileOptions(thresholds=1)  # as in ``write_network``


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A subject ready to run.

    Attributes:
        run: simulates all samples once; only this is timed.
        integers: takes the integers out of the result of ``run``; gives None for a float network.
    """

    run: Callable[[], Any]
    integers: Callable[[Any], Integers | None]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Input of a subject.

    Attributes:
        folder: folder of the integer network and its model file.
    """

    architecture: str
    folder: Path
    samples: int
    device: str


Prepare: TypeAlias = Callable[[Setting], Prepared]


def float_ann(setting: Setting) -> Prepared:
    """The plain network in torch: batch normalization in evaluation mode, channels first."""
    module = float_network(setting.architecture).to(setting.device)
    return _float(module, setting, torch.contiguous_format)


def float_ann_tuned(setting: Setting) -> Prepared:
    """The network with batch normalization folded into the convolutions, channels last."""
    from torch.fx.experimental.optimization import fuse

    module = fuse(float_network(setting.architecture)).to(setting.device)
    return _float(module.to(memory_format=torch.channels_last), setting, torch.channels_last)


def _float(
    module: torch.nn.Module, setting: Setting, memory_format: torch.memory_format
) -> Prepared:
    images = torch.from_numpy(random_pixels(setting.samples)).float() / 255
    images = images.contiguous(memory_format=memory_format)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return module(images.to(setting.device)).cpu().numpy()

    return Prepared(run=run, integers=lambda logits: None)


def exact(setting: Setting) -> Prepared:
    """The exact engine, for logits and the counts of every population."""
    return _exact(setting)


def exact_logits(setting: Setting) -> Prepared:
    """The exact engine, for logits only, as on a data set."""
    return _exact(setting, with_counts=False)


def exact_trains(setting: Setting) -> Prepared:
    """The exact engine, for logits, counts and the spikes of each step."""
    return _exact(setting, with_trains=True)


def exact_events(setting: Setting) -> Prepared:
    """The exact engine, for counts, trains and the events of each core in each tick (for the cost model)."""
    graph, target = load_checkpoint(setting.folder / MODEL).graph, load_target("loihi-sim")
    design = build_design(graph, target, ONE_THRESHOLD)
    schedule = schedule_pipeline(design.pipeline, setting.samples)
    engine = ExactEngine(design.network, with_trains=True, device=setting.device)
    pixels = random_pixels(setting.samples)

    def run() -> Simulation:
        simulation = engine.run(pixels)
        count_events(design.mapping, schedule, pixels, simulation.trains)
        return simulation

    return Prepared(run=run, integers=_of_simulation)


def exact_float32(setting: Setting) -> Prepared:
    """The exact engine without 8-bit arithmetic, for logits and counts."""
    return _exact(setting, int8=False)


def _exact(setting: Setting, **options: Any) -> Prepared:
    network = load_integer_network(setting.folder)
    engine = ExactEngine(network, device=setting.device, **options)
    pixels = random_pixels(setting.samples)
    return Prepared(run=lambda: engine.run(pixels), integers=_of_simulation)


def stepped(setting: Setting) -> Prepared:
    network, pixels = load_integer_network(setting.folder), random_pixels(setting.samples)
    return Prepared(run=lambda: run_stepped(network, pixels), integers=_of_simulation)


def _of_simulation(simulation: Simulation) -> Integers:
    return {**simulation.counts, LOGITS: simulation.logits}


def spikingjelly(setting: Setting, convolve: Convolve = "each step") -> Prepared:
    network = load_integer_network(setting.folder)
    return _peer(spikingjelly_network(network, convolve, setting.device), setting)


def snntorch(setting: Setting, convolve: Convolve = "each step") -> Prepared:
    network = load_integer_network(setting.folder)
    return _peer(snntorch_network(network, convolve, setting.device), setting)


def _peer(run: Callable[[np.ndarray], Outputs], setting: Setting) -> Prepared:
    pixels = random_pixels(setting.samples)

    def outputs() -> Outputs:
        logits, counts = run(pixels)
        return logits.cpu(), counts  # copying the logits waits for the accelerator

    def integers(result: Outputs) -> Integers:
        logits, counts = result
        return {name: values.cpu().numpy() for name, values in {LOGITS: logits, **counts}.items()}

    return Prepared(run=outputs, integers=integers)


def lava(setting: Setting) -> Prepared:
    """The emitted Lava processes on lava-nc's CPU backend, start-up included."""
    graph, target = load_checkpoint(setting.folder / MODEL).graph, load_target("loihi-sim")
    design = build_design(graph, target, ONE_THRESHOLD)
    schedule = schedule_pipeline(design.pipeline, setting.samples)
    bundle = setting.folder / "lava"
    emit_bundle(
        design.network,
        bundle,
        provisioning=design.mapping.provisioning,
        link_ticks=target.link_ticks,
        cores=design.mapping.cores_by_population(),
    )
    python, pixels = find_lava_python(), random_pixels(setting.samples)

    def run() -> LavaRun:
        return run_lava(bundle, pixels, num_ticks=schedule.num_ticks, python=python)

    return Prepared(run=run, integers=lambda result: _of_simulation(result.simulation))
