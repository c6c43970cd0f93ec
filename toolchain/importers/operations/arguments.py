"""Arguments of operations, and the few conversions that all of them need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers import exported_program
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.network_builder import NoValue, PendingMaximum, Value
from toolchain.importers.tensor_views import TensorView
from toolchain.networks.linear_maps import Pair

Arguments = Mapping[str, Any]
"""Arguments of an operation by the names of its schema, defaults included."""


def operation_name(node: fx.Node) -> str:
    """Name of a node's operation, such as ``conv2d``."""
    return exported_program.operation_name(node.target)


def bound_arguments(
    node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of an operation by the names of its schema, defaults included."""
    schema = cast(Any, node.target)._schema.arguments
    defaults = {a.name: a.default_value for a in schema if a.has_default_value()}
    return defaults | dict(zip((a.name for a in schema), args, strict=False)) | dict(kwargs)


def view_of(value: Any) -> TensorView:
    if isinstance(value, PendingMaximum):
        raise unpooled()
    if not isinstance(value, TensorView):
        raise UnsupportedNetworkError(
            "a constant is where a value of the network must be; give it the value first, then the constant"
        )
    return value


def constant_of(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise UnsupportedNetworkError(
            "a weight that depends on the input is not linear; use a constant"
        )
    return value


def array_of(value: Any) -> np.ndarray:
    return constant_of(value).detach().to(torch.float64).numpy()


def pair_of(value: Any, is_1d: bool, neutral: int) -> Pair:
    """(vertical, horizontal); one number stands for both, and a 1D operation is horizontal."""
    numbers = [value] if isinstance(value, int) else list(value)
    if is_1d:
        return neutral, numbers[-1]
    return numbers[0], numbers[-1]


def first_of(node: fx.Node, value: Value) -> Value:
    """A value as the first of several results, if the operation has several."""
    results = node.meta["val"]
    if isinstance(results, Tensor):
        return value
    return [value, *[NoValue(operation_name(node))] * (len(results) - 1)]


def as_rank(value: LinearExpression, rank: int) -> TensorView:
    shapes = {1: value.shape[:1], 2: (value.shape[0], value.shape[2]), 3: value.shape}
    return TensorView.of_expression(value, shapes[rank])


def unpooled() -> UnsupportedNetworkError:
    return UnsupportedNetworkError(
        "it follows a max pool of values that are no spike counts; max pooling is exact on counts alone: put "
        "the quantizer before the pool, or use average pooling"
    )


# modules that are one operation; those of a hook on another module are not that module's
_ONE_OPERATION = tuple(
    f"torch.nn.modules.{name}"
    for name in ("activation", "instancenorm", "normalization", "pooling", "rnn")
)


def is_torchs_own(node: fx.Node) -> bool:
    """Whether an operation is what a module of ``torch.nn`` computes."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return bool(stack) and str(stack[-1][1]).startswith(_ONE_OPERATION)


def extended(value: LinearExpression, after: list[int]) -> LinearExpression:
    """With rows and columns of zeros at the end."""
    channels, height, width = (np.arange(n) for n in value.shape)
    rows, columns = (
        np.append(indices, np.full(more, -1))
        for indices, more in zip((height, width), after, strict=True)
    )
    return value.selected(channels, rows, columns)
