"""Average pooling, means and sums over axes, and linear resampling."""

from __future__ import annotations

from fractions import Fraction
from math import lcm, prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.network_builder import NetworkBuilder, Value
from toolchain.importers.operations.arguments import (
    Arguments,
    as_rank,
    operation_name,
    pair_of,
    view_of,
)
from toolchain.importers.operations.linear_layers import matrix_product
from toolchain.importers.tensor_views import BATCH, TensorView
from toolchain.networks.linear_maps import Resample, window_positions, window_taps

MAX_DIVISOR = 2**12


def average_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = view_of(a["self"])
    value = view.feature_map()
    is_1d = operation_name(node) == "avg_pool1d"
    kernel = pair_of(a["kernel_size"], is_1d, 1)
    stride = pair_of(a["stride"] or a["kernel_size"], is_1d, 1)
    padding = pair_of(a["padding"], is_1d, 0)
    matrices = [
        F.avg_pool1d(_unit_vectors(size), k, s, p, a["ceil_mode"], a["count_include_pad"])
        for size, k, s, p in zip(value.shape[1:], kernel, stride, padding, strict=True)
    ]
    divisor = a.get("divisor_override")
    if all(
        window_positions(size, k, s, p) == m.shape[2]
        and np.array_equal(m[:, 0].T, window_taps(size, k, s, p).sum(axis=0) / k)
        for m, size, k, s, p in zip(matrices, value.shape[1:], kernel, stride, padding, strict=True)
    ):
        value = value.pooled(kernel, stride, padding)
    elif divisor is None:
        value = _resampled(value, *matrices)
    else:  # a divisor of its own replaces those of the windows
        value = _resampled(
            value, *((m != 0).to(torch.float64) / k for m, k in zip(matrices, kernel, strict=True))
        )
    return as_rank(
        value if divisor is None else value.scaled(prod(kernel) / divisor), len(view.shape)
    )


def adaptive_average_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = view_of(a["self"])
    value = view.feature_map()
    shape = tuple(node.meta["val"].shape[1:])
    if len(shape) == 2:
        shape = (shape[0], 1, shape[1])
    return as_rank(_pooled_to(value, shape[1:]), len(view.shape))


def _pooled_to(value: LinearExpression, size: tuple[int, ...]) -> LinearExpression:
    height, width = value.shape[1:]
    if (height, width) == size:
        return value
    if height % size[0] == 0 and width % size[1] == 0:
        kernel = height // size[0], width // size[1]
        return value.pooled(kernel, kernel)
    matrices = (
        F.adaptive_avg_pool1d(_unit_vectors(source), target)
        for source, target in zip((height, width), size, strict=True)
    )
    return _resampled(value, *matrices)


def mean(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _reduced(node, view_of(a["self"]), a.get("dim"), mean=True)


def summed(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _reduced(node, view_of(a["self"]), a.get("dim"), mean=False)


def _reduced(node: fx.Node, view: TensorView, dim: Any, *, mean: bool) -> TensorView:
    """Mean or sum over axes, as a product with a row of equal weights along one axis that holds them all."""
    rank = view.numbers.ndim
    axes = sorted(
        {(d + rank) % rank for d in ([dim] if isinstance(dim, int) else dim or range(rank))}
    )
    if 0 in axes:
        raise UnsupportedNetworkError(
            f"'{operation_name(node)}' over the batch mixes samples; reduce over other axes"
        )
    shape = tuple(node.meta["val"].shape[1:])
    if rank in (3, 4) and 1 not in axes:  # a pool along rows, columns, or both
        value = view.feature_map()
        size = [value.shape[1], value.shape[2]]
        for axis in axes:
            size[axis - rank + 2] = 1
        count = prod(value.shape[1:]) // prod(size)
        value = _pooled_to(value, tuple(size)).scaled(1.0 if mean else float(count))
        return TensorView.of_expression(value, shape)
    kept = [d for d in range(rank) if d not in axes]
    count = prod(view.numbers.shape[d] for d in axes)
    numbers = view.numbers.permute(*kept, *axes)
    flat = view.moved(numbers.reshape(*numbers.shape[: len(kept)], count))
    weight = np.full((1, count), 1 / count if mean else 1.0)
    result = matrix_product(flat, weight, None)
    return result.moved(result.numbers.reshape(BATCH, *shape))


def upsample_linear(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = view_of(a["input"])
    value = view.feature_map()
    is_1d = operation_name(node) == "upsample_linear1d"
    sizes = [1, *a["output_size"]] if is_1d and a["output_size"] else a["output_size"]
    factors = [1.0, *a["scale_factors"]] if is_1d and a["scale_factors"] else a["scale_factors"]
    matrices = []
    for axis in (0, 1):
        if is_1d and axis == 0:
            matrices.append(_unit_vectors(1))
            continue
        size = None if sizes is None else [sizes[axis]]
        factor = None if factors is None else [factors[axis]]
        matrices.append(
            torch.ops.aten.upsample_linear1d.vec(
                _unit_vectors(value.shape[1 + axis]), size, a["align_corners"], factor
            )
        )
    return as_rank(_resampled(value, *matrices), len(view.shape))


def _unit_vectors(size: int) -> Tensor:
    """One sample per element, ``(size, 1, size)``."""
    return torch.eye(size, dtype=torch.float64)[:, None]


def _resampled(value: LinearExpression, rows: Tensor, columns: Tensor) -> LinearExpression:
    """Rows and columns weighted by matrices ``(sources, 1, targets)`` of rational numbers."""
    matrices, divisor = [], 1
    for weights in (rows, columns):
        integers, own = _as_integers(weights[:, 0].numpy().T)
        matrices.append(integers)
        divisor *= own
    return value.unweighted(Resample(rows=matrices[0], columns=matrices[1], divisor=divisor))


def _as_integers(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Non-negative integers and a divisor."""
    divisor = 1
    for value in np.unique(weights):
        divisor = lcm(divisor, Fraction(float(value)).limit_denominator(MAX_DIVISOR).denominator)
        if divisor > MAX_DIVISOR:
            break
    integers = np.round(weights * divisor)
    if (
        divisor > MAX_DIVISOR
        or np.abs(integers - weights * divisor).max() > 1e-9
        or integers.min() < 0
    ):
        raise UnsupportedNetworkError(
            f"this resampling has weights that are no multiples of 1/n for an n up to {MAX_DIVISOR:,}; "
            f"resample by whole factors, or to sizes that divide each other"
        )
    return integers.astype(np.int64), divisor
