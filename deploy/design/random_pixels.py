"""Random pixels, where samples of a data set are missing."""

from __future__ import annotations

import numpy as np

from toolchain.networks.integer_network import IntegerNetwork


def random_pixels(network: IntegerNetwork, count: int, seed: int = 0) -> np.ndarray:
    """Pixels of any value that the input population takes, ``(count, C, H, W)``; the same in every call."""
    source = network.input
    return np.random.default_rng(seed).integers(0, source.max_value + 1, (count, *source.shape))
