"""The integer network as a NIR graph (Pedersen et al., "Neuromorphic intermediate representation", 2024).

A synapse becomes a chain of nodes, a population an IF node, and a join several edges into one IF node.
Feature maps keep three dimensions; a population behind a dense map, and all that follow it, have one. The
bias of a population is that of one node in front of it.

nir 1.0.8 derives the shapes behind a convolution from the first size of its kernel and without its groups.
A grouped or rectangular kernel is therefore filled up with zeros, and a map that NIR lacks is written as
the convolution or matrix that equals it. So are scales, and matrices always have a bias: sinabs and nirtorch
read neither Scale nor Linear. What NIR cannot express is kept as metadata of the nodes, and
listed as a loss because other readers ignore it. The metadata of the graph holds the network itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import nir
import numpy as np
from typing_extensions import assert_never

from deploy.backends.merged_maps import merged_matrix, square_convolution
from toolchain.bounded_readers import parse_json
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.serialize import describe_network, network_of_document
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    chain_output_shape,
    describe,
)

MOST_WEIGHTS = 2**25
"""Weights of one node that stands for a map which NIR or nir lacks."""

RESET = "soft: v -= v_threshold where v >= v_threshold"
"""Metadata of every IF node."""

_NETWORK = "qac_deploy_network"  # metadata of the graph, as JSON; its arrays follow
_ARRAY = "qac_deploy_array_"
_SOFT_RESET = (
    "soft reset and spiking at equality: NIR's IF is reset to v_reset when v exceeds the threshold"
)

Chain = list[tuple[str, nir.NIRNode]]
"""Nodes of a synapse in order, each with a word for what it computes."""


@dataclass(frozen=True, eq=False)
class NirExport:
    """A graph, and what other readers ignore."""

    graph: nir.NIRGraph
    losses: list[str]


def to_nir(network: IntegerNetwork) -> NirExport:
    """The NIR graph of an integer network; weights are float64, its integers times ``2^exponent``.

    Raises:
        UnsupportedNetworkError: a synapse needs too many weights; the message names it.
    """
    names = _node_names(network)
    taken = set(names.values())
    flat: set[str] = set()
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    without_bias: list[str] = []
    for population in network.populations:
        incoming = network.incoming(population.name)
        if any(s.source in flat or isinstance(s.weighted, Dense) for s in incoming):
            flat.add(population.name)
        is_flat = population.name in flat
        chains = [_chain(network, synapse, flat) for synapse in incoming]
        node = nodes[names[population.name]] = _population_node(population, is_flat)
        if not isinstance(population, IntegerInput) and not _add_bias(chains, population, is_flat):
            node.metadata["bias"] = population.bias
            without_bias.append(population.name)
        for synapse, chain in zip(incoming, chains, strict=True):
            chain[0][1].metadata = {"exponent": synapse.exponent, "alignment": synapse.alignment}
            before = names[synapse.source]
            for word, part in chain:
                after = _unused(
                    f"{names[synapse.source]} to {names[synapse.target]}, {word}", taken
                )
                nodes[after] = part
                edges.append((before, after))
                before = after
            edges.append((before, names[population.name]))
    try:
        graph = nir.NIRGraph(nodes, edges, _network_metadata(network))
    except ValueError as error:
        raise UnsupportedNetworkError(f"nir {nir.version} refuses the graph: {error}") from error
    return NirExport(graph, _losses(network, without_bias))


def from_nir(graph: nir.NIRGraph) -> IntegerNetwork:
    """The integer network of a graph that ``to_nir`` made.

    Raises:
        UnsupportedNetworkError: the graph has no metadata of qac-deploy, or was changed since.
        ModelFileError: its metadata is damaged.
    """
    if _NETWORK not in graph.metadata:
        raise UnsupportedNetworkError(
            "the graph has no metadata of qac-deploy, so its timesteps and integers are unknown; only "
            "graphs that `qac-deploy export` wrote can be read"
        )
    arrays = {
        key.removeprefix(_ARRAY): np.asarray(values)
        for key, values in graph.metadata.items()
        if key.startswith(_ARRAY)
    }
    try:
        document = parse_json(str(graph.metadata[_NETWORK]).encode())
    except ValueError as error:
        raise UnsupportedNetworkError(
            f"metadata {_NETWORK} of the graph is not valid JSON ({error}); export the build again"
        ) from error
    network = network_of_document(Path(_NETWORK), document, arrays)
    if difference := _first_difference(to_nir(network).graph, graph):
        raise UnsupportedNetworkError(
            f"{difference} is not what `qac-deploy export` writes for the network in the metadata of the "
            f"graph: it was changed since; export the build again"
        )
    return network


def _node_names(network: IntegerNetwork) -> dict[str, str]:
    """A node's name for each population; HDF5 takes no slash in it."""
    taken: set[str] = set()
    return {p.name: _unused(p.name.replace("/", "_"), taken) for p in network.populations}


def _unused(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken; it is taken from then on."""
    name = "_" if name == "." else name  # "." is the group itself in HDF5
    numbered = (name if number == 1 else f"{name} ({number})" for number in count(1))
    unused = next(candidate for candidate in numbered if candidate not in taken)
    taken.add(unused)
    return unused


def _population_node(population: IntegerPopulation, is_flat: bool) -> nir.NIRNode:
    shape = (prod(population.shape),) if is_flat else population.shape
    metadata = {"timesteps": population.timesteps, "shape": np.array(population.shape)}
    match population:
        case IntegerInput(max_value=max_value, unit=unit):
            metadata |= {"max_value": max_value, "unit": unit}
            return nir.Input({"input": np.array(shape)}, metadata=metadata)
        case IntegerReadout(unit=unit):
            metadata |= {"unit": unit}
            return nir.Output({"output": np.array(shape)}, metadata=metadata)
        case IntegerSpiking(threshold=threshold):
            metadata |= {
                "initial_potential": population.initial_potential,
                "role": population.role,
                "reset": RESET,
            }
            whole = np.broadcast_to(threshold, population.shape).reshape(shape).astype(np.float64)
            return nir.IF(r=np.ones(shape), v_threshold=whole, metadata=metadata)
        case _:
            assert_never(population)


def _chain(network: IntegerNetwork, synapse: IntegerSynapse, flat: set[str]) -> Chain:
    """The nodes of a synapse."""
    shape = network[synapse.source].shape
    is_dense = isinstance(synapse.weighted, Dense)
    if synapse.source in flat or (is_dense and synapse.pools_after):
        return _flat_chain(synapse, shape, synapse.source in flat)
    chain: Chain = []
    for index, linear_map in enumerate(synapse.maps):
        factor = 2**synapse.exponent if linear_map is synapse.weighted else 1
        parts = _map_nodes(synapse, linear_map, shape, factor)
        chain += [(f"{index} {word}", node) for word, node in parts]
        shape = linear_map.output_shape(shape)
    if synapse.target in flat and not is_dense:
        chain.append(("flatten", nir.Flatten({"input": np.array(shape)}, start_dim=0)))
    return chain


def _flat_chain(synapse: IntegerSynapse, shape: Shape, source_is_flat: bool) -> Chain:
    """The nodes of a synapse into a population of one dimension."""
    flatten = nir.Flatten({"input": np.array(shape)}, start_dim=0)
    chain: Chain = [] if source_is_flat else [("flatten", flatten)]
    match synapse.maps:
        case (Dense(weight=weight),):
            return [*chain, ("0 affine", _affine(weight, 2**synapse.exponent))]
        case (Scale(weight=weight),) if prod(shape) ** 2 > MOST_WEIGHTS:
            weight = np.repeat(weight, prod(shape[1:]))
            return [*chain, ("0 scale", nir.Scale(_scaled(weight, 2**synapse.exponent)))]
    size = prod(chain_output_shape(synapse.maps, shape)) * prod(shape)
    if size > MOST_WEIGHTS:
        raise _too_large(synapse, f"behind a dense map it is a matrix of {size:,} weights")
    matrix = merged_matrix(synapse, shape)
    return [*chain, ("affine", _affine(matrix, 2**synapse.exponent))]


def _map_nodes(
    synapse: IntegerSynapse, linear_map: IntegerMap, shape: Shape, factor: int
) -> Iterator[tuple[str, nir.NIRNode]]:
    """The nodes of one map between feature maps, its weight multiplied by a factor."""
    match linear_map:
        case Dense(weight=weight):
            yield "flatten", nir.Flatten({"input": np.array(shape)}, start_dim=0)
            yield "affine", _affine(weight, factor)
        case Scale(weight=weight) if len(weight) ** 2 > MOST_WEIGHTS:
            factors = np.broadcast_to(weight[:, None, None], shape)
            yield "scale", nir.Scale(_scaled(factors, factor))
        case Scale(weight=weight):
            diagonal = Convolution(weight=np.diag(weight.astype(np.int64))[..., None, None])
            yield "scale", _convolution(diagonal, shape, factor)
        case SumPool(kernel=kernel, stride=stride, padding=padding):
            yield "pool", nir.SumPool2d(np.array(kernel), np.array(stride), np.array(padding))
        case Convolution() | Resample() | SelectChannels():
            equal = square_convolution(linear_map, shape, MOST_WEIGHTS)
            if equal is None:
                raise _too_large(
                    synapse,
                    f"{describe(linear_map)} is a convolution of more than {MOST_WEIGHTS:,} weights without "
                    f"groups and with a square kernel",
                )
            yield linear_map.kind.replace("convolution", "conv"), _convolution(equal, shape, factor)
        case _:
            assert_never(linear_map)


def _too_large(synapse: IntegerSynapse, reason: str) -> UnsupportedNetworkError:
    return UnsupportedNetworkError(
        f"{synapse}: {reason}, above the limit of {MOST_WEIGHTS:,} for maps that nir {nir.version} cannot "
        f"express otherwise; export a network with smaller feature maps or fewer channels"
    )


def _convolution(convolution: Convolution, shape: Shape, factor: int) -> nir.Conv2d:
    return nir.Conv2d(
        input_shape=shape[1:],
        weight=_scaled(convolution.weight, factor),
        stride=convolution.stride,
        padding=convolution.padding,
        dilation=convolution.dilation,
        groups=convolution.groups,
        bias=np.zeros(len(convolution.weight)),
    )


def _add_bias(
    chains: list[Chain], population: IntegerSpiking | IntegerReadout, is_flat: bool
) -> bool:
    """Add the bias to the last node of a chain that takes one, or to an identity behind the first chain.

    Returns:
        False if no node can express it, because it differs within a channel.
    """
    bias = np.broadcast_to(population.bias, population.shape).astype(np.float64)
    if not bias.any():
        return True
    if is_flat:
        bias = bias.reshape(-1)
    elif (bias == bias[:, :1, :1]).all():
        bias = bias[:, 0, 0]
    else:
        return False
    for chain in chains:
        _, last = chain[-1]
        if isinstance(last, nir.Conv2d | nir.Affine):
            last.bias = bias
            return True
    if len(bias) ** 2 > MOST_WEIGHTS:
        raise UnsupportedNetworkError(
            f"{population.name}: its {len(bias):,} biases follow a scale or a pool, and NIR has biases only "
            f"in a matrix of {len(bias) ** 2:,} weights, above the limit of {MOST_WEIGHTS:,}; export a "
            f"network with smaller feature maps or fewer channels"
        )
    identity = np.eye(len(bias))
    if is_flat:
        chains[0].append(("bias", nir.Affine(identity, bias)))
        return True
    same = Convolution(weight=identity[..., None, None])
    node = _convolution(same, population.shape, 1)
    node.bias = bias
    chains[0].append(("bias", node))
    return True


def _affine(weight: np.ndarray, factor: int) -> nir.Affine:
    return nir.Affine(_scaled(weight, factor), np.zeros(len(weight)))


def _scaled(weight: np.ndarray, factor: int) -> np.ndarray:
    return weight.astype(np.float64) * factor


def _network_metadata(network: IntegerNetwork) -> dict[str, Any]:
    document, arrays = describe_network(network)
    named = {f"{_ARRAY}{name}": array for name, array in arrays.items()}
    return {_NETWORK: json.dumps(document), **named}


def _losses(network: IntegerNetwork, without_bias: list[str]) -> list[str]:
    losses = [_SOFT_RESET]
    steps = sorted({p.timesteps for p in network.spiking})
    if len(steps) > 1:
        losses.append(f"timesteps: NIR has one time base, here populations run {steps}")
    else:
        losses.append(f"timesteps: NIR has no length of a sample, here {steps[0]}")
    if any(s.alignment == "average" for s in network.synapses):
        losses.append(
            "alignment buffers: NIR passes each spike on at once, here the spikes of a window are summed"
        )
    if any(np.any(p.initial_potential) for p in network.spiking):
        losses.append("initial potentials: NIR's IF starts at 0")
    if without_bias:
        losses.append(
            f"biases of {', '.join(without_bias)}: they differ within a channel, and NIR's Conv2d has one "
            f"per channel"
        )
    readout = network.readout
    if readout.timesteps > 1:
        losses.append(
            f"logits: NIR's Output does not add up the {readout.timesteps} timesteps of {readout.name}"
        )
    if readout.outputs:
        names = ", ".join(map(str, readout.outputs))
        losses.append(f"outputs {names}: they are channels of one Output")
    return losses


def _first_difference(expected: nir.NIRGraph, graph: nir.NIRGraph) -> str | None:
    """The first node, or the edges, in which a graph differs from what is expected; None if equal."""
    if names := expected.nodes.keys() ^ graph.nodes.keys():
        return f"node '{min(names)}'"
    for name, node in expected.nodes.items():
        ours, theirs = node.to_dict(), graph.nodes[name].to_dict()
        ours |= ours.pop("metadata")
        theirs |= theirs.pop("metadata")
        for field in sorted(ours.keys() | theirs.keys()):
            if not _equal(ours.get(field), theirs.get(field)):
                return f"{field} of node '{name}'"
    if set(expected.edges) != {(a, b) for a, b in graph.edges}:
        return "an edge"
    return None


def _equal(ours: Any, theirs: Any) -> bool:
    return np.array_equal(np.asarray(ours), np.asarray(theirs))
