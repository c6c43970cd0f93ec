"""Clipping levels by the error that they cause: rounding below them, clipping above them.

A histogram of each channel's activations, relative to its largest, is collected once. The squared error of
every clipping level at every T is then one product of matrices, since relative levels are the same for all
channels. The trade of rounding against clipping is that of ACIQ (Banner et al., 2019) and MMSE (Choi et al.,
2018), here without an assumption about the distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    """Histograms of each group's activations in the float network, in two passes over the images.

    Behind exact max pooling, those are the largest of each window, since no other is read. A group without
    clipping levels per channel gets one histogram of all channels.
    """
    tensors = GraphTensors.of(graph, images.dtype)
    names = [name for group in groups for name in group.populations]

    def passes() -> Iterable[dict[str, Tensor]]:
        for part in images.split(samples_per_pass):
            values = run_pass(graph, tensors, part, activate, keep=names).values
            yield {group.name: _by_channel(group, tensors, values) for group in groups}

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
    return {name: Histogram(top.double().numpy(), counts[name]) for name, top in largest.items()}


def _by_channel(
    group: ActivationGroup, tensors: GraphTensors, values: Mapping[str, Tensor]
) -> Tensor:
    """What is read of a group, ``(channels, n)``, or ``(1, n)`` without levels per channel."""
    read = _pooled(group, tensors, values) or [values[name] for name in group.activations]
    if not group.per_channel:
        return torch.cat([value.flatten() for value in read])[None]
    return torch.cat([value.transpose(0, 1).flatten(1) for value in read], dim=1)


def _pooled(
    group: ActivationGroup, tensors: GraphTensors, values: Mapping[str, Tensor]
) -> list[Tensor]:
    """Maxima that other populations read of a group; empty if they do not read them alone."""
    own, found = set(group.populations), []
    for target, into in tensors.shared.items():
        for shared in into if target not in own else ():
            sources = {source for source, _ in shared.paths}
            if sources <= own and sources & set(group.maxima):
                found.append(shared.read(values))
    channels = {values[name].shape[1] for name in group.activations}
    return found if {value.shape[1] for value in found} == channels else []


def _binned(values: Tensor, largest: Tensor) -> np.ndarray:
    """Counts of the values above 0, ``(channels, NUM_BINS)``, for values ``(channels, n)``."""
    scale = torch.where(largest > 0, NUM_BINS / largest, 0)
    bins = (values * scale[:, None]).long().clamp_(max=NUM_BINS - 1)
    bins += NUM_BINS * torch.arange(len(values))[:, None]
    found = torch.bincount(bins[values > 0], minlength=NUM_BINS * len(values))
    return found.reshape(len(values), NUM_BINS).numpy()


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What is minimized by a clipping level.

    Attributes:
        per_channel: one level per channel, else one for the layer.
        clipping_weight: how much more the squared error above the level counts than that below it. Large
            activations are rare, but they decide more.
    """

    per_channel: bool
    clipping_weight: float

    def __str__(self) -> str:
        where = "channel" if self.per_channel else "layer"
        return f"per {where}, clipping x {self.clipping_weight:g}"


CRITERIA = tuple(
    Criterion(per_channel=per_channel, clipping_weight=weight)
    for per_channel in (True, False)
    for weight in (1.0, 4.0, 16.0)
)
"""Which of them suits a layer is measured, by the error of the logits."""


def best_clipping_levels(
    histogram: Histogram,
    timesteps: Sequence[int],
    criterion: Criterion = CRITERIA[0],
    clip: float | None = None,
) -> dict[int, np.ndarray]:
    """The clipping level of each channel with the least error, at each T.

    Args:
        clip: largest activation of the float network, above which no clipping level is useful.

    Returns:
        By T, shape ``(channels, 1, 1)``, above 0. A channel that is never active gets the mean level.
    """
    channels = len(histogram.largest)
    if not criterion.per_channel:
        histogram = histogram.merged()
    largest = histogram.largest
    levels = {}
    for steps in timesteps:
        weighted = _squared_errors(steps, criterion.clipping_weight)
        errors = histogram.counts @ weighted.T  # (channels, fractions)
        found = FRACTIONS[errors.argmin(axis=1)] * largest
        if clip is not None:
            found = np.minimum(found, clip)
        active = largest > 0
        other = float(found[active].mean()) if active.any() else 1.0
        found = np.where(active, found, other)[:, None, None]
        levels[steps] = np.broadcast_to(found, (channels, 1, 1)).copy()
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


@lru_cache(maxsize=32)
def _squared_errors(timesteps: int, clipping_weight: float) -> np.ndarray:
    """Error of each bin's centre at each relative clipping level, ``(fractions, NUM_BINS)``."""
    centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    step = FRACTIONS[:, None] / timesteps
    counts = np.floor(np.clip(centres / step, 0, timesteps) + 0.5)
    weights = np.where(centres > FRACTIONS[:, None], clipping_weight, 1.0)
    return weights * (centres - counts * step) ** 2
