"""A trained network over a whole test set: seconds per 1,000 images, and where they go."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import this_machine
from torch.profiler import ProfilerActivity, profile

from deploy.compilation import CompileOptions
from deploy.design import chosen_graph, lowering
from deploy.simulate_dataset import ChunkSimulator, DatasetRun, simulate_dataset
from hw_models.target_description import load_target
from toolchain.checkpoint import load_checkpoint
from toolchain.datasets import load_dataset
from toolchain.integer_network import spiking_populations

ROUNDS = 5
CONVOLUTIONS = ("onednn::qconv2d_pointwise", "aten::mkldnn_convolution")


def time_dataset(model: Path, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """Run all test images of the data set that a model was trained on; one JSON-able document."""
    checkpoint, target, options = load_checkpoint(model), load_target("loihi-sim"), CompileOptions()
    graph = chosen_graph(checkpoint.graph, options)
    network = lowering(target, options)(graph)
    dataset = load_dataset(checkpoint.training["data"])
    simulator = ChunkSimulator(network=network)

    def run() -> DatasetRun:
        return simulate_dataset(simulator, dataset.test_pixels)

    seconds = []
    for number in range(ROUNDS + 1):
        on_progress(f"data set, round {number}")
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    on_progress("data set, under the profiler")
    outside = _share_outside_convolutions(run)
    timesteps = [p.timesteps for p in spiking_populations(network)]
    return {
        "machine": this_machine(),
        "model": checkpoint.training["architecture"],
        "data": checkpoint.training["data"],
        "samples": len(dataset.test_pixels),
        "mean_timesteps": sum(timesteps) / len(timesteps),
        "accuracy": float((result.predictions == dataset.test_labels).mean()),
        "seconds": seconds[1:],  # the first packs the weights
        "seconds_per_1000": 1000 * median(seconds[1:]) / len(dataset.test_pixels),
        "share_outside_convolutions": outside,
    }


def _share_outside_convolutions(run: Callable[[], object]) -> float:
    """Of the wall clock of one run: what no convolution's own time accounts for."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler, torch.inference_mode():
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    own = {event.key: event.self_cpu_time_total / 1e6 for event in profiler.key_averages()}
    return 1 - sum(own.get(name, 0.0) for name in CONVOLUTIONS) / seconds
