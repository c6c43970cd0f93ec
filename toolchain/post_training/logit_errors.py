"""How far the logits of a network are from those of the float network, without labels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.networks.layer_graph import ReadoutPopulation, has_classes

LogitError = Callable[[Tensor, Tensor], Tensor]
"""Logits and those of the float network, ``(B, values)``, to one error per sample, ``(B,)``."""


def logit_error(readout: ReadoutPopulation) -> LogitError:
    """What steps are judged by: of class probabilities if the largest logit is the class."""
    return mutual_divergence if has_classes(readout) else squared_error


def training_loss(readout: ReadoutPopulation) -> LogitError:
    """What gradient descent lowers."""
    return divergence if has_classes(readout) else squared_error


def mutual_divergence(logits: Tensor, expected: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the class probabilities, in bits: 0 if equal, at most 1.

    Since it is bounded, a few images with very confident wrong classes do not outweigh all others.
    """
    expected, logits = F.log_softmax(expected, 1), F.log_softmax(logits, 1)
    middle = torch.logaddexp(expected, logits) - math.log(2)
    both = expected.exp() * (expected - middle) + logits.exp() * (logits - middle)
    return both.sum(dim=1).clamp(min=0) / (2 * math.log(2))


def divergence(logits: Tensor, expected: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the class probabilities from the expected ones, in nats."""
    expected, logits = F.log_softmax(expected, 1), F.log_softmax(logits, 1)
    return (expected.exp() * (expected - logits)).sum(dim=1)


def squared_error(logits: Tensor, expected: Tensor) -> Tensor:
    """Squared difference as a share of the expected logits' squared distance from their mean."""
    spread = (expected - expected.mean(dim=0)).square().sum(dim=1).mean()
    return (logits - expected).square().sum(dim=1) / spread.clamp(
        min=torch.finfo(spread.dtype).tiny
    )
