"""Logits and accuracy of an ANN, quantized or not."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.datasets import PixelSource

EVALUATION_BATCH = 256


@torch.no_grad()
def ann_logits(
    module: nn.Module, pixels: PixelSource, max_value: int, dtype: torch.dtype = torch.float64
) -> np.ndarray:
    """Logits of a network in evaluation mode, shape ``(B, classes)``.

    Those in float64, the default, can be compared with the logits of a spiking network.
    """
    copied = copy.deepcopy(module).eval().to(dtype)
    parts = [
        copied(as_input(pixels[start : start + EVALUATION_BATCH], max_value, dtype))
        for start in range(0, len(pixels), EVALUATION_BATCH)
    ]
    return torch.cat(parts).numpy()


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose largest logit is that of their label."""
    return float((logits.argmax(axis=1) == labels).mean())


def as_input(pixels: np.ndarray, max_value: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """``pixels / max_value``, divided in float64 so that every engine sees the same real number."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(torch.float64).div(max_value).to(dtype)
