"""How far the logits of a network are from those of the float network, without labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.networks.layer_graph import ReadoutPopulation, has_classes

LogitError = Callable[[Tensor, Tensor], Tensor]
"""Logits and those of the float network, ``(B, values)``, to one error per sample, ``(B,)``."""


def logit_error(readout: ReadoutPopulation) -> LogitError:
    """Divergence of the classes' probabilities if the largest logit is the class, else squared error."""
    return divergence if has_classes(readout) else squared_error


def divergence(logits: Tensor, expected: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the softmax from that of the expected logits, in nats."""
    expected, logits = F.log_softmax(expected, 1), F.log_softmax(logits, 1)
    return (expected.exp() * (expected - logits)).sum(dim=1)


def squared_error(logits: Tensor, expected: Tensor) -> Tensor:
    """Squared difference as a share of the expected logits' squared distance from their mean."""
    spread = (expected - expected.mean(dim=0)).square().sum(dim=1).mean()
    return (logits - expected).square().sum(dim=1) / spread.clamp(min=torch.finfo(spread.dtype).tiny)
