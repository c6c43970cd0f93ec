"""What directly trained spiking networks minimize, apart from the cross entropy of their mean logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deploy.reproduce.spiking_networks import recorded_potentials

TET_WEIGHT, TET_MEAN = 1e-3, 1.0
"""lambda and phi, the values in the authors' code."""

RMP_WEIGHT = 0.1
"""lambda in the last epoch."""


def tet_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of each step's cross entropy, and the distance of all logits from a constant.

    ``(1 - lambda) 1/T sum_t CE(o[t], y) + lambda MSE(o, phi)``

    Args:
        logits: of each step, ``(T, B, classes)``.

    Source: Deng et al. (2022), "Temporal Efficient Training of Spiking Neural Network via Gradient
    Re-weighting".
    """
    steps = len(logits)
    entropy = F.cross_entropy(logits.flatten(0, 1), labels.repeat(steps))
    distance = F.mse_loss(logits, torch.full_like(logits, TET_MEAN))
    return (1 - TET_WEIGHT) * entropy + TET_WEIGHT * distance


def rmp_loss(layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean distance ``|u - s|`` of membrane potentials, before the reset, from the spikes 0 or 1.

    The spikes are constants: what is lost when potentials become spikes falls, and the spikes stay.

    Args:
        layers: potentials u and spikes s of each layer, of one shape.

    Source: Guo et al. (2023), "RMP-Loss: Regularizing Membrane Potential Distribution for Spiking Neural
    Networks".
    """
    distances = [(potentials - spikes.detach()).abs().sum() for potentials, spikes in layers]
    return torch.stack(distances).sum() / sum(spikes.numel() for _, spikes in layers)


def temporal_efficient(
    network: nn.Module, images: Tensor, labels: Tensor, progress: float
) -> tuple[Tensor, Tensor]:
    """The objective of TET."""
    logits = network(images, by_step=True)
    return tet_loss(logits, labels), logits.mean(0)


def regularized_potentials(
    network: nn.Module, images: Tensor, labels: Tensor, progress: float
) -> tuple[Tensor, Tensor]:
    """Cross entropy and RMP-Loss, whose weight rises over the epochs so that training starts freely."""
    with recorded_potentials(network) as layers:
        logits = network(images)
    loss = F.cross_entropy(logits, labels) + RMP_WEIGHT * progress * rmp_loss(layers)
    return loss, logits
