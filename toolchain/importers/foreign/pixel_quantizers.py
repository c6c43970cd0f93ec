"""Quantizers of pixels, which are integers already: most do nothing but scale them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.imported_quantizers import imported_quantizer
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
        rounding: from values in steps to levels, before the zero point is added.
        rounds_down: neurons, which round half up, then get half a step less.
    """

    step: Tensor
    zero_point: Tensor
    factor: Tensor | None
    offset: Tensor | None

    def __init__(
        self,
        step: Tensor,
        zero_point: Tensor,
        low: int,
        high: int,
        *,
        rounding: Callable[[Tensor], Tensor] = torch.round,
        rounds_down: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("step", step.to(torch.float64))
        self.register_buffer("zero_point", zero_point.to(torch.float64))
        self.register_buffer("factor", None)
        self.register_buffer("offset", None)
        self.low, self.high = low, high
        self.rounding, self.rounds_down = rounding, rounds_down

    def forward(self, x: Tensor) -> Tensor:
        if self.factor is None or self.offset is None:
            return self.quantized(x)
        return x * self.factor + self.offset

    def levels(self, x: Tensor) -> Tensor:
        return (self.rounding(x / self.step) + self.zero_point).clamp(self.low, self.high)

    def quantized(self, x: Tensor) -> Tensor:
        return (self.levels(x) - self.zero_point) * self.step


class LevelPopulation(nn.Module):
    """A quantizer of ours for levels that may stand for negative values.

    Its spike counts are the levels above the lowest. What is added to make them so is subtracted again behind
    the quantizer.

    Args:
        step: size of a level; a scalar, or a tensor that broadcasts to one sample.
        above: count of the value 0, likewise.
        rounds_down: as in ``PixelQuantizer``.
        timesteps: T, the highest level above the lowest.
    """

    step: Tensor
    above: Tensor
    before: Tensor

    def __init__(self, step: Tensor, above: Tensor, rounds_down: bool, timesteps: int) -> None:
        super().__init__()
        self.register_buffer("step", step)
        self.register_buffer("above", above)
        self.register_buffer("before", above - 0.5 * rounds_down)
        self.counts = imported_quantizer(1.0, timesteps)

    def forward(self, x: Tensor) -> Tensor:
        counts: Tensor = self.counts(x / self.step + self.before)
        return (counts - self.above) * self.step

    def counts_of(self, values: np.ndarray) -> np.ndarray:
        """The counts that stand for values, with the batch first."""
        counts: np.ndarray = values / self.step.numpy() + self.above.numpy()
        return counts

    def values_of(self, counts: np.ndarray) -> np.ndarray:
        """The values that counts stand for, with the batch first."""
        values: np.ndarray = (counts - self.above.numpy()) * self.step.numpy()
        return values


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
    quantizer that rounds several levels to one, or clips some, becomes a population: one of ours if its
    lowest result is 0, else a ``LevelPopulation``.

    Args:
        mean, std: of the normalization of the network's input, per channel.

    Returns:
        One line for each quantizer: what it became.

    Raises:
        UnsupportedNetworkError: naming the quantizer whose rounding is not that of neurons.
    """
    found = {n: q for n, q in module.named_modules() if isinstance(q, PixelQuantizer)}
    return tuple(
        _fit(module, name, quantizer, _Pixels(input_shape, max_value, mean, std))
        for name, quantizer in found.items()
    )


def _fit(module: nn.Module, name: str, quantizer: PixelQuantizer, pixels: _Pixels) -> str:
    """Fit one quantizer; return what it became."""
    quantizer.factor = quantizer.offset = None
    (given,) = _inputs_of(module, quantizer, pixels, (0, pixels.max_value))
    first, last = given
    results = quantizer.quantized(given)
    factor = (results[1] - results[0]) / torch.where(first == last, 1.0, last - first)
    offset = results[0] - factor * first
    slack = _EXACT * (float(results.abs().max()) + float(quantizer.step.max()))
    is_even, lowest, highest = True, quantizer.high, quantizer.low
    for part in _inputs_of(module, quantizer, pixels, range(pixels.max_value + 1)):
        difference = quantizer.quantized(part) - (part * factor + offset)
        is_even = is_even and float(difference.abs().max()) <= slack
        levels = quantizer.levels(part)
        lowest, highest = min(lowest, int(levels.min())), max(highest, int(levels.max()))
    if is_even:
        quantizer.factor, quantizer.offset = _smallest(factor), _smallest(offset)
        return (
            f"{name}: the quantizer of the input gives evenly spaced levels for the pixels 0 to "
            f"{pixels.max_value}, so it became a factor of {float(factor.mean()):.6g}"
        )
    timesteps, above = highest - lowest, quantizer.zero_point - lowest
    population: nn.Module
    if quantizer.step.numel() == 1 and not quantizer.rounds_down and bool((above == 0).all()):
        population = imported_quantizer(float(quantizer.step), timesteps)
        words = f"so it became a population with T = {timesteps}"
        remedy = "calibrate it on the whole range of pixels"
    else:
        population = LevelPopulation(quantizer.step, above, quantizer.rounds_down, timesteps)
        words = (
            f"so it became a population with T = {timesteps}, whose counts are the levels above the lowest; "
            f"an offset makes up for that"
        )
        remedy = f"quantize pixels that are not normalized, with the step 1 / {pixels.max_value}"
    for part in _inputs_of(module, quantizer, pixels, range(pixels.max_value + 1)):
        if not _differ_by_ties(quantizer, part, population(part)):
            raise UnsupportedNetworkError(
                f"{name}: this quantizer of the network's input does not give evenly spaced levels for the "
                f"pixels 0 to {pixels.max_value}, and does not round as neurons do. There are two ways out: "
                f"leave the input without a quantizer when the network is quantized (pixels are integers "
                f"already), or let it round to the nearest level"
            )
    parent, _, last_name = name.rpartition(".")
    module.get_submodule(parent).register_module(last_name, population)
    return (
        f"{name}: the quantizer of the input does not give evenly spaced levels for the pixels 0 to "
        f"{pixels.max_value}, {words}; {remedy}, or leave the input without a quantizer, to do without its "
        f"neurons"
    )


def _differ_by_ties(quantizer: PixelQuantizer, given: Tensor, results: Tensor) -> bool:
    """Whether results differ from a quantizer's by one step at most, and between two levels alone."""
    steps = ((results - quantizer.quantized(given)) / quantizer.step).abs()
    position = given / quantizer.step + 0.5 * (not quantizer.rounds_down)
    tied = (position - position.round()).abs() <= _EXACT * (1 + position.abs())
    return bool((steps <= _EXACT * (1 + position.abs()) + tied).all())


@dataclass(frozen=True)
class _Pixels:
    """The pixels that a network is given, and their normalization, if there is one."""

    shape: Shape
    max_value: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


class _Enough(Exception):
    """The values that are asked for are known."""


def _inputs_of(
    module: nn.Module,
    quantizer: PixelQuantizer,
    pixels: _Pixels,
    levels: Sequence[int],
) -> Iterator[Tensor]:
    """What a quantizer is given for images of one pixel level each, in batches."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        caught.append(args[0].to(torch.float64))
        raise _Enough

    size = max(2, _VALUES_PER_BATCH // int(np.prod(pixels.shape)))
    handle = quantizer.register_forward_pre_hook(catch)
    try:
        for start in range(0, len(levels), size):
            part = torch.tensor(list(levels[start : start + size]), dtype=torch.float64)
            images = (part / pixels.max_value).reshape(-1, 1, 1, 1).expand(-1, *pixels.shape)
            if pixels.mean is not None and pixels.std is not None:
                images = (images - _per_channel(pixels.mean)) / _per_channel(pixels.std)
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
