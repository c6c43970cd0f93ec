"""The linear maps of a synapse as ONNX nodes that add integers exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from typing_extensions import assert_never

from deploy.backends.onnx_format.dialects import Dialect
from deploy.backends.onnx_format.graph import GraphWriter
from toolchain.networks.integer_network import IntegerSynapse
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
)


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """A float32 tensor ``(batch, *shape)``, or ``(batch, channels)`` if it is flat.

    Attributes:
        name: of the tensor.
    """

    name: str
    shape: Shape
    is_flat: bool = False


def apply_maps(
    writer: GraphWriter,
    dialect: Dialect,
    synapse: IntegerSynapse,
    source: FeatureMap,
    exponent: int,
    name: str,
) -> FeatureMap:
    """Add the maps of a synapse, with ``2^exponent`` in its weight.

    Args:
        name: of the synapse, for nodes and tensors.
    """
    pools = [m for m in synapse.maps if isinstance(m, SumPool) and _is_average(m)]
    scale = 2.0**exponent * prod(m.fan_in for m in pools)
    value = source
    for linear_map in synapse.maps:
        match linear_map:
            case Convolution() | Dense() | Scale():
                value = _weighted(writer, dialect, linear_map, value, scale, name)
            case SumPool():
                value = _sum_pool(writer, dialect, linear_map, value, name)
            case Resample(rows=rows, columns=columns):
                value = _resample(writer, rows, columns, as_map(writer, value), name)
            case SelectChannels(channels=channels):
                value = as_map(writer, value)
                moved = _move(writer, channels, value.shape[0], 1, value.name, f"{name}_channels")
                value = replace(value, name=moved, shape=(len(channels), *value.shape[1:]))
            case _:
                assert_never(linear_map)
    return value


def as_map(writer: GraphWriter, value: FeatureMap) -> FeatureMap:
    """The value with three axes behind the batch."""
    if not value.is_flat:
        return value
    size = writer.constant(np.array([0, value.shape[0], 1, 1], np.int64), "map_of_features")
    name = writer.node("Reshape", [value.name, size], f"{value.name}_map")
    return replace(value, name=name, is_flat=False)


def as_flat(writer: GraphWriter, value: FeatureMap) -> FeatureMap:
    """The value with one axis behind the batch, in row-major order."""
    if value.is_flat:
        return value
    name = writer.node("Flatten", [value.name], f"{value.name}_flat", axis=1)
    return replace(value, name=name, shape=(prod(value.shape), 1, 1), is_flat=True)


def _weighted(
    writer: GraphWriter,
    dialect: Dialect,
    linear_map: Convolution | Dense | Scale,
    value: FeatureMap,
    scale: float,
    name: str,
) -> FeatureMap:
    weight, stored_as = linear_map.weight, f"{name}_weight"
    match linear_map:
        case Convolution():
            return _convolve(writer, dialect, linear_map, as_map(writer, value), scale, name)
        case Dense():
            flat = as_flat(writer, value)
            product = dialect.dense(writer, flat.name, weight, scale, name)
            return FeatureMap(name=product, shape=(len(weight), 1, 1), is_flat=True)
        case Scale():
            factors = weight if value.is_flat else weight.reshape(1, -1, 1, 1)
            stored = dialect.weight(writer, factors, scale, stored_as)
            product = writer.node("Mul", [value.name, stored], f"{name}_scale")
            return replace(value, name=product)
        case _:
            assert_never(linear_map)


def _convolve(
    writer: GraphWriter,
    dialect: Dialect,
    convolution: Convolution,
    value: FeatureMap,
    scale: float,
    name: str,
) -> FeatureMap:
    stored = dialect.weight(writer, convolution.weight, scale, f"{name}_weight")
    result = writer.node(
        "Conv",
        [value.name, stored],
        f"{name}_conv",
        kernel_shape=list(convolution.kernel),
        strides=list(convolution.stride),
        pads=list(convolution.padding) * 2,
        dilations=list(convolution.dilation),
        group=convolution.groups,
    )
    return FeatureMap(name=result, shape=convolution.output_shape(value.shape))


def _is_average(pool: SumPool) -> bool:
    """Whether a pool is written as an average, which float32 divides exactly."""
    fits = all(p < k for p, k in zip(pool.padding, pool.kernel, strict=True))
    return fits and pool.fan_in & (pool.fan_in - 1) == 0


def _sum_pool(
    writer: GraphWriter, dialect: Dialect, pool: SumPool, value: FeatureMap, name: str
) -> FeatureMap:
    """An average whose divisor is in the weight, or a convolution of ones."""
    value = as_map(writer, value)
    if not _is_average(pool):
        channels = value.shape[0]
        ones = Convolution(
            weight=np.ones((channels, 1, *pool.kernel), np.int8),
            stride=pool.stride,
            padding=pool.padding,
            groups=channels,
        )
        return _convolve(writer, dialect, ones, value, 1, f"{name}_sum")
    if pool.fan_in == 1 and pool.stride == (1, 1) and pool.padding == (0, 0):
        return value
    result = writer.node(
        "AveragePool",
        [value.name],
        f"{name}_pool",
        kernel_shape=list(pool.kernel),
        strides=list(pool.stride),
        pads=list(pool.padding) * 2,
        count_include_pad=1,
    )
    return FeatureMap(name=result, shape=pool.output_shape(value.shape))


def _resample(
    writer: GraphWriter, rows: np.ndarray, columns: np.ndarray, value: FeatureMap, name: str
) -> FeatureMap:
    result = value.name
    factors = [_nearest_factor(matrix) for matrix in (rows, columns)]
    if all(factors) and factors != [1, 1]:
        sizes = writer.constant(np.array([1, 1, *factors], np.float32), f"{name}_factors")
        result = writer.node(
            "Resize",
            [result, "", sizes],
            f"{name}_upsampled",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    else:
        for axis, matrix in ((2, rows), (3, columns)):
            word = f"{name}_{'rows' if axis == 2 else 'columns'}"
            result = _along_axis(writer, matrix, axis, result, word)
    return FeatureMap(name=result, shape=(value.shape[0], len(rows), len(columns)))


def _nearest_factor(matrix: np.ndarray) -> int:
    """How often each source of an axis is repeated in order; 0 if it is something else."""
    targets, sources = matrix.shape
    factor, rest = divmod(targets, sources)
    if rest or not factor:
        return 0
    repeated = np.repeat(np.eye(sources, dtype=np.int64), factor, axis=0)
    return factor if np.array_equal(matrix, repeated) else 0


def _along_axis(writer: GraphWriter, matrix: np.ndarray, axis: int, tensor: str, name: str) -> str:
    """Sums along rows (axis 2) or columns (axis 3)."""
    if (matrix.sum(axis=1) <= 1).all():  # at most one source for each target
        sources = np.where(matrix.any(axis=1), matrix.argmax(axis=1), -1)
        return _move(writer, sources, matrix.shape[1], axis, tensor, name)
    values = matrix.astype(np.float32)
    stored = writer.constant(values if axis == 2 else values.T, f"{name}_sources")
    inputs = [stored, tensor] if axis == 2 else [tensor, stored]
    return writer.node("MatMul", inputs, name)


def _move(
    writer: GraphWriter, sources: np.ndarray, size: int, axis: int, tensor: str, name: str
) -> str:
    """One element of an axis, or zeros (-1), for each target: a padded slice, or a selection."""
    if np.array_equal(sources, np.arange(size)):
        return tensor
    (read,) = np.nonzero(sources >= 0)
    before, after = (int(read[0]), len(sources) - 1 - int(read[-1])) if len(read) else (0, 0)
    inner = sources[before : len(sources) - after]
    step = int(inner[1] - inner[0]) if len(inner) > 1 else 1
    if step > 0 and (inner >= 0).all() and (np.diff(inner) == step).all():
        stop = int(inner[-1]) + 1
        if (int(inner[0]), stop, step) != (0, size, 1):
            window = (("starts", inner[0]), ("ends", stop), ("axes", axis), ("steps", step))
            parts = [writer.constant(np.array([v], np.int64), f"{name}_{w}") for w, v in window]
            tensor = writer.node("Slice", [tensor, *parts], f"{name}_slice")
        return _pad(writer, before, after, axis, tensor, name)
    if (sources < 0).any():
        tensor = _pad(writer, 0, 1, axis, tensor, name)  # a last element of zeros
    indices = np.where(sources < 0, size, sources)
    stored = writer.constant(indices.astype(np.int64), f"{name}_indices")
    return writer.node("Gather", [tensor, stored], f"{name}_select", axis=axis)


def _pad(writer: GraphWriter, before: int, after: int, axis: int, tensor: str, name: str) -> str:
    if not before and not after:
        return tensor
    sizes = np.zeros(8, np.int64)
    sizes[axis], sizes[4 + axis] = before, after
    return writer.node("Pad", [tensor, writer.constant(sizes, f"{name}_pads")], f"{name}_pad")
