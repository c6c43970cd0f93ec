"""Images, steps and results of lowering on images."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from math import prod

import numpy as np

from toolchain.datasets import Dataset
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import num_accumulations

ALL_TRAINED = (
    "nothing is rounded: weights, biases and thresholds are integers in the units of training"
)
"""The note on a network that needs no lowering on images."""

MOST_ACCUMULATIONS = 10**9
"""Multiply-accumulates per image of a network above which no images are used: each step takes minutes."""

MOST_IMAGES = 512
"""Images that weights and biases are fitted to."""

HELD_OUT = 2
"""Held-out images for each fitted one: more, since a step is judged by a small difference on them."""

_FEWEST_IMAGES = 16
_ACCUMULATIONS = 2 * 10**9
"""Multiply-accumulates of one pass over the fitted images; large networks get fewer images."""

_VALUES = 2**25
"""Values of the largest population over all fitted images, 128 MiB in float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoweringImages:
    """Training images, without labels; pixel integers ``(B, C, H, W)``.

    Attributes:
        fitted: images that weights and biases are chosen on.
        held_out: other images, on which each step is measured.
    """

    fitted: np.ndarray
    held_out: np.ndarray

    @property
    def sha256(self) -> str:
        """Digest of all pixels: other images give other integers."""
        digest = sha256()
        for pixels in (self.fitted, self.held_out):
            digest.update(f"{pixels.dtype.str} {pixels.shape}".encode())
            digest.update(np.ascontiguousarray(pixels).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class LoweringStep:
    """What a step of lowering gave, compared with the float spiking network on held-out images.

    Attributes:
        equal_counts: share of equal spike counts, over all neurons and images.
        same_class: share of images with the same class; None if the logits are not those of classes.
        logit_error: mean Jensen-Shannon divergence of the class probabilities, in bits, from 0 to 1. For
            networks without classes, the squared error of the logits as a share of their variance.
        kept: False if the step was undone, because it did not lower the logit error.
    """

    name: str
    equal_counts: float
    same_class: float | None
    logit_error: float
    kept: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Lowering:
    """An integer network, and how its integers were chosen.

    Attributes:
        images: None if no images were used.
        steps: in order, the first without images; empty if no images were used.
        notes: what was left out, one line each.
    """

    network: IntegerNetwork
    images: LoweringImages | None = None
    steps: tuple[LoweringStep, ...] = ()
    notes: tuple[str, ...] = ()


def why_not_fitted(graph: LayerGraph) -> str | None:
    """Why a network is lowered without images; None if it is fitted to them."""
    if any(s.alignment != "average" for s in graph.synapses):
        return "with replicate or truncate alignment, counts alone do not say what a layer computes"
    work = sum(num_accumulations(s.maps, graph[s.source].shape) for s in graph.synapses)
    if work > MOST_ACCUMULATIONS:
        return (
            f"{work:,} multiply-accumulates per image are more than the {MOST_ACCUMULATIONS:,} that are run "
            f"on images while lowering"
        )
    return None


def lowering_images(graph: LayerGraph, dataset: Dataset) -> LoweringImages | None:
    """Training images at even distances, so that data sets sorted by class give images of each.

    The number depends on the size of the network alone, not on its timesteps or widths: all variants of a
    model are lowered on the same images.

    Returns:
        None if the data set has fewer than three training images.
    """
    accumulations = sum(num_accumulations(s.maps, graph[s.source].shape) for s in graph.synapses)
    largest = max(prod(p.shape) for p in graph.populations)
    affordable = min(_ACCUMULATIONS // max(accumulations, 1), _VALUES // largest)
    available = len(dataset.train_pixels)
    images = min(max(affordable, _FEWEST_IMAGES), MOST_IMAGES, available // (1 + HELD_OUT))
    if images < 1:
        return None
    number = (1 + HELD_OUT) * images
    pixels = np.asarray(dataset.train_pixels[np.arange(number) * available // number])
    is_fitted = np.arange(number) % (1 + HELD_OUT) == 0
    return LoweringImages(fitted=pixels[is_fitted], held_out=pixels[~is_fitted])
