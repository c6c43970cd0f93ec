"""The table of ONNX operations on values that depend on pixels."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.onnx_format.names import require_onnx
from toolchain.importers.onnx_format.operations.arithmetic import (
    add,
    divide,
    multiply,
    softmax_of,
    subtract,
    total,
)
from toolchain.importers.onnx_format.operations.layers import (
    FunctionModule,
    average_pool,
    batch_norm,
    convolution,
    gemm,
    global_average_pool,
    global_max_pool,
    matmul,
    max_pool,
    reduce_max,
    reduce_mean,
    reduce_sum,
    transposed_convolution,
)
from toolchain.importers.onnx_format.operations.movements import (
    concat,
    depth_to_space,
    expand,
    flatten,
    gather,
    pad,
    reshape,
    resize,
    slice_,
    space_to_depth,
    split,
    squeeze,
    tile,
    transpose,
    unsqueeze,
)
from toolchain.importers.onnx_format.values import Call

Build = Callable[[Call], "nn.Module | None"]
"""Makes the module of a call, which takes the call's live values; None if it returns the first as it is."""


def _cast(call: Call) -> None:
    types = require_onnx().TensorProto
    if call.integer("to", 0) not in (types.FLOAT, types.DOUBLE):
        raise UnsupportedNetworkError(
            "it casts values of the network to another type than float32; leave it out, and export the "
            "network in float32"
        )


def _dropout(call: Call) -> None:
    mode = call.static(2)
    if mode is not None and mode.any():
        raise UnsupportedNetworkError(
            "this dropout is active; export the network in evaluation mode"
        )


OPERATIONS: dict[str, Build] = {
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "ReduceMean": reduce_mean,
    "ReduceSum": reduce_sum,
    "ReduceMax": reduce_max,
    "Add": add,
    "Sub": subtract,
    "Mul": multiply,
    "Div": divide,
    "Sum": total,
    "Neg": lambda call: FunctionModule(lambda x: -x),
    "Softmax": softmax_of(nn.Softmax),
    "LogSoftmax": softmax_of(nn.LogSoftmax),
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Pad": pad,
    "Expand": expand,
    "Tile": tile,
    "Resize": resize,
    "Upsample": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Identity": lambda call: None,
    "Dropout": _dropout,
    "Cast": _cast,
}

MOVEMENTS = frozenset({
    "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Gather", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "Identity", "Dropout", "Cast", "MaxPool", "GlobalMaxPool", "ReduceMax",
})  # fmt: skip
"""Operations each of whose results is one of their values, so that a quantizer changes places with them."""

OF_PIXELS = (MOVEMENTS - {"MaxPool", "GlobalMaxPool", "ReduceMax"}) | {
    "Add", "Sub", "Mul", "Div", "Neg", "Sum", "BatchNormalization", "Pad",
}  # fmt: skip
"""Operations each of whose results follows from one element of a value, beside constants."""

AVERAGES = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean"})
"""Operations whose results lie between the bounds of their values."""

_REMEDIES = {
    "QLinearConv": "quantize_static with quant_format=QuantFormat.QDQ",
    "QLinearMatMul": "quantize_static with quant_format=QuantFormat.QDQ",
    "QLinearAdd": "quantize_static with quant_format=QuantFormat.QDQ",
    "ConvInteger": "static quantization with QuantizeLinear and DequantizeLinear",
    "MatMulInteger": "static quantization with QuantizeLinear and DequantizeLinear",
    "DynamicQuantizeLinear": "static quantization with QuantizeLinear and DequantizeLinear",
    "BipolarQuant": "Quant with signed = 0 behind a ReLU",
    "FloatQuant": "Quant with signed = 0 behind a ReLU",
    "Trunc": "Quant, or an average pool without it",
    "If": "an export without branches",
    "Loop": "an export without loops",
    "Scan": "an export without loops",
}


_ACTIVATIONS = frozenset({
    "LeakyRelu", "PRelu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu",
    "Celu", "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "Softplus", "Softsign", "Mish", "Swish", "Hardmax",
})  # fmt: skip


def refusal(operation: str, domain: str) -> UnsupportedNetworkError:
    """The error for an operation that is not in the table."""
    of = f" of domain '{domain}'" if domain else ""
    remedy = _REMEDIES.get(operation)
    if remedy is not None:
        return UnsupportedNetworkError(f"'{operation}'{of} is not read; use {remedy}")
    if operation in _ACTIVATIONS:
        return UnsupportedNetworkError(
            f"'{operation}'{of} has no integrate-and-fire form; replace it by ReLU and train again"
        )
    return UnsupportedNetworkError(
        f"'{operation}'{of} has no spiking form; between two quantizers use convolutions, Gemm, batch norm, "
        f"pooling, addition, concatenation and reshapes"
    )
