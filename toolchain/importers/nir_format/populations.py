"""The layer graph of a NIR graph: every neuron node becomes a population, and what lies between a synapse.

All populations run the same T steps and pass each spike on in the step in which it is fired: alignment
``replicate`` with equal T. A population's potential is counted in thresholds, so that every threshold is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import QacDeployError, UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.nir_format.conventions import Convention
from toolchain.importers.nir_format.execution import axes_of
from toolchain.importers.nir_format.nodes import (
    Convolved,
    Flattened,
    Neurons,
    NirNetwork,
    Node,
    Pooled,
    Port,
    Product,
    Scaled,
)
from toolchain.importers.nir_format.strict_firing import margin_above
from toolchain.importers.operations.arguments import extended
from toolchain.importers.tensor_views import MAX_MATRIX, TensorView, feature_map_shape
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    Population,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
    verify_layer_graph,
)
from toolchain.networks.layer_graph.structure import MAX_NEURONS
from toolchain.networks.linear_maps import AveragePool, Convolution, Dense, Shape, SumPool


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


@dataclass(frozen=True, kw_only=True, eq=False)
class NirPopulations:
    """A layer graph, and how it belongs to the nodes it was made of.

    Attributes:
        network: the nodes as they were understood.
        populations: name of the population of each neuron node.
        thresholds: what a population's threshold of 1 stands for, in the units of its node, broadcastable to
            the population's shape.
        strict: populations that fire at v > v_threshold exactly, as their potentials lie on a grid.
        notes: what was decided.
    """

    network: NirNetwork
    graph: LayerGraph
    populations: Mapping[str, str]
    thresholds: Mapping[str, np.ndarray]
    strict: tuple[str, ...]
    notes: tuple[str, ...]


def populations_of(
    network: NirNetwork,
    convention: Convention,
    image: InputPopulation,
    first: LinearExpression,
    input_shape: tuple[int, ...],
    timesteps: int,
) -> NirPopulations:
    """Turn nodes into populations and synapses.

    Args:
        image: the pixels.
        first: what the Input gives for them, such as normalized pixels.
        input_shape: shape of the Input.
        timesteps: T of every population.

    Raises:
        UnsupportedNetworkError: naming the node that has no form, or whose shape does not fit its sources.
    """
    reader = _Reader(network, convention, image, timesteps)
    values: dict[str, Value] = {}
    for name, node in network.nodes.items():
        try:
            if sources := network.sources[name]:
                given = _sum_of([values[source] for source in sources])
            else:
                given = Value(first, input_shape)
            values[name] = reader.value_of(name, node, given)
        except QacDeployError as error:
            raise UnsupportedNetworkError(f"{network.label}: node '{name}': {error}") from None
    return reader.result(values[network.output])


class _Reader:
    def __init__(
        self, network: NirNetwork, convention: Convention, image: InputPopulation, timesteps: int
    ) -> None:
        self.network, self.convention, self.timesteps = network, convention, timesteps
        self.nodes = dict(network.nodes)
        self.populations: list[Population] = [image]
        self.synapses: list[Synapse] = []
        self.names: dict[str, str] = {}
        self.thresholds: dict[str, np.ndarray] = {}
        self.strict: list[str] = []
        self.notes: list[str] = []
        self._num_values = 0

    def value_of(self, name: str, node: Node, given: Value) -> Value:
        value = self._applied(name, node, given)
        self._num_values += prod(value.shape)
        if self._num_values > MAX_NEURONS:
            raise UnsupportedNetworkError(
                f"up to here the graph has more than {MAX_NEURONS:,} values; use a smaller input"
            )
        return value

    def _applied(self, name: str, node: Node, given: Value) -> Value:
        match node:
            case Port(shape=shape):
                if shape is not None and shape != given.shape:
                    raise _mismatch(node.kind, shape, given.shape)
                return given
            case Neurons():
                return self._fired(name, node, given)
            case Product():
                return _product(node, given)
            case Convolved():
                return _convolved(node, given)
            case Scaled():
                return Value(_times(given, node.scale, "scale"), given.shape)
            case Pooled():
                return self._pooled(name, node, given)
            case Flattened():
                return self._flattened(name, node, given)
            case _:
                assert_never(node)

    def _fired(self, name: str, node: Neurons, given: Value) -> Value:
        if not given.expression.terms:
            raise UnsupportedNetworkError("does not depend on the Input; remove it")
        gain = self.convention.gains[name]
        driven = replace(given, expression=_times(given, gain, "r * dt"))
        threshold = _full(node.v_threshold, given.shape, "v_threshold")
        for field in ("r", "v_reset", "tau_mem", "v_leak", "tau_syn", "w_in"):
            if (values := getattr(node, field)) is not None:
                _full(values, given.shape, field)
        if not self.convention.fires_at_equality:
            margin = margin_above(driven.expression, threshold, self.timesteps, self.populations)
            if margin > 0:
                self.strict.append(name)
            threshold = threshold + margin
        population = self._unique(name)
        expression = _times(driven, 1 / threshold, "v_threshold")
        one = np.ones((1, 1, 1))
        self.populations.append(
            SpikingPopulation(
                name=population,
                shape=expression.shape,
                timesteps=self.timesteps,
                threshold=one,
                initial_potential=np.zeros((1, 1, 1)),
                bias=expression.bias,
            )
        )
        self._connect(expression, population)
        self.names[name] = population
        self.thresholds[population] = threshold.reshape(expression.shape)
        return Value(LinearExpression.of_population(population, expression.shape), given.shape)

    def _pooled(self, name: str, node: Pooled, given: Value) -> Value:
        if len(given.shape) != 3:
            raise _mismatch("a pool", ("channels", "height", "width"), given.shape)
        value = given.as_map(feature_map_shape(given.shape))
        kind = AveragePool if node.mean else SumPool
        pool = kind(kernel=node.kernel, stride=node.stride, padding=node.padding)
        _require_size(pool.output_shape(value.shape))
        if node.mean and any(node.padding):
            self.notes.append(
                f"{name}: padded zeros count in the mean, as torch's default is; the format does not say"
            )
        pooled = value.unweighted(pool)
        return Value(pooled, pooled.shape)

    def _flattened(self, name: str, node: Flattened, given: Value) -> Value:
        first, last = axes_of(node, len(given.shape))
        if not 0 <= first <= last < len(given.shape):
            raise UnsupportedNetworkError(
                f"flattens axes {node.start_dim} to {node.end_dim} of values of shape {given.shape}; axes "
                f"count from 0, without the batch"
            )
        size = prod(given.shape)
        readers = [self.nodes[n] for n, sources in self.network.sources.items() if name in sources]
        if (first, last) == (1, len(given.shape) - 1) and any(
            isinstance(reader, Product) and reader.weight.shape[1] == size for reader in readers
        ):
            self.nodes[name] = Flattened(start_dim=0, end_dim=-1)
            self.notes.append(
                f"{name}: start_dim = 1 is taken to count the batch, as the matrix behind it takes all "
                f"{size:,} values"
            )
            return Value(given.expression, (size,))
        shape = (
            *given.shape[:first],
            prod(given.shape[first : last + 1]),
            *given.shape[last + 1 :],
        )
        return Value(given.expression, shape)

    def result(self, output: Value) -> NirPopulations:
        """The layer graph, with what the Output reads as its readout."""
        expression = output.expression
        network = self.network
        if not self.names:
            raise UnsupportedNetworkError(
                f"{network.label}: has no neurons (IF, or LIF without leak); convert a network of "
                f"activations from ONNX"
            )
        if not expression.terms:
            raise UnsupportedNetworkError(
                f"{network.label}: the Output does not depend on the Input; connect them"
            )
        spiking = {self.names[n] for n in network.sources[network.output] if n in self.names}
        readout = self._unique(network.output)
        self._connect(expression, readout)
        self.populations.append(
            ReadoutPopulation(
                name=readout,
                shape=expression.shape,
                bias=expression.bias,
                timesteps=self.timesteps,
            )
        )
        if spiking:
            logits = f"spikes per step of {', '.join(sorted(spiking))} (rate code)"
        else:
            logits = f"mean over all steps of what {network.output} reads"
        try:
            graph = verify_layer_graph(LayerGraph.build(self.populations, self.synapses))
        except QacDeployError as error:
            raise UnsupportedNetworkError(f"{network.label}: {error}") from None
        return NirPopulations(
            network=replace(network, nodes=self.nodes),
            graph=graph,
            populations=self.names,
            thresholds=self.thresholds,
            strict=tuple(self.strict),
            notes=(*self.notes, f"logits: {logits}"),
        )

    def _connect(self, expression: LinearExpression, target: str) -> None:
        self.synapses += [
            replace(synapse, alignment="replicate") for synapse in expression.synapses_into(target)
        ]

    def _unique(self, name: str) -> str:
        taken = {population.name for population in self.populations}
        unique, repeat = name, 1
        while unique in taken:
            unique, repeat = f"{name}_{repeat}", repeat + 1
        return unique


def _sum_of(values: list[Value]) -> Value:
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


def _product(node: Product, given: Value) -> Value:
    if given.shape != node.weight.shape[1:]:
        raise _mismatch("the weight", node.weight.shape[1:], given.shape)
    value = given.expression.dense(Dense(weight=node.weight))
    if node.bias is not None:
        value = value.shifted(node.bias)
    return Value(value, (len(node.weight),))


def _convolved(node: Convolved, given: Value) -> Value:
    rank = node.dimensions + 1
    channels = node.weight.shape[1] * node.groups
    if len(given.shape) != rank or given.shape[0] != channels:
        sizes = ("height", "width") if node.dimensions == 2 else ("length",)
        raise _mismatch("the weight", (channels, *sizes), given.shape)
    value = given.as_map(feature_map_shape(given.shape))
    if node.input_shape is not None and node.input_shape != value.shape[1:]:
        raise _mismatch("input_shape", node.input_shape[-node.dimensions :], given.shape[1:])
    padding, after = _padding(node)
    convolution = Convolution(
        weight=node.weight,
        stride=node.stride,
        padding=padding,
        dilation=node.dilation,
        groups=node.groups,
    )
    extent = value.shape[0], value.shape[1] + after[0], value.shape[2] + after[1]
    _require_size(convolution.output_shape(extent))
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


def _times(given: Value, factors: np.ndarray, field: str) -> LinearExpression:
    """One factor for each value, or for all."""
    expression = given.expression
    full = np.broadcast_to(_full(factors, given.shape, field), given.shape).reshape(
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


def _full(values: np.ndarray, shape: tuple[int, ...], field: str) -> np.ndarray:
    """A parameter of a population in its shape; one value stands for all."""
    if values.size == 1:
        return np.full(shape, values.reshape(-1)[0])
    if values.shape != shape:
        raise _mismatch(field, values.shape, shape)
    return values


def _mismatch(
    what: str, wanted: tuple[object, ...], found: tuple[int, ...]
) -> UnsupportedNetworkError:
    sizes = "x".join(map(str, wanted))
    return UnsupportedNetworkError(
        f"{what} is made for values of shape {sizes}, but its sources give {'x'.join(map(str, found))}; "
        f"write a Flatten in front of a matrix, and check the edges and the shape of the Input"
    )


def _require_size(shape: Shape) -> None:
    if prod(shape) > MAX_NEURONS:
        raise UnsupportedNetworkError(
            f"gives {prod(shape):,} values, above the limit of {MAX_NEURONS:,}; use a smaller input"
        )
