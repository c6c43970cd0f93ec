"""Spike counts and trains of soft-reset integrate-and-fire neurons under a constant current.

No time loop: the number of spikes after t steps is a formula in V0, the current and the threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spikes_after(steps: int, current: Tensor, threshold: Tensor, initial: Tensor) -> Tensor:
    """Number of spikes in the first ``steps`` timesteps, for any integers whatever.

    A neuron with ``0 <= V0 < Theta`` spikes ``clip(floor((V0 + t A) / Theta), 0, t)`` times. Outside
    that range two cases differ: a backlog (V0 >= Theta) that a negative current eats away, and a debt
    (V0 < 0) after which a current above the threshold makes the neuron spike in every step.

    Args:
        current, threshold, initial: int64, broadcastable to each other; threshold positive.

    Returns:
        int64 of the broadcast shape.
    """
    current, threshold, initial = torch.broadcast_tensors(current, threshold, initial)
    plain = _floor_div(initial + steps * current, threshold).clamp(0, steps)
    # every step pays A and loses Theta while the backlog lasts: j spikes need V0 >= j (Theta - A)
    backlog = _floor_div(initial, (threshold - current).clamp(min=1)).clamp(0, steps)
    # first spike at the smallest t >= 1 with V0 + t A >= Theta, then one in every step
    first = (-_floor_div(initial - threshold, current.clamp(min=1))).clamp(min=1)
    burst = (steps + 1 - first).clamp(0, steps)
    return torch.where(current < 0, backlog, torch.where(current > threshold, burst, plain))


def spike_train(timesteps: int, current: Tensor, threshold: Tensor, initial: Tensor) -> Tensor:
    """Spikes of each step, bool, shape ``(B, T, ...)`` for currents of shape ``(B, ...)``."""
    after = [spikes_after(t, current, threshold, initial) for t in range(timesteps + 1)]
    return torch.stack(after, dim=1).diff(dim=1).bool()


def _floor_div(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.div(numerator, denominator, rounding_mode="floor")
