"""Spike counts and trains of soft-reset integrate-and-fire neurons under a constant current.

No time loop: the number of spikes after t steps is a formula in V0, the current and the threshold. It is
implemented twice: in int64 for any integers, and in floating point, in place, for ``0 <= V0 < Theta``.

Floating point is exact as long as every operand is an integer below ``EXACT_INTEGERS`` of its type, with p
bits of mantissa. A quotient x / Theta that is no integer is at least 1 / Theta below the next integer n,
which is more than half a unit in the last place of n, because n * Theta < 2^p. So rounding never reaches n,
and the floor of the rounded quotient is the floor of the quotient.
"""

from __future__ import annotations

import torch
from torch import Tensor

_VALUES_AT_ONCE = 2**16
"""Neurons and steps that are computed in one call, so that a long window of few neurons takes few calls."""


def spikes_after(
    steps: int | Tensor, current: Tensor, threshold: Tensor, initial: Tensor
) -> Tensor:
    """Number of spikes in the first ``steps`` timesteps, for any integers.

    A neuron with ``0 <= V0 < Theta`` spikes ``clip(floor((V0 + t A) / Theta), 0, t)`` times. Outside
    that range two cases differ: a backlog (V0 >= Theta) that a negative current reduces, and a debt
    (V0 < 0) after which a current above the threshold makes the neuron spike in every step.

    Args:
        steps: one number, or int64 that broadcasts with the others.
        current, threshold, initial: int64, broadcastable to each other; threshold positive.

    Returns:
        int64 of the broadcast shape.
    """
    current, threshold, initial = torch.broadcast_tensors(current, threshold, initial)
    steps = torch.as_tensor(steps, device=current.device)
    none = torch.zeros_like(steps)
    plain = _floor_div(initial + steps * current, threshold).clamp(none, steps)
    # while the backlog lasts, every step adds A and subtracts Theta: j spikes need V0 >= j (Theta - A)
    backlog = _floor_div(initial, (threshold - current).clamp(min=1)).clamp(none, steps)
    # first spike at the smallest t >= 1 with V0 + t A >= Theta, then one in every step
    first = (-_floor_div(initial - threshold, current.clamp(min=1))).clamp(min=1)
    burst = (steps + 1 - first).clamp(none, steps)
    return torch.where(current < 0, backlog, torch.where(current > threshold, burst, plain))


def spike_train(
    timesteps: int, current: Tensor, threshold: Tensor, initial: Tensor, spikes: Tensor
) -> Tensor:
    """Counts ``(B, C, H, W)`` of the whole window, int64; writes the spikes of each step.

    Args:
        spikes: bytes ``(T, B, H, W, C)`` to write 0 and 1 into.
    """
    before = torch.zeros_like(current)[None]
    together = max(_VALUES_AT_ONCE // max(current.numel(), 1), 1)
    for start in range(0, timesteps, together):
        stop = min(start + together, timesteps)
        steps = torch.arange(start + 1, stop + 1, device=current.device)
        after = spikes_after(steps.view(-1, 1, 1, 1, 1), current, threshold, initial)
        counts = torch.cat([before, after])
        spikes[start:stop].permute(0, 1, 4, 2, 3).copy_(counts[1:] - counts[:-1])
        before = after[-1:]
    return before[0]


def _floor_div(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.div(numerator, denominator, rounding_mode="floor")


def counts_of_window_sums(timesteps: int, window_sums: Tensor, threshold: Tensor) -> Tensor:
    """``clip(floor((V0 + T A) / Theta), 0, T)`` for ``0 <= V0 < Theta``.

    Args:
        window_sums: ``V0 + T A``, floating point; overwritten.
        threshold: Theta in the same type.

    Returns:
        The counts, in the same type and memory.
    """
    return window_sums.div_(threshold).clamp_(0, timesteps).floor_()


def bytes_of_window_sums(timesteps: int, window_sums: Tensor, threshold: Tensor) -> Tensor:
    """``counts_of_window_sums`` in unsigned bytes, for T up to 255."""
    return _truncate(window_sums.div_(threshold).clamp_(0, timesteps), timesteps)


def bytes_of_levels(timesteps: int, levels: Tensor, *, fit_bytes: bool) -> Tensor:
    """``floor(clip(y, 0, T))`` in unsigned bytes, for T up to 255; the levels are overwritten.

    Args:
        fit_bytes: all levels fit a signed byte, so bytes are clamped: a quarter of the memory.
    """
    if fit_bytes:
        return levels.to(torch.int8).clamp_(0, timesteps).view(torch.uint8)
    return _truncate(levels.clamp_(0, timesteps), timesteps)


def _truncate(quotients: Tensor, most: int) -> Tensor:
    """Floor of values ``0..most`` as unsigned bytes."""
    if most <= 127:
        return quotients.to(torch.int8).view(torch.uint8)
    return quotients.to(torch.int32).to(torch.uint8)  # torch is slow from floats to uint8


def trains_of_currents(
    timesteps: int, currents: Tensor, threshold: Tensor, initial: Tensor, spikes: Tensor
) -> Tensor:
    """Counts for ``0 <= V0 < Theta`` and T up to 255, in unsigned bytes; writes the spikes of each step.

    The current is clamped to 0..Theta first, which changes no spike. Then ``floor((V0 + t A) / Theta)``
    needs no clamping: one quotient per step, and a spike for each neuron whose quotient grew.

    Args:
        currents: A, floating point, shape ``(B, C, H, W)``; overwritten.
        threshold, initial: Theta and V0 in the same type, broadcastable to ``(C, H, W)``.
        spikes: bytes ``(T, B, H, W, C)`` to write 0 and 1 into, on any device.
    """
    torch.minimum(currents.clamp_(min=0), threshold, out=currents)
    sums, before = torch.empty_like(currents), None
    for step in range(1, timesteps + 1):
        torch.add(initial, currents, alpha=step, out=sums)
        after = _truncate(sums.div_(threshold), step)
        plane = spikes[step - 1].permute(0, 3, 1, 2)
        if before is None or plane.device != after.device:
            plane.copy_(after if before is None else after - before)
        else:
            torch.sub(after, before, out=plane)
        before = after
    assert before is not None
    return before
