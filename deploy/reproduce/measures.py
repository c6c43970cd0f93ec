"""What the experiments measure alike, and how they name it."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
import yaml
from torch import nn

from deploy.reproduce.study import Study
from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from toolchain.datasets import PixelSource
from toolchain.importers.torch_module import convert
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import lower_to_integers

LEVELS = 4
"""L of the QCFS networks, which are run for T = L and beyond."""


def run_integers(graph: LayerGraph, pixels: PixelSource) -> np.ndarray:
    """Classes that the integer network of ``loihi-sim`` chooses."""
    network = lower_to_integers(graph, load_target("loihi-sim").widths)
    batches = [pixels[start : start + 256] for start in range(0, len(pixels), 256)]
    return np.concatenate([run_exact(network, batch).predictions for batch in batches])


def converted_graph(study: Study, module: nn.Module) -> LayerGraph:
    """The layer graph of a trained module."""
    return convert(module, study.dataset.input_shape, study.dataset.max_value)


def first_test_images(study: Study, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images of the data set, and their classes."""
    return study.dataset.test_pixels[:samples], study.dataset.test_labels[:samples]


def mean_timesteps(graph: LayerGraph) -> float:
    """Mean T over the spiking populations."""
    steps = [p.timesteps for p in graph.spiking]
    return sum(steps) / len(steps)


def paper_figures() -> dict[str, Any]:
    """The paper's own numbers, by table."""
    text = resources.files("deploy.reproduce").joinpath("paper.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def nearest_paper_network(study: Study) -> str:
    """The paper's network that is nearest to the study's."""
    if study.architecture.startswith("vgg"):
        return "vgg-16"
    return study.architecture if study.architecture in ("resnet-18", "resnet-20") else "resnet-20"


def data_note(study: Study) -> str:
    """How far our numbers compare with the paper's."""
    if study.dataset.name in ("cifar-10", "cifar-100"):
        return f"Trained here on {study.dataset.name}, with fewer epochs than the paper's."
    return (
        f"The paper's numbers are on CIFAR; ours on {study.dataset.name}, so only orders and trends "
        f"compare."
    )


def file_label(study: Study) -> str:
    """The study's part of a file name."""
    return study.name.replace(":", "x")
