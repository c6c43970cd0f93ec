"""Clipping levels by the error that they cause: rounding below them, clipping above them.

A histogram of each channel's activations, relative to its largest, is collected once. The squared error of
every clipping level at every T is then one product of matrices, since relative levels are the same for all
channels. The trade of rounding against clipping is that of ACIQ (Banner et al., 2019) and MMSE (Choi et al.,
2018), here without an assumption about the distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toolchain.networks.layer_graph import LayerGraph
from toolchain.post_training.activation_groups import ActivationGroup
from toolchain.post_training.closed_form import Activate, GraphTensors, run_pass

NUM_BINS = 2048
FRACTIONS = np.geomspace(1 / 32, 1.0, 64)
"""Clipping levels that are tried, as shares of a channel's largest activation."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Activations of one group per channel.

    Attributes:
        largest: largest activation of each channel, ``(channels,)``.
        counts: activations above 0 in bins between 0 and the largest, ``(channels, NUM_BINS)``.
    """

    largest: np.ndarray
    counts: np.ndarray

    def merged(self) -> Histogram:
        """All channels as one."""
        top = float(self.largest.max(initial=0))
        centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
        counts = np.zeros(NUM_BINS)
        if top > 0:
            bins = np.minimum(centres * (self.largest[:, None] / top) * NUM_BINS, NUM_BINS - 1)
            np.add.at(counts, bins.astype(int), self.counts)
        return Histogram(np.array([top]), counts[None])


def collect_histograms(
    graph: LayerGraph,
    groups: Sequence[ActivationGroup],
    images: Tensor,
    activate: Activate,
    samples_per_pass: int,
) -> dict[str, Histogram]:
    """Histograms of each group's activations in the float network, in two passes over the images."""
    tensors = GraphTensors.of(graph, images.dtype)
    names = [name for group in groups for name in group.activations]

    def passes() -> Iterable[dict[str, Tensor]]:
        for part in images.split(samples_per_pass):
            values = run_pass(graph, tensors, part, activate, keep=names).values
            yield {name: value.transpose(0, 1).flatten(1) for name, value in values.items()}

    with torch.inference_mode():
        largest: dict[str, Tensor] = {}
        for values in passes():
            for name, value in values.items():
                top = value.amax(dim=1)
                largest[name] = torch.maximum(largest.get(name, top), top)
        counts = {name: np.zeros((len(top), NUM_BINS)) for name, top in largest.items()}
        for values in passes():
            for name, value in values.items():
                counts[name] += _binned(value, largest[name])
    result = {}
    for group in groups:
        own = [Histogram(largest[n].double().numpy(), counts[n]) for n in group.activations]
        if group.per_channel:
            top = np.max([h.largest for h in own], axis=0)
            rescaled = [_rescaled(h, top) for h in own]
            result[group.name] = Histogram(top, np.sum(rescaled, axis=0))
        else:
            together = Histogram(
                np.concatenate([h.largest for h in own]), np.concatenate([h.counts for h in own])
            )
            result[group.name] = together.merged()
    return result


def _binned(values: Tensor, largest: Tensor) -> np.ndarray:
    """Counts of the values above 0, ``(channels, NUM_BINS)``, for values ``(channels, n)``."""
    scale = torch.where(largest > 0, NUM_BINS / largest, 0)
    bins = (values * scale[:, None]).long().clamp_(max=NUM_BINS - 1)
    bins += NUM_BINS * torch.arange(len(values))[:, None]
    found = torch.bincount(bins[values > 0], minlength=NUM_BINS * len(values))
    return found.reshape(len(values), NUM_BINS).numpy()


def _rescaled(histogram: Histogram, largest: np.ndarray) -> np.ndarray:
    """The counts of a histogram in the bins of larger ranges, one per channel."""
    if (histogram.largest == largest).all():
        return histogram.counts
    factor = np.divide(histogram.largest, largest, out=np.zeros(len(largest)), where=largest > 0)
    bins = ((np.arange(NUM_BINS) + 0.5) * factor[:, None]).astype(int)
    counts = np.zeros_like(histogram.counts)
    np.add.at(counts, (np.arange(len(largest))[:, None], bins), histogram.counts)
    return counts


def best_clipping_levels(
    histogram: Histogram, timesteps: Sequence[int], clip: float | None = None
) -> dict[int, np.ndarray]:
    """The clipping level of each channel with the least squared error, at each T.

    Args:
        clip: largest activation of the float network, above which no clipping level is useful.

    Returns:
        By T, shape ``(channels, 1, 1)``, above 0. A channel that is never active gets the mean level.
    """
    largest = histogram.largest
    levels = {}
    for steps in timesteps:
        errors = histogram.counts @ _squared_errors(steps).T  # (channels, fractions)
        found = FRACTIONS[errors.argmin(axis=1)] * largest
        if clip is not None:
            found = np.minimum(found, clip)
        active = largest > 0
        other = float(found[active].mean()) if active.any() else 1.0
        levels[steps] = np.where(active, found, other)[:, None, None]
    return levels


def quantile_clipping_levels(histogram: Histogram, quantile: float) -> np.ndarray:
    """One level for the whole layer: a quantile of its activations above 0 (Rueckauer et al., 2017).

    Returns:
        Shape ``(1, 1, 1)``.
    """
    merged = histogram.merged()
    total = merged.counts[0].cumsum()
    if not total[-1]:
        return np.ones((1, 1, 1))
    at = int(np.searchsorted(total, quantile * total[-1]))
    return np.full((1, 1, 1), (at + 1) / NUM_BINS * merged.largest[0])


def _squared_errors(timesteps: int) -> np.ndarray:
    """Squared error of each bin's centre at each relative clipping level, ``(fractions, NUM_BINS)``."""
    if timesteps not in _ERRORS:
        centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
        step = FRACTIONS[:, None] / timesteps
        counts = np.floor(np.clip(centres / step, 0, timesteps) + 0.5)
        _ERRORS[timesteps] = (centres - counts * step) ** 2
    return _ERRORS[timesteps]


_ERRORS: dict[int, np.ndarray] = {}


def levels_at(
    table: Mapping[str, Mapping[int, np.ndarray]], timesteps: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Clipping levels of each group at its T."""
    return {name: table[name][steps] for name, steps in timesteps.items()}
