"""Operations on constants, such as the arithmetic on shapes that exporters write, in NumPy.

They keep the types of the file, so that a weight is rounded as its own runtime rounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.names import require_onnx
from toolchain.importers.onnx_format.operations.arithmetic import clip_bounds
from toolchain.importers.onnx_format.operations.geometry import axes_of, axis_of
from toolchain.importers.onnx_format.values import Call, as_integers, as_scalar

MAX_ELEMENTS = 2**26
"""Of one computed constant."""

MAX_PRODUCTS = 2**32
"""Of one product of constant matrices."""

Fold = Callable[[Call, "list[np.ndarray]"], "np.ndarray | list[np.ndarray]"]


def require_size(shape: Sequence[int]) -> None:
    """Require that an array of this shape may be made.

    Raises:
        ModelFileError: it has too many elements, or a negative size.
    """
    if any(size < 0 for size in shape):
        raise ModelFileError(f"a constant of the impossible shape {list(shape)[:8]}")
    if prod(shape) > MAX_ELEMENTS:
        raise ModelFileError(
            f"a constant of {prod(shape):,} elements, above the limit of {MAX_ELEMENTS:,}"
        )


def _binary(function: Callable[[Any, Any], Any]) -> Fold:
    def fold(call: Call, given: list[np.ndarray]) -> np.ndarray:
        require_size(np.broadcast_shapes(given[0].shape, given[1].shape))
        result = np.asarray(function(given[0], given[1]))
        return result if result.dtype.kind == "b" else result.astype(given[0].dtype)

    return fold


def _unary(function: Callable[[Any], Any]) -> Fold:
    return lambda call, given: np.asarray(function(given[0])).astype(given[0].dtype)


def _divide(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if first.dtype.kind in "iu" and second.dtype.kind in "iu":
        if (second == 0).any():
            raise ModelFileError("a constant is divided by zero")
        return np.sign(first) * np.sign(second) * (np.abs(first) // np.abs(second))
    return first / second


def _matmul(call: Call, given: list[np.ndarray]) -> np.ndarray:
    first, second = given[:2]
    if not 1 <= first.ndim <= 2 or not 1 <= second.ndim <= 2:
        raise UnsupportedNetworkError("a product of constants of more than two axes is not read")
    require_size((prod(first.shape[:-1]), prod(second.shape[1:])))
    if first.size * prod(second.shape[1:]) > MAX_PRODUCTS:
        raise ModelFileError(f"more than {MAX_PRODUCTS:,} products of constants")
    return first @ second


def _chain(call: Call, given: list[np.ndarray]) -> np.ndarray:
    result = given[0]
    function = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}[call.node.operation]
    for other in given[1:]:
        require_size(np.broadcast_shapes(result.shape, other.shape))
        result = function(result, other)
    return result


def _constant(call: Call, given: list[np.ndarray]) -> np.ndarray:
    kinds = {"value_float": np.float32, "value_floats": np.float32,
             "value_int": np.int64, "value_ints": np.int64}  # fmt: skip
    found: list[Any] = list(call.node.attributes.items())
    if len(found) == 1:
        ((name, value),) = found
        if name == "value" and isinstance(value, np.ndarray):
            return value
        if name in kinds:
            return np.array(value, kinds[name])
    raise ModelFileError("it must have one value, a tensor or numbers")


def _cast(call: Call, given: list[np.ndarray]) -> np.ndarray:
    types = require_onnx().TensorProto
    kinds = {
        types.FLOAT: np.float32, types.DOUBLE: np.float64, types.FLOAT16: np.float16,
        types.INT64: np.int64, types.INT32: np.int32, types.INT16: np.int16, types.INT8: np.int8,
        types.UINT8: np.uint8, types.UINT16: np.uint16, types.UINT32: np.uint32, types.BOOL: np.bool_,
    }  # fmt: skip
    if (to := call.integer("to", 0)) not in kinds:
        raise UnsupportedNetworkError(f"it casts a constant to type {to}, which is not read")
    return given[0].astype(kinds[to])


def _constant_of_shape(call: Call, given: list[np.ndarray]) -> np.ndarray:
    shape = as_integers(given[0])
    require_size(shape)
    value: Any = call.node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise ModelFileError("its value must be one number")
    return np.full(shape, value.reshape(-1)[0], value.dtype)


def _range(call: Call, given: list[np.ndarray]) -> np.ndarray:
    start, stop, step = (as_scalar(array) for array in given[:3])
    if step == 0 or not np.isfinite([start, stop, step]).all():
        raise ModelFileError("its start, limit and step must be finite, and the step not zero")
    require_size([max(0, int(np.ceil((stop - start) / step)))])
    return np.arange(start, stop, step).astype(given[0].dtype)


def _reshape(call: Call, given: list[np.ndarray]) -> np.ndarray:
    target = as_integers(given[1])
    if not call.integer("allowzero", 0):
        target = [
            given[0].shape[i] if size == 0 and i < given[0].ndim else size
            for i, size in enumerate(target)
        ]
    return given[0].reshape(target)


def _flatten(call: Call, given: list[np.ndarray]) -> np.ndarray:
    axis = call.integer("axis", 1)
    axis = axis + given[0].ndim if axis < 0 else axis
    return given[0].reshape(prod(given[0].shape[:axis]), -1)


def _transpose(call: Call, given: list[np.ndarray]) -> np.ndarray:
    return given[0].transpose(call.integers("perm"))


def _squeeze(call: Call, given: list[np.ndarray]) -> np.ndarray:
    axes = _axes(call, given)
    return given[0].squeeze(None if axes is None else tuple(axes))


def _unsqueeze(call: Call, given: list[np.ndarray]) -> np.ndarray:
    return np.expand_dims(given[0], tuple(_axes(call, given) or []))


def _axes(call: Call, given: list[np.ndarray], since: int = 13) -> list[int] | None:
    if call.opset < since:
        return call.integers("axes")
    return as_integers(given[1]) if len(given) > 1 else None


def _concat(call: Call, given: list[np.ndarray]) -> np.ndarray:
    require_size([sum(array.size for array in given)])
    return np.concatenate(given, call.integer("axis", 0))


def _slice(call: Call, given: list[np.ndarray]) -> np.ndarray:
    if call.opset < 10:
        lists = [call.integers(name) for name in ("starts", "ends", "axes")]
    else:
        lists = [as_integers(array) for array in given[1:]]
    starts, ends, axes, steps = [*lists, None, None, None, None][:4]
    if starts is None or ends is None:
        raise ModelFileError("it has no starts or no ends")
    index = [slice(None)] * given[0].ndim
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        end_or_none = None if step < 0 and end < -given[0].shape[axis] else end
        index[axis_of(axis, given[0].ndim)] = slice(start, end_or_none, step)
    return given[0][tuple(index)]


def _gather(call: Call, given: list[np.ndarray]) -> np.ndarray:
    data, indices = given[:2]
    axis = axis_of(call.integer("axis", 0), data.ndim)
    require_size((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))
    return np.take(data, indices, axis)


def _expand(call: Call, given: list[np.ndarray]) -> np.ndarray:
    shape = np.broadcast_shapes(given[0].shape, tuple(as_integers(given[1])))
    require_size(shape)
    return np.broadcast_to(given[0], shape).copy()


def _tile(call: Call, given: list[np.ndarray]) -> np.ndarray:
    repeats = as_integers(given[1])
    require_size([prod(given[0].shape), *repeats])
    return np.tile(given[0], repeats)


def _where(call: Call, given: list[np.ndarray]) -> np.ndarray:
    require_size(np.broadcast_shapes(*(array.shape for array in given[:3])))
    return np.where(given[0].astype(bool), given[1], given[2])


def _split(call: Call, given: list[np.ndarray]) -> list[np.ndarray]:
    axis = axis_of(call.integer("axis", 0), given[0].ndim)
    sizes = call.integers("split") if call.opset < 13 else None
    if len(given) > 1:
        sizes = as_integers(given[1])
    parts = len(call.node.outputs)
    if sizes is None:
        chunk = -(-given[0].shape[axis] // parts)
        return np.split(given[0], [chunk * (i + 1) for i in range(parts - 1)], axis)
    return np.split(given[0], np.cumsum(sizes)[:-1].tolist(), axis)


def _clip(call: Call, given: list[np.ndarray]) -> np.ndarray:
    low, high = clip_bounds(call)
    kind = given[0].dtype
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        low, high = max(low, limits.min), min(high, limits.max)
        return np.clip(given[0].astype(np.int64), int(low), int(high)).astype(kind)
    if kind.kind != "f":  # integers of 4 bits
        return np.clip(given[0].astype(np.int64), low, high).astype(np.int64)
    return np.clip(given[0], low, high).astype(kind)


def _reduced(function: Callable[..., Any], since: int) -> Fold:
    def fold(call: Call, given: list[np.ndarray]) -> np.ndarray:
        axes = _axes(call, given, since)
        along = tuple(axes_of(axes, given[0].ndim)) if axes else None
        keep = bool(call.integer("keepdims", 1))
        return np.asarray(function(given[0], axis=along, keepdims=keep)).astype(given[0].dtype)

    return fold


FOLDS: dict[str, Fold] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Identity": lambda call, given: given[0],
    "Cast": _cast,
    "Size": lambda call, given: np.array(given[0].size, np.int64),
    "Shape": lambda call, given: np.array(given[0].shape, np.int64),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "Where": _where,
    "Split": _split,
    "Clip": _clip,
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(_divide),
    "Mod": _binary(np.mod),
    "Pow": _binary(np.power),
    "Equal": _binary(np.equal),
    "Less": _binary(np.less),
    "Greater": _binary(np.greater),
    "And": _binary(np.logical_and),
    "Or": _binary(np.logical_or),
    "Not": lambda call, given: np.logical_not(given[0]),
    "Max": _chain,
    "Min": _chain,
    "Sum": _chain,
    "MatMul": _matmul,
    "Neg": _unary(np.negative),
    "Abs": _unary(np.abs),
    "Sqrt": _unary(np.sqrt),
    "Exp": _unary(np.exp),
    "Log": _unary(np.log),
    "Reciprocal": _unary(np.reciprocal),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Round": _unary(np.round),
    "Sign": _unary(np.sign),
    "Relu": _unary(lambda x: np.maximum(x, 0)),
    "ReduceProd": _reduced(np.prod, 18),
    "ReduceSum": _reduced(np.sum, 13),
    "ReduceMean": _reduced(np.mean, 18),
    "ReduceMax": _reduced(np.max, 18),
    "ReduceMin": _reduced(np.min, 18),
}
