"""Exact 2x2 max pooling as populations that compute maxima of counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import float_connect, float_network_of, float_spiking

from toolchain.networks.linear_maps import Convolution, Dense, Resample


def depthwise(channels, taps, stride):
    """One window of taps, of shape (rows, columns), for every channel."""
    weight = np.broadcast_to(np.array(taps, float), (channels, 1, *np.shape(taps))).copy()
    return Convolution(weight=weight, stride=stride, groups=channels)


def max_pool_network(timesteps=4, threshold=1.0, channels=2, size=4, seed=0, **changes):
    """input -> counts -> columns, rows -> after -> logits: what follows reads the maxima of 2x2 counts.

    Args:
        threshold: of the counts, one number or one per channel.
        changes: fields of the populations with the role ``maximum`` to change.
    """
    rng = np.random.default_rng(seed)
    half = size // 2

    def maximum(name, shape):
        population = float_spiking(name, shape, timesteps, threshold)
        return replace(population, **{"role": "maximum", **changes})

    even, every = (np.eye(size, dtype=np.int64)[::2], np.eye(half, dtype=np.int64))
    weight = Convolution(weight=rng.normal(size=(3, channels, 1, 1)))
    stem = Convolution(weight=rng.normal(size=(channels, 1, 3, 3)), padding=(1, 1))
    return float_network_of(
        float_spiking("counts", (channels, size, size), timesteps, threshold, bias=0.1),
        maximum("columns", (channels, size, half)),
        maximum("rows", (channels, half, half)),
        float_spiking("after", (3, half, half), 3, 0.5),
        float_connect("input", "counts", stem),
        float_connect("counts", "columns", depthwise(channels, [[-1, 1]], (1, 2))),
        float_connect("counts", "rows", depthwise(channels, [[-1], [1]], (2, 2))),
        float_connect("columns", "rows", depthwise(channels, [[-1], [1]], (2, 1))),
        float_connect("counts", "after", Resample(rows=even, columns=even), weight),
        float_connect("columns", "after", Resample(rows=even, columns=every), weight),
        float_connect("rows", "after", weight),
        float_connect("after", "logits", Dense(weight=rng.normal(size=(2, 3 * half * half)))),
        image=(1, size, size),
        max_value=15,
        unit=1 / 8,
        classes=2,
    )


def maxima(counts):
    """2x2 maxima of counts of shape ``(B, C, H, W)``."""
    num, channels, height, width = counts.shape
    windows = counts.reshape(num, channels, height // 2, 2, width // 2, 2)
    return windows.max(axis=(3, 5))


def pooled_counts(counts):
    """What reads the pool sees, from the counts of all populations by name."""
    return counts["counts"][..., ::2, ::2] + counts["columns"][..., ::2, :] + counts["rows"]
