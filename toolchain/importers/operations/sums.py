"""Sums, and products with constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.network_builder import NetworkBuilder, PendingMaximum, Value
from toolchain.importers.operations.arguments import Arguments, as_rank, unpooled, view_of
from toolchain.importers.tensor_views import TensorView, feature_map_shape


def add(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _sum_of(a["self"], a["other"], 1, a.get("alpha", 1))


def subtract(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _sum_of(a["self"], a["other"], 1, -a.get("alpha", 1))


def subtract_from(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _sum_of(a["self"], a["other"], -a.get("alpha", 1), 1)


def negate(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _times(view_of(a["self"]), -1.0)


def multiply(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    first, second = a["self"], a["other"]
    if isinstance(first, TensorView) and isinstance(second, TensorView):
        raise UnsupportedNetworkError(
            "a product of two values of the network is not linear (attention, squeeze-and-excitation, "
            "gates); use a network without it"
        )
    return (
        _times(first, second) if isinstance(first, TensorView) else _times(view_of(second), first)
    )


def divide(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    if a.get("rounding_mode") is not None or not isinstance(a["other"], Tensor | float | int):
        raise UnsupportedNetworkError("only division by a constant is linear; leave out this one")
    if isinstance(a["other"], Tensor):
        return _times(view_of(a["self"]), 1 / a["other"].to(torch.float64))
    return _times(view_of(a["self"]), 1 / a["other"])


def _sum_of(first: Any, second: Any, factor: float, other_factor: float) -> TensorView:
    if factor != 1:
        first = _times(first, factor) if isinstance(first, TensorView) else first * factor
    if other_factor != 1:
        second = (
            _times(second, other_factor)
            if isinstance(second, TensorView)
            else second * other_factor
        )
    return plus(first, second) if isinstance(first, TensorView) else plus(view_of(second), first)


def where(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    """A choice by a constant mask: each value is zero where the other is chosen."""
    mask = a["condition"]
    if not isinstance(mask, Tensor):
        raise UnsupportedNetworkError("a choice that depends on values is not linear; use ReLU")
    chosen = [
        value.moved(torch.where(own, value.numbers, 0.0))
        if isinstance(value, TensorView)
        else torch.where(own, value, 0.0)
        for own, value in ((mask, _settled(a["self"])), (~mask, _settled(a["other"])))
    ]
    first, second = sorted(chosen, key=lambda value: isinstance(value, Tensor))
    return plus(view_of(first), second)


def _settled(value: Any) -> Any:
    if isinstance(value, PendingMaximum):
        raise unpooled()
    return value


def plus(view: TensorView, other: TensorView | Tensor | float) -> TensorView:
    """Sum with another value or a constant, broadcast as PyTorch does."""
    if isinstance(other, TensorView):
        if _same_places(view, other):
            parts = tuple(p.plus(q) for p, q in zip(view.parts, other.parts, strict=True))
            return TensorView(parts, view.numbers)
        numbers = torch.broadcast_tensors(view.numbers, other.numbers)
        first, second = view.moved(numbers[0]), other.moved(numbers[1])
        value = first.feature_map().plus(second.feature_map())
        return as_rank(value, len(first.shape))
    view, values = _broadcast(view, other)
    if (whole := view.natural_order()) is not None:
        return TensorView(
            (whole.shifted(_per_channel_if_equal(values, whole.shape)),), view.numbers
        )
    shape = feature_map_shape(view.shape)
    value = view.feature_map().shifted(_per_channel_if_equal(values, shape))
    return as_rank(value, len(view.shape))


def _same_places(first: TensorView, second: TensorView) -> bool:
    shapes = [tuple(p.shape for p in view.parts) for view in (first, second)]
    return shapes[0] == shapes[1] and torch.equal(first.numbers, second.numbers)


def _times(view: Any, factor: Tensor | float) -> Value:
    """Product with a constant that is equal within each channel."""
    if isinstance(view, PendingMaximum):
        raise unpooled()
    if not isinstance(factor, Tensor) or factor.numel() == 1:
        number = float(factor)
        if number == 1:
            return view
        return TensorView(tuple(part.scaled(number) for part in view.parts), view.numbers)
    view, values = _broadcast(view, factor)
    whole = view.natural_order()
    value = whole if whole is not None else view.feature_map()
    factors = values.reshape(value.shape[0], -1)
    if (factors != factors[:, :1]).any():
        raise UnsupportedNetworkError(
            "a scale that differs within a channel has no synapse; use one factor per channel"
        )
    value = value.scaled(factors[:, 0])
    return (
        TensorView((value,), view.numbers) if whole is not None else as_rank(value, len(view.shape))
    )


def _broadcast(view: TensorView, constant: Tensor | float) -> tuple[TensorView, np.ndarray]:
    """A view and a constant in their common shape; the constant without the batch axis."""
    values = torch.as_tensor(constant, dtype=torch.float64)
    numbers, values = torch.broadcast_tensors(view.numbers, values)
    if len(values) > 1 and not torch.equal(values[0], values[1]):
        raise UnsupportedNetworkError(
            "the constant differs between the samples of a batch; use one for all"
        )
    return view.moved(numbers), values[0].numpy()


def _per_channel_if_equal(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    values = values.reshape(shape)
    first = values[:, :1, :1]
    return np.ascontiguousarray(first if (values == first).all() else values)
