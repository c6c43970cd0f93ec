"""What the nodes without memory give, as linear expressions of populations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.datasets.size_limit import VARIABLE, size_limit
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.nir_format.nodes import Convolved, Pooled, Product
from toolchain.importers.operations.arguments import extended
from toolchain.importers.tensor_views import MAX_MATRIX, TensorView, feature_map_shape
from toolchain.networks.layer_graph.structure import MAX_NEURONS
from toolchain.networks.linear_maps import AveragePool, Convolution, Dense, Pair, Shape, SumPool

MAX_TAPS = 2**24
"""Of a pool along one axis: taps of its window, times its positions, times the size of the map."""

_BYTES_PER_VALUE = 32  # of a map and its copies


@dataclass(frozen=True, eq=False)
class Value:
    """What a node gives.

    Args:
        expression: its elements in row-major order.
        shape: the node's own shape.
    """

    expression: LinearExpression
    shape: tuple[int, ...]

    def as_map(self, shape: Shape) -> LinearExpression:
        """The same elements in the shape of a feature map."""
        if self.expression.shape == shape:
            return self.expression
        return TensorView.of_expression(self.expression, shape).feature_map()


def sum_of(values: Sequence[Value]) -> Value:
    """The sum of what several edges bring."""
    total = values[0]
    for value in values[1:]:
        if value.shape != total.shape:
            raise UnsupportedNetworkError(
                f"its edges bring values of shapes {total.shape} and {value.shape}; all must have one shape"
            )
        shape = total.expression.shape
        if value.expression.shape != shape:
            shape = feature_map_shape(total.shape)
        total = Value(total.as_map(shape).plus(value.as_map(shape)), total.shape)
    return total


def product(node: Product, given: Value) -> Value:
    if given.shape != node.weight.shape[1:]:
        raise mismatch("the weight", node.weight.shape[1:], given.shape)
    value = given.expression.dense(Dense(weight=node.weight))
    if node.bias is not None:
        value = value.shifted(node.bias)
    return Value(value, (len(node.weight),))


def convolved(node: Convolved, given: Value) -> Value:
    rank = node.dimensions + 1
    channels = node.weight.shape[1] * node.groups
    if len(given.shape) != rank or given.shape[0] != channels:
        sizes = ("height", "width") if node.dimensions == 2 else ("length",)
        raise mismatch("the weight", (channels, *sizes), given.shape)
    value = given.as_map(feature_map_shape(given.shape))
    if node.input_shape is not None and node.input_shape != value.shape[1:]:
        raise mismatch("input_shape", node.input_shape[-node.dimensions :], given.shape[1:])
    padding, after = _padding(node)
    convolution = Convolution(
        weight=node.weight,
        stride=node.stride,
        padding=padding,
        dilation=node.dilation,
        groups=node.groups,
    )
    extent = value.shape[0], value.shape[1] + after[0], value.shape[2] + after[1]
    _require_window(extent, padding, convolution.output_shape(extent))
    if any(after):
        value = extended(value, list(after))
    value = value.convolved(convolution).shifted(node.bias)
    return Value(value, value.shape if node.dimensions == 2 else (value.shape[0], value.shape[2]))


def _padding(node: Convolved) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros on both sides, and more of them after the last row and column, as torch pads for ``same``."""
    match node.padding:
        case "valid":
            return (0, 0), (0, 0)
        case "same":
            rows, columns = (
                d * (k - 1) for d, k in zip(node.dilation, node.weight.shape[2:], strict=True)
            )
            return (rows // 2, columns // 2), (rows % 2, columns % 2)
    return node.padding, (0, 0)


def pooled(node: Pooled, given: Value) -> Value:
    """Sums or means over windows; padded zeros count."""
    if len(given.shape) != 3:
        raise mismatch("a pool", ("channels", "height", "width"), given.shape)
    value = given.as_map(feature_map_shape(given.shape))
    kind = AveragePool if node.mean else SumPool
    pool = kind(kernel=node.kernel, stride=node.stride, padding=node.padding)
    result = pool.output_shape(value.shape)
    _require_window(value.shape, node.padding, result)
    for axis in (1, 2):
        if (taps := node.kernel[axis - 1] * value.shape[axis] * result[axis]) > MAX_TAPS:
            raise UnsupportedNetworkError(
                f"a pool of {node.kernel[0]}x{node.kernel[1]} over maps of {value.shape[1]}x{value.shape[2]} "
                f"has {taps:,} taps along one axis, above the limit of {MAX_TAPS:,}; use a smaller kernel"
            )
    pooled_map = value.unweighted(pool)
    return Value(pooled_map, pooled_map.shape)


def times(given: Value, factors: np.ndarray, field: str) -> LinearExpression:
    """One factor for each value, or for all."""
    expression = given.expression
    full = np.broadcast_to(full_array(factors, given.shape, field), given.shape).reshape(
        expression.shape
    )
    per_channel = full[:, 0, 0]
    if (full == per_channel[:, None, None]).all():
        return expression.scaled(per_channel)
    if full.size**2 > MAX_MATRIX:
        raise UnsupportedNetworkError(
            f"{field} differs within a channel, which takes a matrix of {full.size**2:,} entries, above the "
            f"limit of {MAX_MATRIX:,}; use one value per channel"
        )
    return expression.dense(Dense(weight=np.diag(full.reshape(-1))))


def full_array(values: np.ndarray, shape: tuple[int, ...], field: str) -> np.ndarray:
    """A parameter of a population in its shape; one value stands for all."""
    if values.size == 1:
        return np.full(shape, values.reshape(-1)[0])
    if values.shape != shape:
        raise mismatch(field, values.shape, shape)
    return values


def mismatch(
    what: str, wanted: tuple[object, ...], found: tuple[int, ...]
) -> UnsupportedNetworkError:
    sizes = "x".join(map(str, wanted))
    return UnsupportedNetworkError(
        f"{what} is made for values of shape {sizes}, but its sources give {'x'.join(map(str, found))}; "
        f"write a Flatten in front of a matrix, and check the edges and the shape of the Input"
    )


def _require_window(shape: Shape, padding: Pair, result: Shape) -> None:
    """Check the size of a map with its padding, and of what a window makes of it."""
    require_size((shape[0], shape[1] + 2 * padding[0], shape[2] + 2 * padding[1]))
    require_size(result)


def require_size(shape: Sequence[int]) -> None:
    """Check that values of a shape fit into memory, before any are computed.

    Raises:
        UnsupportedNetworkError: there are too many of them.
    """
    most = min(MAX_NEURONS, size_limit(None) // _BYTES_PER_VALUE)
    if prod(shape) > most:
        raise UnsupportedNetworkError(
            f"gives {prod(shape):,} values, above the limit of {most:,}; use a smaller input, or raise "
            f"{VARIABLE} if it is below 4 GiB"
        )
