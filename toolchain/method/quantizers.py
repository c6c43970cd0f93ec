"""Learned activation quantizers that convert to integrate-and-fire populations without a gap.

All four parametrizations of the paper (Eq. 7-10) are one function of the input, the step size d and the
number of levels T,

    Q(x) = d * round(clip(x / d, 0, T)),

and differ in which two of n, d, alpha and t are learned; the other quantities follow from
``alpha = d T`` and ``T = 2^n = t``. T is an integer inside the forward pass, so conversion rounds
nothing: the population fires T steps with threshold ``d T``.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from toolchain.method.quantize_operation import quantize

MIN_THRESHOLD = 1e-3


def round_half_up(x: Tensor) -> Tensor:
    """``floor(x + 1/2)`` with a straight-through gradient.

    Half up, not half to even, since an IF neuron with v(0) = v_th / 2 that spikes at equality computes it
    (our reading of Eq. 4 and 5).
    """
    return x + (torch.floor(x + 0.5) - x).detach()


class _Quantize(torch.autograd.Function):
    """``Q(x; d, T)`` with the straight-through gradients that Eq. 7-10 have in common.

    With respect to x: 1 if ``0 <= x <= d T``, else 0. With respect to d: ``(Q - x) / d`` within that range
    and T above it. With respect to T: 0 within the range and d above it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, levels: Tensor) -> Tensor:
        counts = (x / step).clamp_(min=0).minimum(levels).add_(0.5).floor_()
        ctx.save_for_backward(x, step, levels, counts)
        return counts * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        x, step, levels, counts = ctx.saved_tensors
        position = x / step
        above = position > levels
        inside = (position >= 0) & ~above
        gradient_x = gradient * inside
        gradient_above = (gradient * above).sum()
        gradient_step = (gradient_x * (counts - position)).sum() + levels * gradient_above
        return gradient_x, gradient_step, step * gradient_above


class ActivationQuantizer(nn.Module, ABC):
    """A quantizer that can be trained and converted; each case computes d and T from its own parameters.

    Args:
        timesteps: initial T.
        max_timesteps: upper bound of T; None leaves T unbounded.
        threshold: initial alpha, in units of the activation.
    """

    timestep_parameter: ClassVar[str]
    """Name of the parameter that sets T."""

    clip: float | None = None
    """Upper clip of the activation that the quantizer replaced, which bounds balanced thresholds."""

    def __init__(
        self, timesteps: float = 4.0, max_timesteps: int | None = 16, threshold: float = 2.0
    ) -> None:
        super().__init__()
        self.max_timesteps = max_timesteps
        for name, value in self._initial(timesteps, threshold).items():
            self.register_parameter(name, nn.Parameter(torch.tensor(float(value))))
        if (note := self._cap_note(math.floor(timesteps + 0.5))) is not None:
            warnings.warn(f"{type(self).__name__}: {note}", stacklevel=2)

    @abstractmethod
    def _initial(self, timesteps: float, threshold: float) -> dict[str, float]:
        """Initial value of each parameter."""

    @abstractmethod
    def _levels(self) -> Tensor:
        """T as a real number, before rounding and capping."""

    @abstractmethod
    def step_and_levels(self) -> tuple[Tensor, Tensor]:
        """Step size d and integer-valued T, scalars with gradients to the parameters."""

    @abstractmethod
    def clamp_parameters(self) -> None:
        """Keep the parameters where the quantizer is defined; call after each optimizer step."""

    @abstractmethod
    def set_threshold(self, threshold: float) -> None:
        """Change the clipping level and keep T."""

    @property
    def timesteps(self) -> Tensor:
        """T_l, an integer-valued scalar with a straight-through gradient."""
        return self.step_and_levels()[1]

    @property
    def threshold(self) -> Tensor:
        """alpha = d T, the clipping level that becomes v_th."""
        step, levels = self.step_and_levels()
        return step * levels

    def cap_note(self) -> str | None:
        """One line if the parameters ask for more timesteps than ``max_timesteps`` allows, else None."""
        with torch.no_grad():
            return self._cap_note(float(round_half_up(self._levels())))

    def _cap_note(self, wanted: float) -> str | None:
        if self.max_timesteps is None or wanted <= self.max_timesteps:
            return None
        return (
            f"T = {wanted:g} is capped at max_timesteps = {self.max_timesteps}; pass a larger max_timesteps "
            f"to keep it"
        )

    def timestep_parameters(self) -> list[nn.Parameter]:
        """Learned parameters that set T, which have a learning rate of their own."""
        parameter = self.get_parameter(self.timestep_parameter)
        return [parameter] if parameter.requires_grad else []

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return quantize(x, self.threshold, self.timesteps, "")
        return _Quantize.apply(x, *self.step_and_levels())

    def _bounded(self, levels: Tensor) -> Tensor:
        return round_half_up(levels).clamp(1, self.max_timesteps)

    def extra_repr(self) -> str:
        return f"T={float(self.timesteps.detach()):g}, alpha={float(self.threshold.detach()):.4g}"


class BitWidthStepQuantizer(ActivationQuantizer):
    """Case 1, theta = [n, d] (Eq. 7): learns the bit width and the step size."""

    timestep_parameter = "n"
    n: nn.Parameter
    d: nn.Parameter

    def _initial(self, timesteps: float, threshold: float) -> dict[str, float]:
        return {"n": math.log2(timesteps), "d": threshold / timesteps}

    def _levels(self) -> Tensor:
        return 2**self.n

    def step_and_levels(self) -> tuple[Tensor, Tensor]:
        return self.d, self._bounded(self._levels())

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        self.n.clamp_(0, _bit_width(self.max_timesteps))
        self.d.clamp_(min=MIN_THRESHOLD / 2 ** float(self.n))

    @torch.no_grad()
    def set_threshold(self, threshold: float) -> None:
        self.d.fill_(threshold / float(self.timesteps))


def _bit_width(timesteps: int | None) -> float | None:
    return None if timesteps is None else math.log2(timesteps)


class _ThresholdQuantizer(ActivationQuantizer):
    """A learned clipping level alpha, from which the step size follows (Cases 2 and 4)."""

    alpha: nn.Parameter

    @property
    def threshold(self) -> Tensor:
        return self.alpha

    def step_and_levels(self) -> tuple[Tensor, Tensor]:
        levels = self._bounded(self._levels())
        return self.alpha / levels, levels

    @torch.no_grad()
    def set_threshold(self, threshold: float) -> None:
        self.alpha.fill_(threshold)


class BitWidthThresholdQuantizer(_ThresholdQuantizer):
    """Case 2, theta = [n, alpha] (Eq. 8): learns the bit width and the clipping level."""

    timestep_parameter = "n"
    n: nn.Parameter

    def _initial(self, timesteps: float, threshold: float) -> dict[str, float]:
        return {"n": math.log2(timesteps), "alpha": threshold}

    def _levels(self) -> Tensor:
        return 2**self.n

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        self.n.clamp_(0, _bit_width(self.max_timesteps))
        self.alpha.clamp_(min=MIN_THRESHOLD)


class StepThresholdQuantizer(ActivationQuantizer):
    """Case 3, theta = [d, alpha] (Eq. 9): learns the step size and the clipping level.

    Nothing in Eq. 9 keeps ``T = alpha / d`` finite. A smaller step rounds less, so training shrinks d without
    end. Near 0 a single optimizer step changes T a thousandfold or makes d negative, which is the INF of the
    paper. ``clamp_parameters`` therefore keeps d at or above ``alpha / max_timesteps``. With
    ``max_timesteps=None`` the case behaves as printed, and conversion refuses networks whose T diverged.
    """

    timestep_parameter = "d"
    d: nn.Parameter
    alpha: nn.Parameter

    def _initial(self, timesteps: float, threshold: float) -> dict[str, float]:
        return {"d": threshold / timesteps, "alpha": threshold}

    def _levels(self) -> Tensor:
        return self.alpha / self.d

    def step_and_levels(self) -> tuple[Tensor, Tensor]:
        return self.d, self._bounded(self._levels())

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        self.alpha.clamp_(min=MIN_THRESHOLD)
        if self.max_timesteps is not None:
            self.d.clamp_(self.alpha / self.max_timesteps, self.alpha)

    @torch.no_grad()
    def set_threshold(self, threshold: float) -> None:
        self.d.mul_(threshold / self.alpha)
        self.alpha.fill_(threshold)


class TimestepQuantizer(_ThresholdQuantizer):
    """Case 4, theta = [t, alpha] (Eq. 10): learns T itself and the clipping level."""

    timestep_parameter = "t"
    t: nn.Parameter

    def _initial(self, timesteps: float, threshold: float) -> dict[str, float]:
        return {"t": timesteps, "alpha": threshold}

    def _levels(self) -> Tensor:
        return self.t

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        self.t.clamp_(1, self.max_timesteps)
        self.alpha.clamp_(min=MIN_THRESHOLD)


class FixedTimestepQuantizer(TimestepQuantizer):
    """Case 4 with a fixed T: the activation of QCFS with L = T levels (Bu et al., 2022)."""

    def __init__(self, timesteps: int = 4, threshold: float = 2.0) -> None:
        super().__init__(timesteps, timesteps, threshold)
        self.t.requires_grad_(False)


class SlipRelu(FixedTimestepQuantizer):
    """``slope * clip(x, 0, alpha) + (1 - slope) * Q(x)``: SlipReLU (Jiang et al., 2023, Eq. 10)."""

    def __init__(self, timesteps: int = 4, threshold: float = 2.0, slope: float = 0.5) -> None:
        super().__init__(timesteps, threshold)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        clipped = torch.minimum(torch.relu(x), self.alpha)
        return self.slope * clipped + (1 - self.slope) * super().forward(x)


QUANTIZER_CASES: dict[int, Callable[..., ActivationQuantizer]] = {
    1: BitWidthStepQuantizer,
    2: BitWidthThresholdQuantizer,
    3: StepThresholdQuantizer,
    4: TimestepQuantizer,
}


def quantizers(module: nn.Module) -> dict[str, ActivationQuantizer]:
    """All quantizers of a network by name, in the order of their definition."""
    return {n: m for n, m in module.named_modules() if isinstance(m, ActivationQuantizer)}
