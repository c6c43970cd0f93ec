"""The table of operations."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers import exported_program
from toolchain.importers.network_builder import (
    NetworkBuilder,
    NoValue,
    OutputFunction,
    PendingMaximum,
    Value,
)
from toolchain.importers.operations.activations import (
    adaptive_max_pool,
    largest_over_axes,
    max_pool,
    quantize,
    softmax,
)
from toolchain.importers.operations.arguments import (
    Arguments,
    bound_arguments,
    is_torchs_own,
    operation_name,
    unpooled,
)
from toolchain.importers.operations.as_matrix import as_matrix
from toolchain.importers.operations.averages import (
    adaptive_average_pool,
    average_pool,
    mean,
    summed,
    upsample_linear,
)
from toolchain.importers.operations.linear_layers import (
    addmm,
    batch_norm,
    convolution,
    linear,
    matmul,
    transposed_convolution,
)
from toolchain.importers.operations.movements import IDENTITIES, MOVEMENTS, moved
from toolchain.importers.operations.sums import (
    add,
    divide,
    multiply,
    negate,
    subtract,
    subtract_from,
    where,
)
from toolchain.importers.tensor_views import NoFeatureMapError, TensorView

MAX_CONSTANT = 2**27
"""Most elements of a computed tensor that does not depend on the input."""


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
    if name in _ASSERTIONS:
        return None  # checked when the network was exported
    leaves = pytree.tree_leaves((args, dict(kwargs)))
    if missing := next((v for v in leaves if isinstance(v, NoValue)), None):
        raise UnsupportedNetworkError(
            f"it reads another result of '{missing.operation}' than its values, such as indices, which has "
            f"no spiking form; use the values alone"
        )
    if not any(isinstance(v, TensorView | PendingMaximum | OutputFunction) for v in leaves):
        return _constant(node, args, kwargs)
    if any(isinstance(v, OutputFunction) for v in leaves):
        final = next(v for v in leaves if isinstance(v, OutputFunction))
        if name in IDENTITIES:
            return final
        raise UnsupportedNetworkError(
            f"{final.name} has no spiking form; at the end of a network it can be left out, but '{name}' "
            f"follows"
        )
    if any(isinstance(v, PendingMaximum) for v in leaves) and name not in _OF_MAXIMA:
        raise unpooled()
    if name in _CONSTANT_LIKE:  # only the shape of the value counts
        shaped = pytree.tree_map_only(
            TensorView, lambda view: torch.zeros_like(view.numbers), (args, dict(kwargs))
        )
        return _constant(node, *shaped)
    if name in MOVEMENTS:
        return moved(node, args, kwargs)
    if name not in _OPERATIONS:
        raise _refusal(node)
    arguments = bound_arguments(node, args, kwargs)
    _check_axes(name, arguments)
    try:
        return _OPERATIONS[name](network, node, arguments)
    except NoFeatureMapError as reason:
        if name in _NONLINEAR:
            raise
        return as_matrix(node, args, kwargs, reason)


def _check_axes(name: str, a: Arguments) -> None:
    """Require a batch in front of the channels: without one, PyTorch takes all samples for channels."""
    dimensions = re.search(r"([12])d(_|$)", name)
    view = a.get("input", a.get("self"))
    if dimensions is None or not isinstance(view, TensorView):
        return
    expected, axes = 2 + int(dimensions.group(1)), view.numbers.ndim
    if axes != expected:
        raise UnsupportedNetworkError(
            f"'{name}' takes a tensor of {axes} axes for one sample without a batch; give it "
            f"{expected} axes, for example by x.unsqueeze(1)"
        )


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
        result = target(*args, **kwargs)
    # what was never written is not read either; zeros are the same at each call
    return torch.zeros_like(result) if "empty" in operation_name(node) else result


def _refusal(node: fx.Node) -> UnsupportedNetworkError:
    executed = operation_name(node)
    is_activation = executed in _CLIPS | _OTHER_ACTIVATIONS
    name = executed if is_activation else exported_program.written_name(node)
    _, of_class = exported_program.module_path(node)
    called = of_class if is_torchs_own(node) else f"'{name}'"
    if name in _CLIPS:
        return UnsupportedNetworkError(
            f"{called} has no spiking form; replace it by a quantizer before training (Algorithm 1), for "
            f"example with quantize_activations"
        )
    if name in _OTHER_ACTIVATIONS:
        return UnsupportedNetworkError(
            f"{called} has no integrate-and-fire form; replace it by ReLU and train again"
        )
    return UnsupportedNetworkError(
        f"{called} has no spiking form; between two quantizers use convolutions, Linear, batch norm, "
        f"pooling, addition, concatenation and reshapes"
    )


_OTHER_ACTIVATIONS = frozenset({
    "celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "leaky_relu", "log_sigmoid", "mish", "prelu",
    "rrelu", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh",
})  # fmt: skip


_OF_MAXIMA = IDENTITIES | {
    "quantize", "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "amax", "batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional", "_native_batch_norm_legit_no_training", *_OTHER_ACTIVATIONS,
}  # fmt: skip
"""Operations that take a max pool in front of its quantizer, or have a refusal of their own."""


_ASSERTIONS = frozenset({"_assert_tensor_metadata"})


_CLIPS = frozenset({"clamp", "clamp_min", "hardtanh", "relu", "relu6"})


_CONSTANT_LIKE = frozenset({
    "empty_like", "empty_permuted", "fill", "full_like", "new_empty", "new_full", "new_ones", "new_zeros",
    "ones_like", "zeros_like",
})  # fmt: skip


_NONLINEAR = frozenset({
    "_log_softmax", "_softmax", "adaptive_max_pool1d", "adaptive_max_pool2d", "amax", "log_softmax", "max",
    "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "quantize", "softmax",
})  # fmt: skip


_OPERATIONS: dict[str, Operation] = {
    "quantize": quantize,
    "conv1d": convolution,
    "conv2d": convolution,
    "conv_transpose1d": transposed_convolution,
    "conv_transpose2d": transposed_convolution,
    "linear": linear,
    "addmm": addmm,
    "matmul": matmul,
    "mm": matmul,
    "_native_batch_norm_legit_no_training": batch_norm,
    "_native_batch_norm_legit": batch_norm,
    "_native_batch_norm_legit_functional": batch_norm,
    "batch_norm": batch_norm,
    "add": add,
    "sub": subtract,
    "rsub": subtract_from,
    "neg": negate,
    "mul": multiply,
    "div": divide,
    "avg_pool1d": average_pool,
    "avg_pool2d": average_pool,
    "adaptive_avg_pool1d": adaptive_average_pool,
    "adaptive_avg_pool2d": adaptive_average_pool,
    "_adaptive_avg_pool2d": adaptive_average_pool,
    "mean": mean,
    "sum": summed,
    "upsample_bilinear2d": upsample_linear,
    "upsample_linear1d": upsample_linear,
    "max_pool1d": max_pool,
    "max_pool2d": max_pool,
    "max_pool2d_with_indices": max_pool,
    "adaptive_max_pool1d": adaptive_max_pool,
    "adaptive_max_pool2d": adaptive_max_pool,
    "amax": largest_over_axes,
    "max": largest_over_axes,
    "where": where,
    "softmax": softmax,
    "_softmax": softmax,
    "log_softmax": softmax,
    "_log_softmax": softmax,
}


KNOWN = (
    frozenset(_OPERATIONS) | MOVEMENTS | _CONSTANT_LIKE | _ASSERTIONS | _CLIPS | _OTHER_ACTIVATIONS
)
"""Operations that are read or refused by these names, so that PyTorch need not define them by others."""
