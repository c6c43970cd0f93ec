"""A trained network on a whole test set: seconds per 1,000 images, and their share outside convolutions."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch

from benchmarks.performance.machine import this_machine
from deploy.dataset_run.simulate_dataset import ChunkSimulator, DatasetRun, simulate_dataset
from deploy.design.compilation import CompileOptions
from deploy.design.design import lower_graph
from hw_models.target_description import load_target
from toolchain.datasets import load_dataset
from toolchain.files.checkpoint import load_checkpoint
from toolchain.passes import chosen_graph

ROUNDS = 5
CONVOLUTIONS = (
    (torch.ops.onednn, "qconv2d_pointwise"),
    (torch.nn.functional, "conv2d"),
)


def time_dataset(model: Path, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """Run all test images of the model's data set; returns a document for JSON."""
    checkpoint, target, options = load_checkpoint(model), load_target("loihi-sim"), CompileOptions()
    graph = chosen_graph(checkpoint.graph, options)
    network = lower_graph(graph, target, options).network
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
    on_progress("data set, with a clock at each convolution")
    outside = [_share_outside_convolutions(run) for _ in range(ROUNDS)]
    timesteps = [p.timesteps for p in network.spiking]
    return {
        "machine": this_machine(),
        "model": checkpoint.training["architecture"],
        "data": checkpoint.training["data"],
        "samples": len(dataset.test_pixels),
        "mean_timesteps": sum(timesteps) / len(timesteps),
        "accuracy": float((result.predictions == dataset.test_labels).mean()),
        "seconds": seconds[1:],  # the first run packs the weights
        "seconds_per_1000": 1000 * median(seconds[1:]) / len(dataset.test_pixels),
        "share_outside_convolutions": median(outside),
    }


def _share_outside_convolutions(run: Callable[[], object]) -> float:
    """Share of the wall-clock time of one run that is spent outside calls of a convolution.

    A profiler would time every call of torch, and so overstate the short ones.
    """
    inside = 0.0

    def timed(convolution: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal inside
            start = time.perf_counter()
            result = convolution(*arguments, **options)
            inside += time.perf_counter() - start
            return result

        return call

    with ExitStack() as stack:
        for module, name in CONVOLUTIONS:
            stack.enter_context(mock.patch.object(module, name, timed(getattr(module, name))))
        start = time.perf_counter()
        run()
        return 1 - inside / (time.perf_counter() - start)
