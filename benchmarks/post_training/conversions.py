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
from sim.exact.engine import ExactEngine
from toolchain.datasets import Dataset
from toolchain.method.float_snn import input_current
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import lower_to_integers
from toolchain.post_training import PostTrainingPlan, convert_post_training
from toolchain.post_training.closed_form import logits_in_parts, spiking
from toolchain.training import accuracy, ann_logits

TARGET = "loihi-sim"


def convert_and_measure(
    module: nn.Module,
    dataset: Dataset,
    mean_timesteps: int,
    *,
    mixed: bool,
    samples: int,
    compared_samples: int | None = None,
    finetune_epochs: int = 0,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Convert, and measure on the first ``samples`` test images.

    Args:
        compared_samples: as many of them are measured apart as well.
    """
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
    right = _right_by_integers(result.graph, dataset, samples)
    compared = None
    if compared_samples is not None:
        images = input_current(result.graph, dataset.test_pixels[:compared_samples], torch.float32)
        logits = logits_in_parts(result.graph, images, spiking(result.graph, torch.float32))
        labels = dataset.test_labels[:compared_samples]
        compared = {
            "samples": compared_samples,
            "float_network": accuracy(
                ann_logits(
                    module, dataset.test_pixels[:compared_samples], dataset.max_value, torch.float32
                ),
                labels,
            ),
            "converted": accuracy(logits.numpy(), labels),
            "integer": float(right[:compared_samples].mean()),
        }
    integer = float(right.mean())
    say(
        f"ours, {'mixed' if mixed else 'uniform'}, mean T = {result.mean_timesteps:g}: float "
        f"{result.test.float_network:.2%}, spiking {result.test.converted:.2%}, integers {integer:.2%}; "
        f"{wall:.0f} s"
    )
    return {
        "test": asdict(result.test),
        "integer": integer,
        "compared": compared,
        "steps": [asdict(step) for step in result.steps],
        "timesteps": result.timesteps,
        "mean_timesteps": result.mean_timesteps,
        "seconds": wall,
        "core_seconds": cpu,
        "threads": torch.get_num_threads(),
        "notes": list(result.notes),
    }


def _right_by_integers(graph: LayerGraph, dataset: Dataset, samples: int) -> np.ndarray:
    """Which samples the integer network classifies right that ``compile`` gives for the target."""
    network = lower_to_integers(graph, load_target(TARGET).widths)
    engine = ExactEngine(network, with_counts=False)
    logits = engine.run(np.asarray(dataset.test_pixels[:samples])).logits
    return logits.argmax(axis=1) == dataset.test_labels[:samples]
