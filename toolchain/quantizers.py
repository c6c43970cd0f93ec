"""Learned activation quantizers that convert to integrate-and-fire populations without a gap."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def round_half_up(x: Tensor) -> Tensor:
    """``floor(x + 1/2)`` with a straight-through gradient.

    Half up, never half to even: it is what an IF neuron with v(0) = v_th / 2 that spikes at equality
    computes (reading of Eq. 4 and 5).
    """
    return x + (torch.floor(x + 0.5) - x).detach()


class TimestepQuantizer(nn.Module):
    """Case 4 of the paper, theta = [t, alpha] (Eq. 10): learns T and the clipping level.

    ``Q(x) = d * round(clip(x / d, 0, T))`` with ``T = max(1, round(t))`` and ``d = alpha / T``. T is an
    integer inside the forward pass, so conversion rounds nothing. All gradients are autograd's through
    the straight-through rounding; they are those of Eq. 10, and 0 for x < 0.

    Args:
        timesteps: initial t.
        max_timesteps: upper clamp of t.
        threshold: initial alpha, in units of the activation.
    """

    def __init__(
        self, timesteps: float = 4.0, max_timesteps: int = 16, threshold: float = 2.0
    ) -> None:
        super().__init__()
        self.max_timesteps = max_timesteps
        self.t = nn.Parameter(torch.tensor(float(timesteps)))
        self.alpha = nn.Parameter(torch.tensor(float(threshold)))

    @property
    def timesteps(self) -> Tensor:
        """T_l, an integer-valued scalar that passes its gradient on to t."""
        return round_half_up(self.t).clamp(1, self.max_timesteps)

    def forward(self, x: Tensor) -> Tensor:
        levels = self.timesteps
        step = self.alpha / levels
        return step * round_half_up(torch.minimum(torch.relu(x / step), levels))

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        """Keep t in ``[1, max_timesteps]`` and alpha positive; call after each optimizer step."""
        self.t.clamp_(1, self.max_timesteps)
        self.alpha.clamp_(min=1e-3)

    def extra_repr(self) -> str:
        return f"T={int(self.timesteps.detach())}, alpha={float(self.alpha.detach()):.4g}"
