"""Small residual networks with mixed windows, and data for a search."""

from __future__ import annotations

import numpy as np
from builders import float_connect, float_dense, float_network_of, float_spiking

from deploy.design.compilation import CompileOptions
from deploy.design.design import build_design
from sim.engines import simulate
from toolchain.datasets import Dataset
from toolchain.networks.linear_maps import Convolution


def random_residual_network(seed):
    """input -> stem -> inner -> join <- stem, join -> logits, with windows of 1 to 5 ticks."""
    rng = np.random.default_rng(seed)

    def neurons(name):
        return float_spiking(
            name, (4, 6, 6), int(rng.integers(1, 6)), bias=rng.normal(0, 0.1, (4, 1, 1))
        )

    def convolution(source, target, channels):
        weight = rng.normal(0, 0.4, (4, channels, 3, 3))
        return float_connect(source, target, Convolution(weight=weight, padding=(1, 1)))

    head = float_dense(rng.normal(0, 0.3, (3, 144)))
    return float_network_of(
        *map(neurons, ("stem", "inner", "join")),
        convolution("input", "stem", 1),
        convolution("stem", "inner", 4),
        convolution("inner", "join", 4),
        convolution("stem", "join", 4),
        float_connect("join", "logits", head),
        image=(1, 6, 6),
        max_value=15,
        unit=1 / 15,
        classes=3,
    )


def own_dataset(model, target, seed):
    """Noise, with the classes that the network itself chooses."""
    pixels = np.random.default_rng(seed).integers(0, 16, (96, 1, 6, 6))
    labels = simulate(build_design(model, target, CompileOptions()).network, pixels).predictions
    return Dataset(
        name="noise", max_value=15, num_classes=3, train_pixels=pixels, train_labels=labels,
        test_pixels=pixels, test_labels=labels,
    )  # fmt: skip
