"""Our post-training conversion of a float network, measured in float and as the integer network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from toolchain.datasets import Dataset
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import lower_to_integers
from toolchain.post_training import PostTrainingPlan, convert_post_training

TARGET = "loihi-sim"
TEST_BATCH = 250


def convert_and_measure(
    module: nn.Module,
    dataset: Dataset,
    mean_timesteps: int,
    *,
    mixed: bool,
    samples: int,
    finetune_epochs: int = 0,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Convert, and measure on the first ``samples`` test images."""
    plan = PostTrainingPlan(
        mean_timesteps=mean_timesteps,
        mixed=mixed,
        finetune_epochs=finetune_epochs,
        test_samples=samples,
    )
    wall, cpu = time.monotonic(), time.process_time()
    result = convert_post_training(module, dataset, plan)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    assert result.test is not None
    integer = _integer_accuracy(result.graph, dataset, samples)
    say(
        f"ours, {'mixed' if mixed else 'uniform'}, mean T = {result.mean_timesteps:g}: float "
        f"{result.test.float_network:.2%}, spiking {result.test.converted:.2%}, integers {integer:.2%}; "
        f"{wall:.0f} s"
    )
    return {
        "test": asdict(result.test),
        "integer": integer,
        "steps": [asdict(step) for step in result.steps],
        "timesteps": result.timesteps,
        "mean_timesteps": result.mean_timesteps,
        "seconds": wall,
        "core_seconds": cpu,
        "threads": torch.get_num_threads(),
        "notes": list(result.notes),
    }


def _integer_accuracy(graph: LayerGraph, dataset: Dataset, samples: int) -> float:
    """Accuracy of the integer network that ``compile`` gives for the target."""
    network = lower_to_integers(graph, load_target(TARGET).widths)
    labels = dataset.test_labels[:samples]
    right = 0
    for start in range(0, samples, TEST_BATCH):
        part = slice(start, min(start + TEST_BATCH, samples))
        logits = run_exact(network, np.asarray(dataset.test_pixels[part])).logits
        right += int((logits.argmax(axis=1) == labels[part]).sum())
    return right / len(labels)
