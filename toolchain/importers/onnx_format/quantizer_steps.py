"""Quantizers of a file as steps of the module: ours, with what must be before and behind them.

``QuantizeLinear`` alone says less than its quantizer is: a clip of the integers may follow. So it is kept
open until something reads its integers other than by a clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.imported_quantizers import imported_quantizer
from toolchain.importers.foreign.pixel_quantizers import PixelQuantizer
from toolchain.importers.onnx_format.model_file import Node
from toolchain.importers.onnx_format.network import Observed, ReadGraph
from toolchain.importers.onnx_format.operations.layers import WithConstant
from toolchain.importers.onnx_format.quantization import (
    DOWNWARDS,
    ROUNDINGS,
    Codes,
    counts_at,
    is_qonnx,
)
from toolchain.importers.onnx_format.values import GRID_TOLERANCE, Facts, Grid, Live


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """Bounds of a clip, in integers where integers are clipped."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenQuantizer(Live):
    """Integers of a quantizer that is no step of the module yet."""

    source: Live
    node: Node
    tensor: str
    codes: Codes
    clipped: bool = False


class QuantizerError(UnsupportedNetworkError):
    """A quantizer that cannot be taken, which is found where it is read.

    Attributes:
        node: name of its own node.
    """

    def __init__(self, message: str, node: str) -> None:
        super().__init__(message)
        self.node = node


def levels_of(codes: Codes, facts: Facts) -> int:
    """T of a quantizer whose values start at 0.

    Args:
        facts: of what it quantizes.

    Raises:
        UnsupportedNetworkError: its values start elsewhere; says what to do.
    """
    zero = codes.zero()
    low, high = codes.low - zero, codes.high - zero
    scale = codes.scale.reshape(-1)[0]
    if low < 0 and facts.low < 0:
        raise UnsupportedNetworkError(
            f"it quantizes to values from {low * scale:.3g} to {high * scale:.3g}, and spikes cannot be "
            f"negative; put a ReLU in front of this quantizer and train again (its range then starts at 0), "
            f"or remove this quantizer (between two populations values stay real, and only spiking "
            f"populations need one)"
        )
    if low > 0:
        raise UnsupportedNetworkError(
            f"its smallest value is {low * scale:.3g}, and spike counts start at 0; use a zero point that is "
            f"the smallest integer"
        )
    if facts.high < inf and len(counts := np.unique(counts_at(codes, facts.high))) == 1:
        high = min(high, int(counts[0]))
    if codes.rounding in ("CEIL", "UP"):
        raise UnsupportedNetworkError(
            f"it rounds with {codes.rounding}; soft-reset neurons round to the nearest integer or down: use "
            f"ROUND, HALF_UP or FLOOR"
        )
    if high < 1:
        raise UnsupportedNetworkError(
            "it gives one value for every input; check its scale, zero point and bit width"
        )
    return int(high)


class QuantizerSteps:
    """Adds the quantizers of a file to the module that is read."""

    def __init__(self, result: ReadGraph) -> None:
        self.result = result
        self.made: dict[tuple[str, str], Live] = {}
        self.names: dict[tuple[str, str], str] = {}

    def quantize(self, source: Live, codes: Codes, node: Node) -> OpenQuantizer:
        """The integers of a quantizer, as an open one."""
        if source.codes is not None:
            raise UnsupportedNetworkError("it quantizes integers; dequantize them first")
        tensor = node.outputs[0]
        return OpenQuantizer(
            name=tensor, shapes=source.shapes, source=source, node=node, tensor=tensor, codes=codes
        )

    def narrowed(self, value: Live, clip: Clipped, tensor: str) -> Live:
        """The integers of a quantizer behind a clip, which are a tensor of the file."""
        if not isinstance(value, OpenQuantizer):
            raise UnsupportedNetworkError(
                "it clips integers that were moved; put it directly behind QuantizeLinear"
            )
        codes = value.codes
        low = codes.low if clip.low == -inf else max(codes.low, int(np.ceil(clip.low)))
        high = codes.high if clip.high == inf else min(codes.high, int(np.floor(clip.high)))
        name = (
            value.name if (low, high) == (codes.low, codes.high) else f"{value.name} {low} {high}"
        )
        return replace(value, name=name, tensor=tensor, codes=replace(codes, low=low, high=high))

    def from_zero(self, value: OpenQuantizer) -> OpenQuantizer:
        """A quantizer behind a ReLU that follows it."""
        zero = value.codes.zero()
        if zero <= value.codes.low:
            return value
        codes = replace(value.codes, low=zero)
        return replace(value, name=f"{value.name} from 0", codes=codes, clipped=True)

    def up_to(self, value: OpenQuantizer, bound: float) -> OpenQuantizer:
        """A quantizer from 0 on and a clip that follows it, if that clips at one of its levels."""
        codes = value.codes
        steps = bound / codes.scale.reshape(-1)[0] if codes.is_uniform else inf
        most = codes.high - codes.zero()
        if codes.low != codes.zero() or not 1 <= steps < most or not is_multiple(steps):
            return value
        codes = replace(codes, high=codes.low + round(steps))
        return replace(value, name=f"{value.name} to {codes.high}", codes=codes, clipped=True)

    def clipped(self, value: Live, grid: Grid, bound: float, node: Node) -> Live:
        """A clip of values on a grid as one more quantizer, where other values of that grid stay.

        Raises:
            UnsupportedNetworkError: the bound is none of their levels.
        """
        if not is_multiple(bound / grid.scale):
            raise UnsupportedNetworkError(
                f"it clips values of a quantizer at {bound:g}, which is no multiple of its step "
                f"{grid.scale:g}; clip at one of its levels, or let the quantizer clip"
            )
        levels = round(bound / grid.scale)
        quantizer = imported_quantizer(grid.scale, levels)
        name = self.result.network.add(node.name, quantizer, [value.name], [node.outputs[0]])
        self.result.observed[name] = Observed(tensor=node.outputs[0])
        facts = Facts(low=0.0, high=levels * grid.scale, grid=Grid(scale=grid.scale, levels=levels))
        return Live(name=node.outputs[0], shapes=value.shapes, facts=facts)

    def settled(self, value: Live, observed: str | None = None) -> Live:
        """A value as a tensor of the module; an open quantizer becomes a step of it.

        Args:
            observed: tensor of the file that holds its real values.
        """
        if not isinstance(value, OpenQuantizer):
            return value
        key = value.source.name, value.name
        if key in self.made:
            self.result.several_tensors |= {self.names[key]} if key in self.names else set()
        else:
            try:
                self.made[key] = self._made(value, observed)
            except UnsupportedNetworkError as error:
                raise QuantizerError(str(error), value.node.name) from None
        return self.made[key]

    def _made(self, value: OpenQuantizer, observed: str | None) -> Live:
        source, codes, node = value.source, value.codes, value.node
        of_pixels, scale = source.facts.of_pixels, codes.scale.reshape(-1)
        if is_on_grid(source.facts.grid, codes):
            self.result.notes.append(
                f"{node.name}: every value that it gets is on its grid already; it was left out"
            )
            return replace(source, codes=codes)
        levels = codes.high - codes.zero() if of_pixels else levels_of(codes, source.facts)
        scales = None if codes.is_uniform else self._broadcast(codes, source)
        step = float(scale[0]) if scales is None else 1.0
        taken = source.name
        if scales is not None:
            taken = self._scaled(torch.div, scales, f"{node.name}_scale", taken)
        if codes.rounding in DOWNWARDS and not of_pixels:
            half = np.array(step / 2)  # less, since ours rounds half up
            taken = self._scaled(torch.sub, half, f"{node.name}_half", taken)
        result = f"{value.name} quantized"
        quantizer: nn.Module = (
            _of_pixels(codes, node, step) if of_pixels else imported_quantizer(step, levels)
        )
        name = self.result.network.add(node.name, quantizer, [taken], [result])
        self.names[source.name, value.name] = name
        self.result.observed[name] = Observed(
            tensor=observed or value.tensor,
            codes=None if observed else codes,
            scales=scales,
            most=levels * step if value.clipped else None,
        )
        starts_at_0 = codes.zero() <= codes.low or source.facts.low >= 0
        lowest = 0 if starts_at_0 else codes.low - codes.zero()
        grid = Grid(scale=step, levels=levels, lowest=lowest) if scales is None else None
        if scales is not None:
            result = self._scaled(torch.mul, scales, f"{node.name}_rescale", result)
        low, high = float(lowest * scale.max()), float(levels * scale.max())
        facts = Facts(low=low, high=high, grid=grid, of_pixels=of_pixels)
        return Live(name=result, shapes=source.shapes, facts=facts, codes=codes)

    def _broadcast(self, codes: Codes, source: Live) -> np.ndarray:
        """The scales in a shape that broadcasts, one for each channel."""
        scales = codes.against(len(source.shape), codes.scale)
        if np.broadcast_shapes(scales.shape, source.shape) != source.shape or (
            scales.ndim == len(source.shape) and scales.shape[0] != 1
        ):
            raise UnsupportedNetworkError(
                f"scales of shape {codes.scale.shape} do not fit values of shape {source.shape[1:]} per "
                f"sample; use one scale, or one for each channel"
            )
        return scales

    def _scaled(self, function: object, constant: np.ndarray, name: str, taken: str) -> str:
        result = f"{taken} {name}"
        self.result.network.add(name, WithConstant(function, constant, index=1), [taken], [result])
        return result


def _of_pixels(codes: Codes, node: Node, step: float) -> PixelQuantizer:
    """A quantizer of pixels as the runtime computes it; QONNX rounds after it adds the zero point."""
    rounding, zero = ROUNDINGS[codes.rounding], codes.zero()
    before = zero if is_qonnx(node) else 0
    return PixelQuantizer(
        torch.tensor(step, dtype=torch.float64),
        torch.tensor(zero),
        codes.low,
        codes.high,
        rounding=lambda x: torch.from_numpy(rounding(x.numpy() + before) - before),
        rounds_down=codes.rounding in DOWNWARDS,
    )


def is_on_grid(grid: Grid | None, codes: Codes) -> bool:
    """Whether values of a grid are values of a quantizer, which then changes none of them."""
    if grid is None or not codes.is_uniform or codes.rounding in ("CEIL", "UP"):
        return False
    ratio, zero = grid.scale / codes.scale.reshape(-1)[0], codes.zero()
    begins, ends = codes.low - zero <= grid.lowest * round(ratio), codes.high - zero
    return is_multiple(ratio) and begins and grid.levels * round(ratio) <= ends


def is_multiple(ratio: float) -> bool:
    """Whether a ratio of two numbers that were stored in float32 is a whole number from 1 on."""
    return round(ratio) >= 1 and abs(ratio - round(ratio)) <= GRID_TOLERANCE * ratio
