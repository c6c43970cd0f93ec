"""Operations that only move elements: PyTorch applies them to the numbers of a view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.network_builder import PendingMaximum, Value
from toolchain.importers.operations.arguments import bound_arguments, operation_name, unpooled
from toolchain.importers.tensor_views import BATCH, TensorView, concatenated

IDENTITIES = frozenset({
    "alias", "alpha_dropout", "clone", "contiguous", "detach", "dropout", "feature_alpha_dropout",
    "feature_dropout", "lift_fresh_copy", "to", "_to_copy",
})  # fmt: skip


_JOINS = frozenset({"cat", "copy", "select_scatter", "slice_scatter", "stack"})  # fmt: skip


_DROPOUTS = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"})  # fmt: skip


MOVEMENTS = IDENTITIES | _JOINS | {
    "channel_shuffle", "chunk", "constant_pad_nd", "expand", "flatten", "flip", "im2col", "index",
    "index_select", "movedim", "narrow", "native_channel_shuffle", "pad", "permute", "pixel_shuffle",
    "pixel_unshuffle", "reflection_pad1d", "reflection_pad2d", "repeat", "replication_pad1d",
    "replication_pad2d", "reshape", "roll", "select", "slice", "split", "split_with_sizes", "squeeze",
    "t", "tensor_split", "transpose", "unbind", "unflatten", "unsqueeze", "upsample_nearest1d",
    "upsample_nearest2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "view", "_unsafe_view",
}  # fmt: skip


def moved(node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Value:
    """Apply an operation that only moves elements to the numbers of its views."""
    target: Any = node.target
    leaves, structure = pytree.tree_flatten((args, dict(kwargs)))
    if pending := [v for v in leaves if isinstance(v, PendingMaximum)]:
        if operation_name(node) in IDENTITIES:
            return pending[0]
        raise unpooled()
    _check_movement(node, bound_arguments(node, args, kwargs))
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


def _check_movement(node: fx.Node, a: Mapping[str, Any]) -> None:
    """Require that dropout is off, padding zero, and that numbers keep their type."""
    name = operation_name(node)
    if name in _DROPOUTS and a["train"]:
        raise UnsupportedNetworkError(
            "this dropout is active in evaluation mode as well; pass training=self.training, or use "
            "nn.Dropout"
        )
    results = [v for v in pytree.tree_leaves(node.meta["val"]) if isinstance(v, Tensor)]
    if results[0].dtype != torch.float64:
        raise UnsupportedNetworkError(
            f"'{name}' casts values to {results[0].dtype}; leave the cast out, and call the network with "
            f"inputs of the type that it needs"
        )
    if (
        name in ("pad", "constant_pad_nd")
        and a.get("mode", "constant") == "constant"
        and a["value"]
    ):
        raise UnsupportedNetworkError(f"padding with {a['value']:g} is not linear; pad with 0")


def _lifted(constant: Tensor) -> TensorView:
    """A constant as a view; its first axis is the batch."""
    if constant.ndim == 0 or len(constant) not in (1, BATCH):
        raise UnsupportedNetworkError(
            "it joins values with a constant that has no batch axis; give it one, for example by "
            "constant.unsqueeze(0)"
        )
    sample = constant.to(torch.float64).expand(BATCH, *constant.shape[1:])
    if not torch.equal(sample[0], sample[1]):
        raise UnsupportedNetworkError(
            "it joins values with a constant that differs between samples; use one for all samples"
        )
    values = sample[0].numpy()
    shape = (values.size, 1, 1) if values.ndim != 3 else values.shape
    return TensorView.of_expression(
        LinearExpression.of_constant(values.reshape(shape)), values.shape
    )
