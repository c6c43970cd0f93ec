"""What each operation of an exported program does with linear expressions.

One table: movements of elements, which PyTorch applies to the numbers of a view; linear operations; the
quantizer and max pooling; functions of the logits. Any other operation is refused by its name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import lcm, prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers import exported_program
from toolchain.importers.linear_expressions import Levels, LinearExpression
from toolchain.importers.network_builder import (
    NetworkBuilder,
    OutputFunction,
    PendingMaximum,
    Value,
)
from toolchain.importers.tensor_views import (
    BATCH,
    TensorView,
    concatenated,
    feature_map_shape,
)
from toolchain.method.quantizer_calls import MaxWindow
from toolchain.networks.layer_graph.structure import MAX_TIMESTEPS
from toolchain.networks.linear_maps import Convolution, Dense, Pair, Resample

MAX_CONSTANT = 2**27
"""Most elements of a computed tensor that does not depend on the input."""

Arguments = Mapping[str, Any]
"""Arguments of an operation by the names of its schema, defaults included."""

Operation = Callable[[NetworkBuilder, fx.Node, Arguments], Value]


def apply(
    network: NetworkBuilder, node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Value:
    """The value of an operation.

    Args:
        network: where quantizers add populations.
        args, kwargs: of the operation, with values in place of nodes.

    Raises:
        UnsupportedNetworkError: the operation has no spiking form.
    """
    if node.target is operator.getitem:
        return args[0][args[1]]
    name = operation_name(node)
    leaves = pytree.tree_leaves((args, dict(kwargs)))
    if not any(isinstance(v, TensorView | PendingMaximum | OutputFunction) for v in leaves):
        return _constant(node, args, kwargs)
    if any(isinstance(v, OutputFunction) for v in leaves):
        final = next(v for v in leaves if isinstance(v, OutputFunction))
        if name in _IDENTITIES:
            return final
        raise UnsupportedNetworkError(
            f"{final.name} has no spiking form; at the end of a network it can be left out, but '{name}' follows"
        )
    if name in _CONSTANT_LIKE:  # only the shape of the value counts
        leaves, structure = pytree.tree_flatten((args, dict(kwargs)))
        shaped = [
            torch.zeros(v.numbers.shape, dtype=torch.float64) if isinstance(v, TensorView) else v
            for v in leaves
        ]
        given, named = pytree.tree_unflatten(shaped, structure)
        return _constant(node, given, named)
    if name in _MOVEMENTS:
        return _moved(node, args, kwargs)
    if name not in _OPERATIONS:
        raise _refusal(node, name)
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    bound = {a.name: a.default_value for a in schema if a.has_default_value()}
    bound |= dict(zip((a.name for a in schema), args, strict=False)) | dict(kwargs)
    return _OPERATIONS[name](network, node, bound)


def operation_name(node: fx.Node) -> str:
    """Name of an operation without its namespace and overload, such as ``conv2d``."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return getattr(node.target, "__name__", str(node.target))
    return node.target.name().split("::")[-1].split(".")[0]


def _constant(node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Result of an operation on constants.

    Raises:
        UnsupportedNetworkError: it draws random numbers, or is too large to store.
    """
    target: Any = node.target
    if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        raise UnsupportedNetworkError(
            f"'{operation_name(node)}' draws random numbers in evaluation mode; remove it from forward"
        )
    sizes = [v.numel() for v in pytree.tree_leaves(node.meta.get("val")) if isinstance(v, Tensor)]
    if sum(sizes) > MAX_CONSTANT:
        raise UnsupportedNetworkError(
            f"'{operation_name(node)}' makes a constant of {sum(sizes):,} elements, above the limit of "
            f"{MAX_CONSTANT:,}; make it smaller"
        )
    with torch.no_grad():
        return target(*args, **kwargs)


def _refusal(node: fx.Node, name: str) -> UnsupportedNetworkError:
    _, of_class = exported_program.module_path(node)
    called = f"{of_class} ('{name}')" if _is_torchs_own(node) else f"'{name}'"
    if name in ("relu", "hardtanh", "relu6", "clamp", "clamp_min"):
        return UnsupportedNetworkError(
            f"{called} has no spiking form; replace it by a quantizer before training (Algorithm 1), for "
            f"example with quantize_activations"
        )
    if name in _OTHER_ACTIVATIONS:
        return UnsupportedNetworkError(
            f"{called} has no integrate-and-fire form; replace it by ReLU and train again"
        )
    return UnsupportedNetworkError(
        f"{called} has no spiking form; between two quantizers use convolutions, Linear, batch norm, pooling, "
        f"addition, concatenation and reshapes"
    )


def _is_torchs_own(node: fx.Node) -> bool:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return bool(stack) and str(stack[-1][1]).startswith("torch.nn.modules")


# movements of elements


def _moved(node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Value:
    """Apply an operation that only moves elements to the numbers of its views."""
    target: Any = node.target
    leaves, structure = pytree.tree_flatten((args, dict(kwargs)))
    if pending := [v for v in leaves if isinstance(v, PendingMaximum)]:
        if operation_name(node) in _IDENTITIES:
            return pending[0]
        raise _unpooled()
    _check_identity(node, leaves)
    moving = [i for i, v in enumerate(leaves) if isinstance(v, TensorView)]
    if operation_name(node) in _JOINS:  # constants among the tensors are parts of their own
        tensors = [i for i, v in enumerate(leaves) if isinstance(v, Tensor)]
        for i in tensors:
            leaves[i] = _lifted(leaves[i])
        moving = sorted([*moving, *tensors])
    parts, numbers = concatenated([leaves[i] for i in moving])
    for i, moved in zip(moving, numbers, strict=True):
        leaves[i] = moved
    given, named = pytree.tree_unflatten(leaves, structure)
    results = target(*given, **named)
    if isinstance(results, Tensor):
        return TensorView(parts, results)
    return [TensorView(parts, result) for result in results]


def _check_identity(node: fx.Node, leaves: list[Any]) -> None:
    """Require that dropout is off, and that numbers keep their type."""
    name = operation_name(node)
    if name in _DROPOUTS and leaves[-1] is True:
        raise UnsupportedNetworkError(
            "this dropout is active in evaluation mode as well; pass training=self.training, or use nn.Dropout"
        )
    result = node.meta.get("val")
    if isinstance(result, Tensor) and not result.dtype.is_floating_point:
        raise UnsupportedNetworkError(
            f"'{name}' turns values into {result.dtype}; keep them in floating point"
        )
    if name == "pad" and len(leaves) > 1:
        mode = next((v for v in leaves if isinstance(v, str)), "constant")
        values = [v for v in leaves if isinstance(v, float)]
        if mode == "constant" and any(values):
            raise UnsupportedNetworkError(f"padding with {values[0]:g} is not linear; pad with 0")
    if name == "constant_pad_nd" and isinstance(leaves[-1], int | float) and leaves[-1] != 0:
        if node.target._schema.arguments[-1].name == "value" and len(node.args) > 2:  # type: ignore[union-attr]
            raise UnsupportedNetworkError(f"padding with {leaves[-1]:g} is not linear; pad with 0")


def _lifted(constant: Tensor) -> TensorView:
    """A constant as a view; its first axis is the batch."""
    if constant.ndim == 0 or len(constant) not in (1, BATCH):
        raise UnsupportedNetworkError("a constant that it joins with values must have a batch axis")
    sample = constant.to(torch.float64).expand(BATCH, *constant.shape[1:])
    if not torch.equal(sample[0], sample[1]):
        raise UnsupportedNetworkError("it concatenates a constant that differs between samples")
    values = sample[0].numpy()
    shape = (values.size, 1, 1) if values.ndim != 3 else values.shape
    return TensorView.of_expression(
        LinearExpression.of_constant(values.reshape(shape)), values.shape
    )


# linear operations


def _convolution(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    """conv1d and conv2d, with numbers or a name for the padding."""
    view, weight = _view(a["input"]), _array(a["weight"])
    is_1d = weight.ndim == 3
    value = view.feature_map()
    if is_1d:
        weight = weight[:, :, None]
    stride, dilation = (_pair(a[name], is_1d, 1) for name in ("stride", "dilation"))
    padding: Any = a["padding"]
    if isinstance(padding, str):
        value, before = _padded_same(value, padding, weight, dilation)
    else:
        before = _pair(padding, is_1d, 0)
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
    return _extended(value, after), before


def _extended(value: LinearExpression, after: list[int]) -> LinearExpression:
    """With rows and columns of zeros at the end."""
    channels, height, width = (np.arange(n) for n in value.shape)
    rows, columns = (
        np.append(indices, np.full(more, -1))
        for indices, more in zip((height, width), after, strict=True)
    )
    return value.selected(channels, rows, columns)


def _transposed_convolution(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    """Zeros between the elements, then a convolution with the mirrored kernel."""
    view, weight, groups = _view(a["input"]), _array(a["weight"]), a["groups"]
    value = view.feature_map()
    is_1d = weight.ndim == 3
    if is_1d:
        weight = weight[:, :, None]
    stride, dilation = (_pair(a[name], is_1d, 1) for name in ("stride", "dilation"))
    padding, extra = (_pair(a[name], is_1d, 0) for name in ("padding", "output_padding"))
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
        weight=np.ascontiguousarray(mirrored[:, :, ::-1, ::-1]), dilation=dilation, groups=groups
    )
    return _with_bias(spread_out.convolved(convolution), a["bias"], view)


def _with_margins(indices: np.ndarray, before: int, after: int) -> np.ndarray:
    wide = np.pad(indices, (max(before, 0), max(after, 0)), constant_values=-1)
    return wide[max(-before, 0) : len(wide) - max(-after, 0)]


def _with_bias(value: LinearExpression, bias: Tensor | None, like: TensorView) -> TensorView:
    """A result with its bias, in as many axes as the tensor that it was computed from."""
    if bias is not None:
        value = value.shifted(_array(bias))
    return _as_rank(value, len(like.shape))


def _as_rank(value: LinearExpression, rank: int) -> TensorView:
    shapes = {1: value.shape[:1], 2: (value.shape[0], value.shape[2]), 3: value.shape}
    return TensorView.of_expression(value, shapes[rank])


def _linear(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _matrix_product(_view(a["input"]), _array(a["weight"]), a["bias"])


def _addmm(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    if a["beta"] != 1 or a["alpha"] != 1 or isinstance(a["self"], TensorView):
        raise UnsupportedNetworkError("write this matrix product as Linear")
    weight = _array(_constant_of(a["mat2"]))
    return _plus(_matrix_product(_view(a["mat1"]), weight.T, None), a["self"])


def _matmul(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    first = a.get("self", a.get("input"))
    second = a.get("mat2", a.get("other"))
    if not isinstance(first, TensorView) or not isinstance(second, Tensor) or second.ndim != 2:
        raise UnsupportedNetworkError(
            "a product of two values of the network, or with a constant on the left, is not linear in one of "
            "them; use Linear"
        )
    return _matrix_product(first, _array(second).T, None)


def _matrix_product(view: TensorView, weight: np.ndarray, bias: Tensor | None) -> TensorView:
    """``x @ weight.T + bias`` along the last axis."""
    shift = None if bias is None else _array(bias)
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
    return _as_rank(value if shift is None else value.shifted(shift), 1)


def _plane(view: TensorView) -> tuple[int, int]:
    """Height and width for all axes but the last: those of the feature map that is read, if they fit."""
    rest = view.shape[:-1]
    planes = [part.shape[1:] for part, _ in view.part_indices()]
    if len(rest) != 2 and planes and prod(planes[0]) == prod(rest):
        return planes[0]
    return (rest[0], rest[1]) if len(rest) == 2 else (1, prod(rest))


def _batch_norm(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    if a.get("running_mean") is None or a.get("running_var") is None or a.get("training"):
        raise UnsupportedNetworkError(
            "batch norm must track running statistics; train with track_running_stats=True"
        )
    scale = 1 / np.sqrt(_array(a["running_var"]) + a["eps"])
    shift = -_array(a["running_mean"]) * scale
    if a["weight"] is not None:
        scale, shift = scale * _array(a["weight"]), shift * _array(a["weight"])
    if a["bias"] is not None:
        shift = shift + _array(a["bias"])
    given = a["input"]
    if isinstance(given, PendingMaximum):
        return _first_of(node, _scaled_maximum(given, scale, shift))
    value = given.feature_map().scaled(scale).shifted(shift)
    return _first_of(node, _as_rank(value, len(given.shape)))


def _first_of(node: fx.Node, value: Value) -> Value:
    """A value as the first of several results, if the operation has several."""
    results = node.meta["val"]
    return value if isinstance(results, Tensor) else [value, *[None] * (len(results) - 1)]


def _scaled_maximum(pending: PendingMaximum, scale: np.ndarray, shift: np.ndarray) -> Value:
    """Batch norm behind a max pool, in front of it: equal if no scale is negative."""
    if (scale < 0).any():
        raise UnsupportedNetworkError(
            f"{pending.name}: a max pool in front of a batch norm with negative weights is a min pool; put the "
            f"batch norm before the pool"
        )
    return PendingMaximum(pending.value.scaled(scale).shifted(shift), pending.window, pending.name)


# sums and scalings


def _add(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _sum_of(a["self"], a["other"], 1, a.get("alpha", 1))


def _subtract(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _sum_of(a["self"], a["other"], 1, -a.get("alpha", 1))


def _subtract_from(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _sum_of(a["self"], a["other"], -a.get("alpha", 1), 1)


def _negate(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _times(_view(a["self"]), -1.0)


def _multiply(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    first, second = a["self"], a["other"]
    if isinstance(first, TensorView) and isinstance(second, TensorView):
        raise UnsupportedNetworkError(
            "a product of two values of the network is not linear (attention, squeeze-and-excitation, gates); "
            "use a network without it"
        )
    return _times(first, second) if isinstance(first, TensorView) else _times(_view(second), first)


def _divide(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    if a.get("rounding_mode") is not None or not isinstance(a["other"], Tensor | float | int):
        raise UnsupportedNetworkError("only division by a constant is linear")
    if isinstance(a["other"], Tensor):
        return _times(_view(a["self"]), 1 / a["other"].to(torch.float64))
    return _times(_view(a["self"]), 1 / a["other"])


def _sum_of(first: Any, second: Any, factor: float, other_factor: float) -> TensorView:
    if factor != 1:
        first = _times(first, factor) if isinstance(first, TensorView) else first * factor
    if other_factor != 1:
        second = (
            _times(second, other_factor)
            if isinstance(second, TensorView)
            else second * other_factor
        )
    return _plus(first, second) if isinstance(first, TensorView) else _plus(_view(second), first)


def _plus(view: TensorView, other: TensorView | Tensor | float) -> TensorView:
    """Sum with another value or a constant, broadcast as PyTorch does."""
    if isinstance(other, TensorView):
        if _same_places(view, other):
            parts = tuple(p.plus(q) for p, q in zip(view.parts, other.parts, strict=True))
            return TensorView(parts, view.numbers)
        numbers = torch.broadcast_tensors(view.numbers, other.numbers)
        first, second = view.moved(numbers[0]), other.moved(numbers[1])
        value = first.feature_map().plus(second.feature_map())
        return _as_rank(value, len(first.shape))
    view, values = _broadcast(view, other)
    if (whole := view.natural_order()) is not None:
        return TensorView(
            (whole.shifted(_per_channel_if_equal(values, whole.shape)),), view.numbers
        )
    shape = feature_map_shape(view.shape)
    value = view.feature_map().shifted(_per_channel_if_equal(values, shape))
    return _as_rank(value, len(view.shape))


def _same_places(first: TensorView, second: TensorView) -> bool:
    shapes = [tuple(p.shape for p in view.parts) for view in (first, second)]
    return shapes[0] == shapes[1] and torch.equal(first.numbers, second.numbers)


def _times(view: Any, factor: Tensor | float) -> Value:
    """Product with a constant that is equal within each channel."""
    if isinstance(view, PendingMaximum):
        raise _unpooled()
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
        TensorView((value,), view.numbers)
        if whole is not None
        else _as_rank(value, len(view.shape))
    )


def _broadcast(view: TensorView, constant: Tensor | float) -> tuple[TensorView, np.ndarray]:
    """A view and a constant in their common shape; the constant without the batch axis."""
    values = torch.as_tensor(constant, dtype=torch.float64)
    numbers, values = torch.broadcast_tensors(view.numbers, values)
    if len(values) > 1 and not torch.equal(values[0], values[1]):
        raise UnsupportedNetworkError("the constant differs between the samples of a batch")
    return view.moved(numbers), values[0].numpy()


def _per_channel_if_equal(values: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    values = values.reshape(shape)
    first = values[:, :1, :1]
    return np.ascontiguousarray(first if (values == first).all() else values)


# averages and resampling


def _average_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = _view(a["self"])
    value = view.feature_map()
    is_1d = operation_name(node) == "avg_pool1d"
    kernel = _pair(a["kernel_size"], is_1d, 1)
    stride = _pair(a["stride"] or a["kernel_size"], is_1d, 1)
    padding = _pair(a["padding"], is_1d, 0)
    matrices = [
        F.avg_pool1d(_unit_vectors(size), k, s, p, a["ceil_mode"], a["count_include_pad"])
        for size, k, s, p in zip(value.shape[1:], kernel, stride, padding, strict=True)
    ]
    divisor = a.get("divisor_override")
    plain = [  # the same without what makes windows unequal
        F.avg_pool1d(_unit_vectors(size), k, s, p)
        for size, k, s, p in zip(value.shape[1:], kernel, stride, padding, strict=True)
    ]
    if all(m.shape == q.shape and torch.equal(m, q) for m, q in zip(matrices, plain, strict=True)):
        value = value.pooled(kernel, stride, padding)
    elif divisor is None:
        value = _resampled(value, *matrices)
    else:  # a divisor of its own replaces those of the windows
        value = _resampled(
            value, *((m != 0).to(torch.float64) / k for m, k in zip(matrices, kernel, strict=True))
        )
    return _as_rank(
        value if divisor is None else value.scaled(prod(kernel) / divisor), len(view.shape)
    )


def _adaptive_average_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = _view(a["self"])
    value = view.feature_map()
    shape = tuple(node.meta["val"].shape[1:])
    if len(shape) == 2:
        shape = (shape[0], 1, shape[1])
    return _as_rank(_pooled_to(value, shape[1:]), len(view.shape))


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


def _mean(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _reduced(node, _view(a["self"]), a.get("dim"), a.get("keepdim", False), mean=True)


def _sum(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    return _reduced(node, _view(a["self"]), a.get("dim"), a.get("keepdim", False), mean=False)


def _reduced(node: fx.Node, view: TensorView, dim: Any, keepdim: bool, *, mean: bool) -> TensorView:
    """Mean or sum over axes, as a product with a row of equal weights along one axis that holds them all."""
    rank = view.numbers.ndim
    axes = sorted(
        {(d + rank) % rank for d in ([dim] if isinstance(dim, int) else dim or range(rank))}
    )
    if 0 in axes:
        raise UnsupportedNetworkError(
            f"'{operation_name(node)}' over the batch mixes samples; reduce over other axes"
        )
    if rank == 4 and axes == [2, 3]:
        value = view.feature_map()
        value = _pooled_to(value, (1, 1)).scaled(1.0 if mean else float(prod(value.shape[1:])))
        return TensorView.of_expression(value, value.shape if keepdim else value.shape[:1])
    kept = [d for d in range(rank) if d not in axes]
    count = prod(view.numbers.shape[d] for d in axes)
    numbers = view.numbers.permute(*kept, *axes)
    flat = view.moved(numbers.reshape(*numbers.shape[: len(kept)], count))
    weight = np.full((1, count), 1 / count if mean else 1.0)
    result = _matrix_product(flat, weight, None)
    return result.moved(result.numbers.reshape(node.meta["val"].shape))


def _upsample_linear(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = _view(a["input"])
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
    return _as_rank(_resampled(value, *matrices), len(view.shape))


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


MAX_DIVISOR = 2**12


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
            f"this resampling has weights that are no multiples of 1/n for an n up to {MAX_DIVISOR:,}; resample by "
            f"whole factors, or to sizes that divide each other"
        )
    return integers.astype(np.int64), divisor


# quantizers, max pooling, functions of the logits


def _quantize(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    timesteps = float(_constant_of(a["levels"]))
    if not timesteps <= MAX_TIMESTEPS:  # also when it is not a number
        raise UnsupportedNetworkError(
            f"the quantizer has T = {timesteps:g} levels, above the limit of {MAX_TIMESTEPS:,}; train it with "
            f"max_timesteps (in Case 3, T = alpha / d grows as the step size d shrinks)"
        )
    levels = Levels(threshold=float(_constant_of(a["threshold"])), timesteps=int(timesteps))
    return network.quantize(a["name"] or node.name, a["values"], levels)


def _max_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    is_1d = operation_name(node) == "max_pool1d"
    window = MaxWindow(
        kernel=_pair(a["kernel_size"], is_1d, 1),
        stride=_pair(a["stride"] or a["kernel_size"], is_1d, 1),
        padding=_pair(a["padding"], is_1d, 0),
        dilation=_pair(a["dilation"], is_1d, 1),
    )
    return _first_of(node, _max_pooled(network, node, a["self"], window))


def _adaptive_max_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    given = a["self"]
    target = [1, 1, *node.meta["val"][0].shape[2:]][-2:]
    source = [1, 1, *_view(given).shape[1:]][-2:]
    if any(s % t for s, t in zip(source, target, strict=True)):
        raise UnsupportedNetworkError(
            f"adaptive max pooling from {source} to {target} has windows of different sizes; use sizes that "
            f"divide each other"
        )
    size = source[0] // target[0], source[1] // target[1]
    return _first_of(node, _max_pooled(network, node, given, MaxWindow(kernel=size, stride=size)))


def _largest_over_axes(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    """amax over height and width: one window."""
    view = _view(a["self"])
    rank = view.numbers.ndim
    if rank != 4 or {(d + rank) % rank for d in a["dim"]} != {2, 3}:
        raise UnsupportedNetworkError(
            "a maximum over other axes than height and width has no spiking form"
        )
    size = view.shape[1], view.shape[2]
    pooled = _max_pooled(network, node, view, MaxWindow(kernel=size, stride=size))
    if a["keepdim"] or isinstance(pooled, PendingMaximum):
        return pooled
    return pooled.moved(pooled.numbers.reshape(BATCH, view.shape[0]))


def _max_pooled(
    network: NetworkBuilder, node: fx.Node, given: Any, window: MaxWindow
) -> TensorView | PendingMaximum:
    if isinstance(given, PendingMaximum):
        raise UnsupportedNetworkError(
            "two max pools in a row in front of a quantizer; put the quantizer before them"
        )
    view: TensorView = given
    path, _ = exported_program.module_path(node)
    name = path if path and _is_torchs_own(node) else node.name
    shape = tuple(pytree.tree_leaves(node.meta["val"])[0].shape[1:])
    rank = len(shape)
    missing = _missing_at_the_end(feature_map_shape(view.shape), feature_map_shape(shape), window)
    split = _by_levels(view)
    if split is None:
        if any(missing):
            raise UnsupportedNetworkError("a max pool with ceil_mode must follow its quantizer")
        return PendingMaximum(view.feature_map(), window, name)
    parts = [
        (channels, network.max_pooled(_extended(part, missing), window, name))
        for channels, part in split
    ]
    pooled = TensorView.of_expression(parts[0][1])
    if len(parts) > 1:
        place = np.concatenate([channels for channels, _ in parts])
        together, numbers = concatenated([TensorView.of_expression(part) for _, part in parts])
        joined = torch.cat(numbers, 1)[:, torch.from_numpy(np.argsort(place))]
        pooled = TensorView(together, joined)
    return pooled.moved(pooled.numbers.reshape(BATCH, *shape)) if rank != 3 else pooled


def _missing_at_the_end(
    source: tuple[int, int, int], target: tuple[int, int, int], window: MaxWindow
) -> list[int]:
    """Rows and columns that the last window needs beyond the padding, with ceil_mode."""
    missing = []
    for axis in (0, 1):
        reach = (target[1 + axis] - 1) * window.stride[axis]
        reach += window.dilation[axis] * (window.kernel[axis] - 1) + 1
        missing.append(max(0, reach - source[1 + axis] - 2 * window.padding[axis]))
    return missing


def _by_levels(view: TensorView) -> list[tuple[np.ndarray, LinearExpression]] | None:
    """Channels of a view by the feature map that they are counts of; None if they are no counts."""
    shape = feature_map_shape(view.shape)
    result = []
    for part, indices in view.part_indices():
        if part.levels is None:
            return None
        own = indices.reshape(shape)
        channels = np.flatnonzero((own >= 0).any(axis=(1, 2)))
        numbers = np.where(own[channels] >= 0, own[channels] + 1, 0).astype(np.float64)
        offset = np.where(numbers > 0, prod(part.shape), 0)
        alone = TensorView((part,), torch.from_numpy(np.stack([numbers, numbers + offset])))
        result.append((channels, alone.feature_map()))
    covered = np.sort(np.concatenate([channels for channels, _ in result]))
    if not np.array_equal(covered, np.arange(shape[0])):  # a channel of two parts, or of zeros
        return None
    return result


def _softmax(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = _view(a["self"])
    if a["dim"] % view.numbers.ndim != 1:
        raise UnsupportedNetworkError(
            f"'{operation_name(node)}' over another axis than the classes has no spiking form; leave it out"
        )
    return OutputFunction(view, operation_name(node))


def _unpooled() -> UnsupportedNetworkError:
    return UnsupportedNetworkError(
        "it follows a max pool of values that are no spike counts; max pooling is exact on counts alone: put the "
        "quantizer before the pool, or use average pooling"
    )


# arguments


def _view(value: Any) -> TensorView:
    if isinstance(value, PendingMaximum):
        raise _unpooled()
    if not isinstance(value, TensorView):
        raise UnsupportedNetworkError(
            "the network's values must be its input, and constants its weights, not the other way round"
        )
    return value


def _constant_of(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise UnsupportedNetworkError(
            "a weight that depends on the input is not linear; use a constant"
        )
    return value


def _array(value: Any) -> np.ndarray:
    return _constant_of(value).detach().to(torch.float64).numpy()


def _pair(value: Any, is_1d: bool, neutral: int) -> Pair:
    """(vertical, horizontal); one number stands for both, and a 1D operation is horizontal."""
    numbers = [value] if isinstance(value, int) else list(value)
    if is_1d:
        return neutral, numbers[-1]
    return numbers[0], numbers[-1]


_IDENTITIES = frozenset({
    "alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "alpha_dropout", "lift_fresh_copy",
    "to", "_to_copy",
})  # fmt: skip
_JOINS = frozenset({"cat", "copy", "select_scatter", "slice_scatter", "stack"})
_CONSTANT_LIKE = frozenset({
    "fill", "full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like",
})  # fmt: skip
_DROPOUTS = frozenset({"dropout", "feature_dropout", "alpha_dropout"})
_MOVEMENTS = _IDENTITIES | _JOINS | {
    "channel_shuffle", "chunk", "constant_pad_nd", "expand", "flatten", "flip", "im2col", "index",
    "index_select", "movedim", "narrow", "native_channel_shuffle", "pad", "permute", "pixel_shuffle",
    "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "repeat", "replication_pad1d",
    "replication_pad2d", "reshape", "roll", "select", "slice", "split", "split_with_sizes", "squeeze",
    "t", "tensor_split", "transpose", "unbind", "unflatten", "unsqueeze", "upsample_nearest1d",
    "upsample_nearest2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "view", "_unsafe_view",
}  # fmt: skip
_OTHER_ACTIVATIONS = frozenset({
    "celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "leaky_relu", "log_sigmoid", "mish", "prelu",
    "rrelu", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh",
})  # fmt: skip
_OPERATIONS: dict[str, Operation] = {
    "quantize": _quantize,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv_transpose1d": _transposed_convolution,
    "conv_transpose2d": _transposed_convolution,
    "linear": _linear,
    "addmm": _addmm,
    "matmul": _matmul,
    "mm": _matmul,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_native_batch_norm_legit": _batch_norm,
    "_native_batch_norm_legit_functional": _batch_norm,
    "batch_norm": _batch_norm,
    "add": _add,
    "sub": _subtract,
    "rsub": _subtract_from,
    "neg": _negate,
    "mul": _multiply,
    "div": _divide,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "adaptive_avg_pool1d": _adaptive_average_pool,
    "adaptive_avg_pool2d": _adaptive_average_pool,
    "_adaptive_avg_pool2d": _adaptive_average_pool,
    "mean": _mean,
    "sum": _sum,
    "upsample_bilinear2d": _upsample_linear,
    "upsample_linear1d": _upsample_linear,
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "max_pool2d_with_indices": _max_pool,
    "adaptive_max_pool1d": _adaptive_max_pool,
    "adaptive_max_pool2d": _adaptive_max_pool,
    "amax": _largest_over_axes,
    "softmax": _softmax,
    "_softmax": _softmax,
    "log_softmax": _softmax,
    "_log_softmax": _softmax,
}
