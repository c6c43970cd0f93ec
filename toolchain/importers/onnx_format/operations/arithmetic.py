"""Element-wise operations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.onnx_format.operations.geometry import axis_of
from toolchain.importers.onnx_format.operations.layers import FunctionModule, WithConstant
from toolchain.importers.onnx_format.values import Call, Facts, Live, Static, as_scalar

Build = Callable[[Call], "nn.Module | None"]


def _divide(first: Tensor, second: Tensor) -> Tensor:
    if first.is_floating_point() or second.is_floating_point():
        return first / second
    return torch.div(first, second, rounding_mode="trunc")


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Build:
    """An operation on two tensors, one of which may be a constant."""

    def build(call: Call) -> nn.Module:
        first, second = call.input(0), call.input(1)
        if isinstance(first, Live) and isinstance(second, Live):
            return FunctionModule(function)
        if isinstance(first, Live):
            return WithConstant(function, call.required(1), index=1)
        return WithConstant(function, call.required(0), index=0)

    return build


add, subtract, multiply = (binary(f) for f in (operator.add, operator.sub, operator.mul))
divide = binary(_divide)


def total(call: Call) -> nn.Module:
    """A sum of any number of tensors."""
    constants = [
        None if isinstance(v, Live) else call.required(i) for i, v in enumerate(call.inputs)
    ]
    return _Sum(constants)


class _Sum(nn.Module):
    def __init__(self, constants: list[np.ndarray | None]) -> None:
        super().__init__()
        stored = [c for c in constants if c is not None]
        self.num_constants = len(stored)
        for index, constant in enumerate(stored):
            self.register_buffer(f"constant{index}", torch.from_numpy(constant.astype(np.float64)))

    def forward(self, *values: Tensor) -> Tensor:
        result = values[0]
        for value in values[1:]:
            result = result + value
        for index in range(self.num_constants):
            result = result + self.get_buffer(f"constant{index}")
        return result


def clip_bounds(call: Call) -> tuple[float, float]:
    """Lower and upper bound of ``Clip``, which were attributes before opset 11."""
    if call.opset < 11:
        return call.number("min", -inf), call.number("max", inf)
    bounds = [call.static(index) for index in (1, 2)]
    low = -inf if bounds[0] is None else as_scalar(bounds[0])
    high = inf if bounds[1] is None else as_scalar(bounds[1])
    return low, high


def clamp_of(low: float, high: float) -> nn.Module:
    """The module of PyTorch for a clip."""
    if (low, high) == (0.0, inf):
        return nn.ReLU()
    if (low, high) == (0.0, 6.0):
        return nn.ReLU6()
    if low < high < inf and low > -inf:
        return nn.Hardtanh(low, high)
    return _Clamp(low, high)


class _Clamp(nn.Module):
    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low = None if low == -inf else low
        self.high = None if high == inf else high

    def forward(self, x: Tensor) -> Tensor:
        return x if self.low is None and self.high is None else x.clamp(self.low, self.high)


def softmax_of(of_class: type[nn.Softmax] | type[nn.LogSoftmax]) -> Build:
    def build(call: Call) -> nn.Module:
        rank = len(call.live().shape)
        axis = axis_of(call.integer("axis", 1 if call.opset < 13 else -1), rank)
        if call.opset < 13 and axis != rank - 1:
            raise UnsupportedNetworkError(
                "a softmax over several axes has no spiking form; leave it out"
            )
        return of_class(axis)

    return build


def facts_after(call: Call, given: list[Facts]) -> Facts:
    """What is known of the result of an operation on values of which something is known."""
    operation, lows = call.node.operation, [facts.low for facts in given]
    constants = [v.arrays[0] for v in call.inputs if isinstance(v, Static)]
    numbers: Any = [c for c in constants if c.dtype.kind in "iuf" and c.size]
    positive = all(low >= 0 for low in lows) and all(bool((c >= 0).all()) for c in numbers)
    if operation in _KEEP_SIGN and positive:
        return Facts(low=0.0)
    return Facts()


_KEEP_SIGN = frozenset({"Add", "Sum", "Mul", "Div", "ReduceSum"})
