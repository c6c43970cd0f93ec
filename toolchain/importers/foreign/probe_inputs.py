"""Inputs that drive a network further than images do, to compare it with its runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.method.quantizers import quantizers
from toolchain.networks.linear_maps import Shape

LARGE = (2.0, 10.0, 100.0)
"""Factors on the range of images, for inputs that reach every clip."""


def large_inputs(inputs: Tensor) -> Tensor:
    """Inputs of both signs, far beyond those of images, so that every clip of the first layers is reached."""
    random = torch.Generator().manual_seed(0)
    scale = float(inputs.abs().max()) or 1.0
    normal = torch.randn((len(LARGE), *inputs.shape[1:]), generator=random, dtype=torch.float64)
    factors = torch.tensor(LARGE, dtype=torch.float64).reshape(-1, *[1] * (inputs.ndim - 1))
    return (normal * factors * scale).to(inputs.dtype)


def random_results(module: nn.Module, results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Random values on the grid of each quantizer; in half of the samples, 0 and the largest alone.

    Args:
        results: what quantizers gave, by name, whose shapes these values have.
    """
    random = np.random.default_rng(0)
    stimuli = {}
    for name, quantizer in quantizers(module).items():
        step, levels = (float(value.detach()) for value in quantizer.step_and_levels())
        counts = random.integers(0, int(levels) + 1, results[name].shape)
        counts[::2] = int(levels) * random.integers(0, 2, counts[::2].shape)
        stimuli[name] = counts * step
    return stimuli


def high_contrast_pixels(shape: Shape, max_value: int) -> np.ndarray:
    """Pixels that are 0 or the largest, at random: one by one, in blocks, by channel, and two halves."""
    random = np.random.default_rng(1)
    channels, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    pixels = [random.integers(0, 2, shape)]
    for size in (2, 4):
        blocks = random.integers(0, 2, (channels, -(-height // size), -(-width // size)))
        pixels.append(blocks[:, rows // size, columns // size])
    pixels.append(np.broadcast_to(random.integers(0, 2, (channels, 1, 1)), shape))
    pixels += [np.broadcast_to(half, shape) for half in (rows < height // 2, columns >= width // 2)]
    return np.stack(pixels).astype(np.int64) * max_value
