"""Quantizers of pixels, which are integers already: most do nothing but scale them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.imported_quantizers import imported_quantizer
from toolchain.networks.linear_maps import Shape

_VALUES_PER_BATCH = 2**22
_EXACT = 1e-9
"""Share of the range: what rounding in float64 may change."""


class PixelQuantizer(nn.Module):
    """A quantizer of a network's input, as its format computes it.

    ``fit_pixel_quantizers`` replaces that for the pixels that a network is given.

    Args:
        step: size of a level; a scalar, or a tensor that broadcasts to one sample.
        zero_point: the level of the value 0, likewise.
        low: lowest level.
        high: highest level.
    """

    step: Tensor
    zero_point: Tensor
    factor: Tensor | None
    offset: Tensor | None

    def __init__(self, step: Tensor, zero_point: Tensor, low: int, high: int) -> None:
        super().__init__()
        self.register_buffer("step", step.to(torch.float64))
        self.register_buffer("zero_point", zero_point.to(torch.float64))
        self.register_buffer("factor", None)
        self.register_buffer("offset", None)
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        if self.factor is None or self.offset is None:
            return self.quantized(x)
        return x * self.factor + self.offset

    def quantized(self, x: Tensor) -> Tensor:
        levels = (torch.round(x / self.step) + self.zero_point).clamp(self.low, self.high)
        return (levels - self.zero_point) * self.step


def fit_pixel_quantizers(
    module: nn.Module,
    input_shape: Shape,
    max_value: int,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> tuple[str, ...]:
    """Make each quantizer of pixels a factor and an offset, if that is what it does to every pixel level.

    It is decided by computing it for all pixel levels from 0 to ``max_value``. An 8-bit grid of the range 0
    to 1, for example, holds each of 256 pixel levels, even where its step was observed to be 0.999 / 255. A
    quantizer that rounds several levels to one, or clips some, becomes one of ours, if none of its results is
    negative.

    Args:
        mean, std: of the normalization of the network's input, per channel.

    Returns:
        One line for each quantizer: what it became.

    Raises:
        UnsupportedNetworkError: naming the quantizer whose levels are not evenly spaced over the pixels, and
            some of whose results are negative.
    """
    found = {n: q for n, q in module.named_modules() if isinstance(q, PixelQuantizer)}
    notes = []
    for name, quantizer in found.items():
        quantizer.factor = quantizer.offset = None
        (given,) = _inputs_of(module, quantizer, input_shape, (0, max_value), mean, std, max_value)
        first, last = given
        results = quantizer.quantized(given)
        factor = (results[1] - results[0]) / torch.where(first == last, 1.0, last - first)
        offset = results[0] - factor * first
        scale = float(results.abs().max()) + float(quantizer.step.max())
        parts = _inputs_of(
            module, quantizer, input_shape, range(max_value + 1), mean, std, max_value
        )
        if all(
            float((quantizer.quantized(part) - (part * factor + offset)).abs().max())
            <= _EXACT * scale
            for part in parts
        ):
            quantizer.factor, quantizer.offset = _smallest(factor), _smallest(offset)
            notes.append(
                f"{name}: the quantizer of the input gives evenly spaced levels for the pixels 0 to "
                f"{max_value}, so it became a factor of {float(factor.mean()):.6g}"
            )
        elif quantizer.step.numel() == 1 and _starts_at_zero(quantizer, given):
            levels = quantizer.high - int(quantizer.zero_point)
            parent, _, last_name = name.rpartition(".")
            module.get_submodule(parent).register_module(
                last_name, imported_quantizer(float(quantizer.step), levels)
            )
            notes.append(
                f"{name}: the quantizer of the input does not give evenly spaced levels for the pixels 0 to "
                f"{max_value}, so it became a population with T = {levels}; calibrate it on the whole range "
                f"of pixels, or leave the input without a quantizer, to do without its neurons"
            )
        else:
            raise UnsupportedNetworkError(
                f"{name}: this quantizer of the network's input does not give evenly spaced levels for the "
                f"pixels 0 to {max_value}, and some are negative. There are two ways out: leave "
                f"the input without a quantizer when the network is quantized (pixels are integers already), "
                f"or quantize pixels that are not normalized, with the step 1 / {max_value}"
            )
    return tuple(notes)


def _starts_at_zero(quantizer: PixelQuantizer, given: Tensor) -> bool:
    """Whether no result is negative, for values between those of the lowest and the highest pixel."""
    zero = float(quantizer.zero_point)
    return zero == quantizer.low or (zero > quantizer.low and float(given.min()) >= 0)


class _Enough(Exception):
    """The values that are asked for are known."""


def _inputs_of(
    module: nn.Module,
    quantizer: PixelQuantizer,
    input_shape: Shape,
    levels: Any,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    max_value: int,
) -> Iterator[Tensor]:
    """What a quantizer is given for images of one pixel level each, in batches."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        caught.append(args[0].to(torch.float64))
        raise _Enough

    size = max(2, _VALUES_PER_BATCH // int(np.prod(input_shape)))
    handle = quantizer.register_forward_pre_hook(catch)
    try:
        for start in range(0, len(levels), size):
            part = torch.tensor(list(levels[start : start + size]), dtype=torch.float64)
            images = (part / max_value).reshape(-1, 1, 1, 1).expand(-1, *input_shape)
            if mean is not None and std is not None:
                images = (images - _per_channel(mean)) / _per_channel(std)
            try:
                with torch.no_grad():
                    module(images)
            except _Enough:
                yield caught.pop()
            else:
                raise UnsupportedNetworkError(
                    "the network does not call the quantizer of its input; remove it from the network"
                )
    finally:
        handle.remove()


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def _smallest(values: Tensor) -> Tensor:
    """The same values of one sample, in a tensor without axes or with one value per channel where it does."""
    if torch.equal(values, values.flatten()[0].expand_as(values)):
        return values.flatten()[0].clone()
    ends = (slice(None), *(slice(1) for _ in values.shape[1:]))
    if torch.equal(values, values[ends].expand_as(values)):
        return values[ends].clone()
    return values
