"""What the quantizers of ONNX and QONNX compute, for constants and as levels of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.model_file import Node
from toolchain.importers.onnx_format.names import require_onnx
from toolchain.importers.onnx_format.values import Call, as_scalar
from toolchain.shown_values import shown_text

QONNX_DOMAINS = frozenset({"qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas"})
QONNX_QUANTIZERS = frozenset({"Quant", "IntQuant"})

_RANGES = {
    "UINT8": (0, 255), "INT8": (-128, 127), "UINT16": (0, 65535), "INT16": (-32768, 32767),
    "UINT4": (0, 15), "INT4": (-8, 7), "INT32": (-(2**31), 2**31 - 1),
}  # fmt: skip

ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.fix,
}

DOWNWARDS = frozenset({"FLOOR", "DOWN"})
"""Roundings that are down for values that are not negative."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """How integers stand for values: ``(integer - zero_point) * scale``, from ``low`` to ``high``.

    Attributes:
        scale: float64, one number or one for each channel.
        axis: of the channels; None if the scale broadcasts as it is.
        rounding: a name of QONNX.
        block: elements along the axis that share a scale; 0 if the axis has one for each.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    low: int
    high: int
    axis: int | None = None
    rounding: str = "ROUND"
    block: int = 0

    @property
    def is_uniform(self) -> bool:
        """Whether one scale holds for all elements."""
        return self.scale.size == 1 or bool((self.scale == self.scale.reshape(-1)[0]).all())

    def same_as(self, other: Codes) -> bool:
        scales, zeros = (
            (self.scale.reshape(-1), other.scale.reshape(-1)),
            (self.zero_point.reshape(-1), other.zero_point.reshape(-1)),
        )
        return (
            np.array_equal(*scales)
            and (len(zeros[0]) == len(zeros[1]) or 1 in map(len, zeros))
            and (bool((zeros[0] == zeros[1]).all()))
        )

    def zero(self) -> int:
        """The zero point, if it is one integer.

        Raises:
            UnsupportedNetworkError: it is not.
        """
        zeros = np.unique(self.zero_point)
        if len(zeros) != 1 or not abs(zeros[0]) < 2**32 or zeros[0] != np.round(zeros[0]):
            raise UnsupportedNetworkError("its zero point must be one integer for all channels")
        return int(zeros[0])

    def against(self, rank: int, array: np.ndarray) -> np.ndarray:
        """The scale or zero point in a shape that broadcasts against values of a rank."""
        if self.axis is None or array.size == 1:
            return array.reshape(()) if array.size == 1 else array
        shape = [1] * rank
        shape[self.axis % rank] = -1
        return array.reshape(shape)


def is_quantize(node: Node) -> bool:
    return node.operation == "QuantizeLinear" and node.domain in ("", "ai.onnx", "com.microsoft")


def is_dequantize(node: Node) -> bool:
    return node.operation == "DequantizeLinear" and node.domain in ("", "ai.onnx", "com.microsoft")


def is_qonnx(node: Node) -> bool:
    return node.operation in QONNX_QUANTIZERS and node.domain in QONNX_DOMAINS


def codes_of(call: Call) -> Codes:
    """The parameters of QuantizeLinear, DequantizeLinear or Quant, checked.

    Raises:
        ModelFileError, UnsupportedNetworkError: a scale that is not positive, a type that is not read.
    """
    return _codes_of_qonnx(call) if is_qonnx(call.node) else _codes_of_standard(call)


def _scale(call: Call, index: int) -> np.ndarray:
    scale = call.required(index)
    if scale.dtype.kind != "f" or scale.size == 0:
        raise ModelFileError("its scale must be floating-point values")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ModelFileError("its scale must be positive and finite")
    return scale.astype(np.float64)


def _codes_of_standard(call: Call) -> Codes:
    scale = _scale(call, 1)
    zero_point = call.static(2)
    if zero_point is not None:
        kind = zero_point.dtype.name.upper()  # also of 4 bits, which are a type of their own
    else:
        kind = "UINT8" if is_quantize(call.node) else "INT32"
        if is_quantize(call.node) and (to := call.integer("output_dtype", 0)):
            types = require_onnx().TensorProto.DataType
            kind = types.Name(to) if to in types.values() else str(to)
        zero_point = np.zeros(1)
    if kind not in _RANGES:
        raise UnsupportedNetworkError(f"it quantizes to {kind}; use uint8, or int8 behind a ReLU")
    low, high = _RANGES[kind]
    zero_point = zero_point.astype(np.int64)
    if zero_point.size not in (1, scale.size):
        raise ModelFileError(f"{zero_point.size} zero points for {scale.size} scales")
    block = call.integer("block_size", 0)
    per_axis = scale.ndim == 1 and scale.size > 1
    if block < 0 or (scale.ndim > 1 and scale.size > 1 and not block):
        raise ModelFileError("its scale must be one number, or one for each channel")
    return Codes(
        scale=scale,
        zero_point=zero_point,
        low=low,
        high=high,
        axis=call.integer("axis", 1) if per_axis or block else None,
        block=block,
    )


def _codes_of_qonnx(call: Call) -> Codes:
    scale = _scale(call, 1)
    zero_point, bits = call.required(2).astype(np.float64), as_scalar(call.required(3))
    signed, narrow = bool(call.integer("signed", 1)), bool(call.integer("narrow", 0))
    if bits != round(bits) or not 1 <= bits <= 32:
        raise UnsupportedNetworkError(
            f"its bit width must be an integer from 1 to 32, not {bits:g}"
        )
    if signed and bits == 1:
        raise UnsupportedNetworkError("a signed quantizer of 1 bit gives -1 and 1; use 2 bits")
    rounding = call.text("rounding_mode", "ROUND").upper()
    if rounding not in ROUNDINGS:
        raise ModelFileError(f"its rounding_mode '{shown_text(rounding)}' does not exist")
    span = 2 ** (int(bits) - 1 if signed else int(bits))
    low = -span + narrow if signed else 0
    high = span - 1 if signed else span - 1 - narrow
    return Codes(scale=scale, zero_point=zero_point, low=low, high=high, rounding=rounding)


def counts_at(codes: Codes, value: float) -> np.ndarray:
    """Counts of a value from 0 on, for each scale, found in float32 as runtimes find them."""
    position = np.float32(value) / codes.scale.reshape(-1).astype(np.float32)
    whole = np.floor if codes.rounding in DOWNWARDS else np.round
    return np.asarray(whole(np.minimum(position, np.float32(codes.high - codes.zero()))))


def quantized_constant(call: Call, array: np.ndarray) -> np.ndarray:
    """Integers of QuantizeLinear for a constant, computed in float32 as runtimes do."""
    codes = codes_of(call)
    if codes.block:
        raise UnsupportedNetworkError("it quantizes by blocks; store the quantized constant")
    scale, zero_point = (codes.against(array.ndim, a) for a in (codes.scale, codes.zero_point))
    integers = np.round(array.astype(np.float32) / scale.astype(np.float32)).astype(np.float64)
    return np.clip(integers + zero_point, codes.low, codes.high).astype(np.int64)


def dequantized_constant(call: Call, integers: np.ndarray) -> np.ndarray:
    """Values of DequantizeLinear for constant integers, in float64."""
    codes = codes_of(call)
    if integers.dtype.name.upper() not in (*_RANGES, "INT64"):
        raise ModelFileError(
            f"it dequantizes values of type {integers.dtype}, which are no integers"
        )
    scale, zero_point = codes.scale, codes.zero_point.astype(np.float64)
    if codes.block and scale.ndim == integers.ndim:
        axis = (codes.axis or 0) % integers.ndim
        size = integers.shape[axis]
        if scale.shape[axis] * codes.block < size or codes.block > size:
            raise ModelFileError("its scales and block_size do not cover the constant")
        repeated = [np.repeat(a, codes.block, axis) for a in (scale, zero_point) if a.ndim > 1]
        cut = [a.take(range(size), axis) for a in repeated]
        scale, zero_point = cut if len(cut) == 2 else (cut[0], zero_point)
    else:
        scale, zero_point = (codes.against(integers.ndim, a) for a in (scale, zero_point))
    result = (integers.astype(np.float64) - zero_point) * scale
    if result.shape != integers.shape:
        raise ModelFileError(
            f"its scale of shape {codes.scale.shape} does not fit a constant of shape {integers.shape}"
        )
    return result


def fake_quantized_constant(call: Call, array: np.ndarray) -> np.ndarray:
    """Values of a Quant node for a constant: integers found in float32, values in float64."""
    codes = codes_of(call)
    single = array.astype(np.float32)
    position = single / codes.scale.astype(np.float32) + codes.zero_point.astype(np.float32)
    integers = ROUNDINGS[codes.rounding](np.clip(position, codes.low, codes.high))
    result = (integers.astype(np.float64) - codes.zero_point) * codes.scale
    if result.shape != array.shape:
        raise ModelFileError(
            f"its scale of shape {codes.scale.shape} does not fit a constant of shape {array.shape}"
        )
    return result
