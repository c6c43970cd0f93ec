"""Operations that an exported program from anyone may contain: those that only compute with its tensors."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import torch

import toolchain.method.quantize_operation  # noqa: F401  registers qac_deploy::quantize

_TARGET = re.compile(
    r"torch\.ops\.([a-z_]{1,40})\.([A-Za-z_][A-Za-z0-9_]{0,99})\.([A-Za-z0-9_]{1,60})"
)
_SIZES = frozenset(
    f"_operator.{name}"
    for name in (
        "add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge", "getitem", "and_",
        "or_", "not_",
    )
)  # fmt: skip
"""Functions of symbolic sizes."""

_MAX_SIZES = {"torch.sym_max", "torch.sym_min", "torch.sym_float", "torch.sym_not"}
_NOT_OF_TENSORS = ("Storage", "Stream", "Generator", "QScheme", "__torch__")
_UNSAFE = re.compile(
    r"^_?(from_file|set|resize|record_stream|as_strided|empty_strided)|^_test|cufft|cudnn|miopen|mkldnn|sparse"
)
"""Operations that open files, change settings or reinterpret memory."""


def allowed_target(target: str) -> bool:
    """Whether an operation of a document may be resolved by PyTorch and executed."""
    if target in _SIZES or target in _MAX_SIZES:
        return True
    match = _TARGET.fullmatch(target)
    if match is None:
        return False
    namespace, name, overload = match.groups()
    return namespace in _NAMESPACES and _is_allowed(namespace, name, overload)


_OF_TORCHAO = {"quantize_affine", "dequantize_affine", "choose_qparams_affine"}
_NAMESPACES = ("aten", "quantized_decomposed", "torchao", "qac_deploy")


@cache
def _is_allowed(namespace: str, name: str, overload: str) -> bool:
    if not _registered(namespace) or _UNSAFE.search(name):
        return False
    try:
        operation: Any = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    except (AttributeError, RuntimeError):
        return False
    if not isinstance(operation, torch._ops.OpOverload):
        return False
    types = [str(a.type) for a in (*operation._schema.arguments, *operation._schema.returns)]
    if any(word in text for text in types for word in _NOT_OF_TENSORS):
        return False
    if namespace == "torchao":  # others call kernels of their own
        return name in _OF_TORCHAO
    return namespace != "aten" or _is_plain(operation)


def _is_plain(operation: Any) -> bool:
    """Whether an operation of ATen is one of the core, one that is defined by these, or known here."""
    name = operation._schema.name.split("::")[1]
    if torch.Tag.core in operation.tags or name.rstrip("_") in _known():
        return True
    return operation in _definitions()


@cache
def _definitions() -> frozenset[object]:
    return frozenset(torch.export.default_decompositions())


@cache
def _known() -> frozenset[str]:
    """Operations that the importer reads, refuses with a reason of its own, or takes as assertions."""
    return frozenset({
        "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "add",
        "addmm", "alpha_dropout", "amax", "avg_pool1d", "avg_pool2d", "batch_norm", "cat", "celu",
        "channel_shuffle", "chunk", "clamp", "clamp_max", "clamp_min", "clip", "contiguous", "conv1d",
        "conv2d", "conv_transpose1d", "conv_transpose2d", "detach", "div", "dropout", "elu", "expand",
        "feature_alpha_dropout", "feature_dropout", "flatten",
        "fused_moving_avg_obs_fake_quant", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
        "lift_fresh_copy", "linear", "log_softmax", "matmul", "max_pool1d", "max_pool2d", "mean", "mish",
        "movedim", "mul",
        "narrow", "neg", "pad", "permute", "pixel_shuffle", "pixel_unshuffle", "prelu", "relu", "relu6",
        "repeat", "reshape", "rsub", "select", "selu", "sigmoid", "silu", "slice", "softmax", "softplus",
        "split", "split_with_sizes", "squeeze", "stack", "sub", "sum", "sym_constrain_range_for_size",
        "sym_size", "t", "tanh", "tensor_split", "threshold", "to", "transpose", "unbind", "unflatten",
        "unsqueeze", "upsample_bilinear2d", "upsample_nearest2d", "view", "_assert_tensor_metadata",
        "_assert_scalar", "_native_batch_norm_legit_functional", "empty_permuted",
    })  # fmt: skip


@cache
def _registered(namespace: str) -> bool:
    """Import what registers the operations of a namespace.

    Returns:
        Whether it is installed.
    """
    try:
        if namespace == "quantized_decomposed":
            import torch.ao.quantization.fx._decomposed  # noqa: F401
        elif namespace == "torchao":
            import torchao.quantization.quant_primitives  # noqa: F401
    except ImportError:
        return False
    return True
