"""The layer graph of a NIR graph: every neuron node becomes a population, and what lies between a synapse.

All populations run the same T steps and pass each spike on in the step in which it is fired: alignment
``replicate`` with equal T. A population's potential is counted in thresholds, so that every threshold is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import QacDeployError, UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.nir_format.conventions import Convention
from toolchain.importers.nir_format.network import NirNetwork
from toolchain.importers.nir_format.nodes import (
    Convolved,
    Flattened,
    Neurons,
    Node,
    Pooled,
    Port,
    Product,
    Scaled,
)
from toolchain.importers.nir_format.strict_firing import margin_above
from toolchain.importers.nir_format.values import (
    Value,
    convolved,
    full_array,
    mismatch,
    pooled,
    product,
    require_size,
    sum_of,
    times,
)
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    Population,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
    verify_layer_graph,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class NirPopulations:
    """A layer graph, and how it belongs to the nodes it was made of.

    Attributes:
        network: the nodes as they were understood.
        populations: name of the population of each neuron node.
        thresholds: what a population's threshold of 1 stands for, in the units of its node, in the
            population's shape.
        margins: by how much this exceeds v_threshold, so that a population fires above it alone; 0 where
            none is needed, or the grid of its potentials is too fine.
        notes: what was decided.
    """

    network: NirNetwork
    graph: LayerGraph
    populations: Mapping[str, str]
    thresholds: Mapping[str, np.ndarray]
    margins: Mapping[str, float]
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
                given = sum_of([values[source] for source in sources])
            else:
                given = Value(first, input_shape)
            values[name] = reader.value_of(name, node, given)
        except QacDeployError as error:
            reason = str(error).replace("put a quantizer", "put neurons")
            raise UnsupportedNetworkError(f"{network.label}: node '{name}': {reason}") from None
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
        self.margins: dict[str, float] = {}
        self.notes: list[str] = []
        self._num_values = 0
        self._taken = {image.name}
        self._units = {image.name: Fraction(1, image.max_value)}  # of what a population sends

    def value_of(self, name: str, node: Node, given: Value) -> Value:
        value = self._applied(name, node, given)
        self._num_values += prod(value.shape)
        require_size((self._num_values,))
        return value

    def _applied(self, name: str, node: Node, given: Value) -> Value:
        match node:
            case Port(shape=shape):
                outer_input = not self.network.sources[name]
                if not outer_input and shape not in (None, given.shape, (1, *given.shape)):
                    raise mismatch(node.kind, shape, given.shape)
                return given
            case Neurons():
                return self._fired(name, node, given)
            case Product():
                return product(node, given)
            case Convolved():
                return convolved(node, given)
            case Scaled():
                return Value(times(given, node.scale, "scale"), given.shape)
            case Pooled():
                if node.mean and any(node.padding):
                    self.notes.append(
                        f"{name}: padded zeros count in the mean, as torch's default is; the format does not "
                        f"say"
                    )
                return pooled(node, given)
            case Flattened():
                return self._flattened(name, node, given)
            case _:
                assert_never(node)

    def _fired(self, name: str, node: Neurons, given: Value) -> Value:
        if not given.expression.terms:
            raise UnsupportedNetworkError("does not depend on the Input; remove it")
        gain = self.convention.gains[name]
        driven = replace(given, expression=times(given, gain, "r * dt"))
        threshold = full_array(node.v_threshold, given.shape, "v_threshold")
        for field in ("r", "v_reset", "tau_mem", "v_leak", "tau_syn", "w_in"):
            if (values := getattr(node, field)) is not None:
                full_array(values, given.shape, field)
        margin = 0.0
        if not self.convention.fires_at_equality:
            margin = margin_above(driven.expression, threshold, self.timesteps, self._units)
        threshold = threshold + margin
        population = self._unique(name)
        expression = times(driven, 1 / threshold, "v_threshold")
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
        self._units[population] = Fraction(1)
        self.thresholds[population] = threshold.reshape(expression.shape)
        self.margins[population] = margin
        return Value(LinearExpression.of_population(population, expression.shape), given.shape)

    def _flattened(self, name: str, node: Flattened, given: Value) -> Value:
        rank = len(given.shape)
        first, last = (dim + rank if dim < 0 else dim for dim in (node.start_dim, node.end_dim))
        if not 0 <= first <= last < rank:
            raise UnsupportedNetworkError(
                f"flattens axes {node.start_dim} to {node.end_dim} of values of shape {given.shape}; axes "
                f"count from 0, without the batch"
            )
        size = prod(given.shape)
        readers = [self.nodes[reader] for reader in self.network.readers[name]]
        if (first, last) == (1, rank - 1) and any(
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
        sources = network.sources[network.output]
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
        if all(source in self.names for source in sources):
            spiking = ", ".join(self.names[source] for source in sources)
            logits = f"spikes per step of {spiking} (rate code)"
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
            margins=self.margins,
            notes=(*self.notes, f"logits: {logits}"),
        )

    def _connect(self, expression: LinearExpression, target: str) -> None:
        self.synapses += [
            replace(synapse, alignment="replicate") for synapse in expression.synapses_into(target)
        ]

    def _unique(self, name: str) -> str:
        unique, repeat = name, 1
        while unique in self._taken:
            unique, repeat = f"{name}_{repeat}", repeat + 1
        self._taken.add(unique)
        return unique
