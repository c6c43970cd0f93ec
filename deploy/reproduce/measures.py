"""Measurements and notes that several experiments share."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
import torch
import yaml

from deploy.reproduce.study import Study
from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from toolchain.datasets import PixelSource
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import LayerGraph
from toolchain.passes import lower_to_integers
from toolchain.training import accuracy

LEVELS = 4
"""L of the QCFS networks, which are run for T = L and for other T."""


def run_integers(graph: LayerGraph, pixels: PixelSource) -> np.ndarray:
    """Classes that the integer network for ``loihi-sim`` predicts, shape ``(samples,)``."""
    network = lower_to_integers(graph, load_target("loihi-sim").widths)
    batches = [pixels[start : start + 256] for start in range(0, len(pixels), 256)]
    return np.concatenate([run_exact(network, batch).predictions for batch in batches])


def snn_accuracy(graph: LayerGraph, pixels: PixelSource, labels: np.ndarray) -> float:
    """Accuracy of the float SNN of a layer graph, run in float32."""
    return accuracy(run_float_snn(graph, pixels, dtype=torch.float32).logits, labels)


def paper_figures() -> dict[str, Any]:
    """The paper's accuracies in percent, by table."""
    text = resources.files("deploy.reproduce").joinpath("paper.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def nearest_paper_network(study: Study) -> str:
    """The network of the paper that is most similar to the study's."""
    if study.architecture.startswith("vgg"):
        return "vgg-16"
    return study.architecture if study.architecture in ("resnet-18", "resnet-20") else "resnet-20"


def data_note(study: Study) -> str:
    """A note that says how our numbers compare with the paper's."""
    if study.dataset.name in ("cifar-10", "cifar-100"):
        return f"Trained here on {study.dataset.name}, with fewer epochs than the paper's."
    return (
        f"The paper's numbers are on CIFAR; ours on {study.dataset.name}, so only orders and trends "
        f"compare."
    )
