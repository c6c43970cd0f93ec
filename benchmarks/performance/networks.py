"""Networks with the shapes of the paper's at 32x32, with random weights and balanced thresholds.

Speed does not depend on what a network has learned. The thresholds make neurons spike, as the agreement of
engines on a silent network would prove nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hw_models.target_description import load_target
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import (
    average_pooled,
    balance_thresholds,
    quantize_activations,
)
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.serialize import save_integer_network
from toolchain.passes import lower_to_integers

SHAPE, CLASSES = (3, 32, 32), 10
MIXED = (2, 4, 6)
"""T_l of the mixed-timestep networks, repeated over the layers; their mean is about 4."""

MODEL = "model.pt"


def random_pixels(samples: int) -> np.ndarray:
    """Integers ``0..255`` of shape ``(samples, *SHAPE)``."""
    return np.random.default_rng(0).integers(0, 256, (samples, *SHAPE))


def float_network(architecture: str) -> nn.Module:
    """The plain ANN with convolutions, batch normalization, ReLU and average pools."""
    torch.manual_seed(0)
    module = average_pooled(build_model(architecture, SHAPE, CLASSES))
    for layer in module.modules():  # so that signals reach the last layer
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # take the statistics of the one batch below
    with torch.no_grad():
        module(torch.rand(64, *SHAPE))
    return module.eval()


def write_network(architecture: str, timesteps: Sequence[int], folder: Path) -> IntegerNetwork:
    """Convert the ANN and write its model file and its integer network.

    Each population has one threshold for all its channels, as SpikingJelly's neurons support no more.

    Args:
        timesteps: T_l of the spiking populations in order, repeated as needed.
    """
    module = quantize_activations(
        float_network(architecture), TimestepQuantizer, max_pool="average"
    )
    for quantizer, steps in zip(quantizers(module).values(), cycle(timesteps), strict=False):
        nn.init.constant_(quantizer.t, steps)
    balance_thresholds(module, torch.rand(4, *SHAPE))
    graph = convert(module, SHAPE, max_value=255)
    network = lower_to_integers(
        graph, replace(load_target("loihi-sim").widths, distinct_thresholds=1)
    )
    folder.mkdir(parents=True)
    save_checkpoint(folder / MODEL, Checkpoint(graph, {}))
    save_integer_network(network, folder)
    return network
