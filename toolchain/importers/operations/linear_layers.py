"""Convolutions, matrix products and batch norm."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.network_builder import NetworkBuilder, PendingMaximum, Value
from toolchain.importers.operations.arguments import (
    Arguments,
    array_of,
    as_rank,
    constant_of,
    extended,
    first_of,
    pair_of,
    view_of,
)
from toolchain.importers.operations.sums import plus
from toolchain.importers.tensor_views import BATCH, TensorView
from toolchain.networks.linear_maps import Convolution, Dense, Pair


def convolution(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    """conv1d and conv2d, with numbers or a name for the padding."""
    view, weight = view_of(a["input"]), array_of(a["weight"])
    is_1d = weight.ndim == 3
    value = view.feature_map()
    if is_1d:
        weight = weight[:, :, None]
    stride, dilation = (pair_of(a[name], is_1d, 1) for name in ("stride", "dilation"))
    padding: Any = a["padding"]
    if isinstance(padding, str):
        value, before = _padded_same(value, padding, weight, dilation)
    else:
        before = pair_of(padding, is_1d, 0)
    convolution = Convolution(
        weight=weight, stride=stride, padding=before, dilation=dilation, groups=a["groups"]
    )
    return _with_bias(value.convolved(convolution), a["bias"], view)


def _padded_same(
    value: LinearExpression, padding: str, weight: np.ndarray, dilation: Pair
) -> tuple[LinearExpression, Pair]:
    if padding == "valid":
        return value, (0, 0)
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    before = total[0] // 2, total[1] // 2
    after = [t - 2 * b for t, b in zip(total, before, strict=True)]
    return extended(value, after), before


def transposed_convolution(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    """Zeros between the elements, then a convolution with the mirrored kernel."""
    view, weight, groups = view_of(a["input"]), array_of(a["weight"]), a["groups"]
    value = view.feature_map()
    is_1d = weight.ndim == 3
    if is_1d:
        weight = weight[:, :, None]
    stride, dilation = (pair_of(a[name], is_1d, 1) for name in ("stride", "dilation"))
    padding, extra = (pair_of(a[name], is_1d, 0) for name in ("padding", "output_padding"))
    axes = []
    for axis in (0, 1):
        size = value.shape[1 + axis]
        # zeros around the spread elements, negative to cut them off; the convolution itself does not pad
        margin = dilation[axis] * (weight.shape[2 + axis] - 1) - padding[axis]
        spread = np.full((size - 1) * stride[axis] + 1, -1)
        spread[:: stride[axis]] = np.arange(size)
        axes.append(_with_margins(spread, margin, margin + extra[axis]))
    spread_out = value.selected(np.arange(value.shape[0]), *axes)
    inputs, outputs = weight.shape[:2]
    by_group = weight.reshape(groups, inputs // groups, outputs, *weight.shape[2:])
    mirrored = by_group.swapaxes(1, 2).reshape(-1, inputs // groups, *weight.shape[2:])
    convolution = Convolution(
        weight=mirrored[:, :, ::-1, ::-1].copy(), dilation=dilation, groups=groups
    )
    return _with_bias(spread_out.convolved(convolution), a["bias"], view)


def _with_margins(indices: np.ndarray, before: int, after: int) -> np.ndarray:
    wide = np.pad(indices, (max(before, 0), max(after, 0)), constant_values=-1)
    return wide[max(-before, 0) : len(wide) - max(-after, 0)]


def _with_bias(value: LinearExpression, bias: Tensor | None, like: TensorView) -> TensorView:
    """A result with its bias, in as many axes as the tensor that it was computed from."""
    if bias is not None:
        value = value.shifted(array_of(bias))
    return as_rank(value, len(like.shape))


def linear(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return matrix_product(view_of(a["input"]), array_of(a["weight"]), a["bias"])


def addmm(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    if a["beta"] != 1 or a["alpha"] != 1 or isinstance(a["self"], TensorView):
        raise UnsupportedNetworkError(
            "a matrix product that is scaled or added to a value is not read; write it as Linear"
        )
    weight = array_of(constant_of(a["mat2"]))
    return plus(matrix_product(view_of(a["mat1"]), weight.T, None), a["self"])


def matmul(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    first = a.get("self", a.get("input"))
    second = a.get("mat2", a.get("other"))
    if not isinstance(first, TensorView) or not isinstance(second, Tensor) or second.ndim != 2:
        raise UnsupportedNetworkError(
            "a product of two values of the network, or with a constant on the left, is not linear in one of "
            "them; use Linear"
        )
    return matrix_product(first, array_of(second).T, None)


def matrix_product(view: TensorView, weight: np.ndarray, bias: Tensor | None) -> TensorView:
    """``x @ weight.T + bias`` along the last axis."""
    shift = None if bias is None else array_of(bias)
    if len(view.shape) != 1:  # a 1x1 convolution with the last axis as channels
        rest = view.shape[:-1]
        channels_first = view.numbers.movedim(-1, 1).reshape(BATCH, view.shape[-1], *_plane(view))
        value = view.moved(channels_first).feature_map()
        value = value.convolved(Convolution(weight=weight[:, :, None, None]))
        value = value if shift is None else value.shifted(shift)
        result = TensorView.of_expression(value, (len(weight), *rest))
        return result.moved(result.numbers.movedim(1, -1))
    if (whole := view.natural_order()) is not None:
        value = whole.dense(Dense(weight=weight))
    else:
        products = []
        for part, indices in view.part_indices():
            own = np.zeros((prod(part.shape), len(weight)))
            np.add.at(own, indices[indices >= 0], weight.T[indices >= 0])
            products.append(part.dense(Dense(weight=np.ascontiguousarray(own.T))))
        value = products[0]
        for product in products[1:]:
            value = value.plus(product)
    return as_rank(value if shift is None else value.shifted(shift), 1)


def _plane(view: TensorView) -> tuple[int, int]:
    """Height and width for all axes but the last: those of the feature map that is read, if they fit."""
    rest = view.shape[:-1]
    planes = [part.shape[1:] for part, _ in view.part_indices()]
    if len(rest) != 2 and planes and prod(planes[0]) == prod(rest):
        return planes[0]
    return (rest[0], rest[1]) if len(rest) == 2 else (1, prod(rest))


def batch_norm(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    if a.get("running_mean") is None or a.get("running_var") is None or a.get("training"):
        raise UnsupportedNetworkError(
            "batch norm must track running statistics; train with track_running_stats=True"
        )
    scale = 1 / np.sqrt(array_of(a["running_var"]) + a["eps"])
    shift = -array_of(a["running_mean"]) * scale
    if a["weight"] is not None:
        scale, shift = scale * array_of(a["weight"]), shift * array_of(a["weight"])
    if a["bias"] is not None:
        shift = shift + array_of(a["bias"])
    given = a["input"]
    if isinstance(given, PendingMaximum):
        return first_of(node, _scaled_maximum(given, scale, shift))
    value = given.feature_map().scaled(scale).shifted(shift)
    return first_of(node, as_rank(value, len(given.shape)))


def _scaled_maximum(pending: PendingMaximum, scale: np.ndarray, shift: np.ndarray) -> Value:
    """Batch norm behind a max pool, in front of it: equal if no scale is negative."""
    if (scale < 0).any():
        raise UnsupportedNetworkError(
            f"{pending.name}: a max pool in front of a batch norm with negative weights is a min pool; put "
            f"the batch norm before the pool"
        )
    return PendingMaximum(pending.value.scaled(scale).shifted(shift), pending.window, pending.name)
