"""Measurements that several experiments share."""

from __future__ import annotations

import numpy as np
import torch

from deploy.reproduce.study import Study
from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from toolchain.datasets import PixelSource
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import LayerGraph
from toolchain.rounding.lower_on_images import lower_on_dataset
from toolchain.training import accuracy, ann_logits

LEVELS = 4
"""L of the QCFS networks, which are run for T = L and for other T."""


def run_integers(study: Study, graph: LayerGraph, pixels: PixelSource) -> np.ndarray:
    """Classes that the integer network for ``loihi-sim`` predicts, shape ``(samples,)``."""
    network = lower_on_dataset(graph, load_target("loihi-sim").widths, study.dataset).network
    batches = [pixels[start : start + 256] for start in range(0, len(pixels), 256)]
    return np.concatenate([run_exact(network, batch).predictions for batch in batches])


def float_accuracy(study: Study, samples: int) -> float:
    """Accuracy of the float ANN that was trained as long as the networks compared with it."""

    def measured() -> float:
        pixels, labels = study.test_images(samples)
        module, max_value = study.continued_ann(), study.dataset.max_value
        return accuracy(ann_logits(module, pixels, max_value, torch.float32), labels)

    return study.once(("float", samples), measured)


def snn_accuracy(graph: LayerGraph, pixels: PixelSource, labels: np.ndarray) -> float:
    """Accuracy of the float SNN of a layer graph, run in float32."""
    return accuracy(run_float_snn(graph, pixels, dtype=torch.float32).logits, labels)
