"""The integer network as a NIR graph (Pedersen et al., "Neuromorphic intermediate representation", 2024).

A synapse becomes a chain of nodes, a population an IF node, and a join several edges into one IF node.
What NIR cannot express is kept as metadata of the nodes, so that ``from_nir`` returns the same integers.
It is listed as a loss as well, because other readers ignore it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict, cast

import nir
import numpy as np
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.layer_graph import AlignmentMethod
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    describe,
)

_SOFT_RESET = (
    "soft reset and spiking at equality: NIR's IF is reset to v_reset when v exceeds the threshold"
)


class NodeMetadata(TypedDict, total=False):
    """What ``from_nir`` reads from a node: of a population, or of the first node of a synapse."""

    timesteps: int
    shape: np.ndarray
    max_value: int
    unit: float
    threshold: np.ndarray
    initial_potential: np.ndarray
    bias: np.ndarray
    exponent: int
    alignment: AlignmentMethod | bytes


@dataclass(frozen=True, eq=False)
class NirExport:
    """A graph, and what other readers ignore."""

    graph: nir.NIRGraph
    losses: list[str]


def to_nir(network: IntegerNetwork) -> NirExport:
    """The NIR graph of an integer network; weights are float64, its integers times ``2^exponent``."""
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[tuple[str, str]] = []
    for population in network.populations:
        nodes[population.name] = _population_node(population)
    for synapse in network.synapses:
        before = synapse.source
        for name, node in _synapse_nodes(network, synapse):
            nodes[name] = node
            edges.append((before, name))
            before = name
        edges.append((before, synapse.target))
    return NirExport(nir.NIRGraph(nodes, edges, type_check=False), _losses(network))


def from_nir(graph: nir.NIRGraph) -> IntegerNetwork:
    """The integer network of a graph that ``to_nir`` made.

    Raises:
        UnsupportedNetworkError: a node has no metadata of qac-deploy; the message names it.
    """
    following = dict(_outgoing(graph))
    populations, synapses = [], []
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Input | nir.IF | nir.Output):
            populations.append(_read_population(name, node))
    names = {p.name for p in populations}
    for source, first in graph.edges:
        if source not in names:
            continue
        chain, at = [], first
        while at not in names:
            chain.append(graph.nodes[at])
            at = following[at]
        meta = _metadata(first, graph.nodes[first])
        synapses.append(
            IntegerSynapse.of_maps(
                source=source,
                target=at,
                exponent=int(meta["exponent"]),
                alignment=_alignment(meta),
                maps=tuple(_read_maps(chain, int(meta["exponent"]))),
            )
        )
    return verify_integer_network(IntegerNetwork.build(populations, synapses))


def _population_node(population: IntegerPopulation) -> nir.NIRNode:
    shape = np.array(population.shape)
    metadata: NodeMetadata = {"timesteps": population.timesteps, "shape": shape}
    match population:
        case IntegerInput(max_value=max_value, unit=unit):
            metadata |= {"max_value": max_value, "unit": unit}
            return nir.Input({"input": shape}, metadata=metadata)
        case IntegerReadout(bias=bias, unit=unit):
            metadata |= {"bias": bias, "unit": unit}
            return nir.Output({"output": shape}, metadata=metadata)
        case IntegerSpiking(threshold=threshold):
            metadata |= {
                "threshold": threshold,
                "initial_potential": population.initial_potential,
                "bias": population.bias,
            }
            whole = np.broadcast_to(threshold, population.shape).astype(np.float64)
            return nir.IF(r=np.ones(population.shape), v_threshold=whole, metadata=metadata)
        case _:
            assert_never(population)


def _synapse_nodes(
    network: IntegerNetwork, synapse: IntegerSynapse
) -> Iterator[tuple[str, nir.NIRNode]]:
    """Named nodes of a chain; the metadata of the first describes the whole synapse."""
    shape = network[synapse.source].shape
    metadata: NodeMetadata = {"exponent": synapse.exponent, "alignment": synapse.alignment}
    for index, linear_map in enumerate(synapse.maps):
        for kind, node in _map_nodes(linear_map, shape, synapse.exponent):
            node.metadata = metadata
            metadata = {}
            yield f"{synapse.source} to {synapse.target}, {index} {kind}", node
        shape = linear_map.output_shape(shape)


def _map_nodes(
    linear_map: IntegerMap, shape: Shape, exponent: int
) -> Iterator[tuple[str, nir.NIRNode]]:
    match linear_map:
        case Convolution(weight=weight, stride=stride, padding=padding, groups=groups):
            yield (
                "conv",
                nir.Conv2d(
                    input_shape=shape[1:],
                    weight=_scaled(weight, exponent),
                    stride=stride,
                    padding=padding,
                    dilation=(1, 1),
                    groups=groups,
                    bias=np.zeros(len(weight)),
                ),
            )
        case Dense(weight=weight):
            yield "flatten", nir.Flatten({"input": np.array(shape)}, start_dim=0)
            yield "linear", nir.Linear(weight=_scaled(weight, exponent))
        case Scale(weight=weight):
            factors = np.broadcast_to(weight[:, None, None], shape)
            yield "scale", nir.Scale(scale=_scaled(factors, exponent))
        case SumPool(kernel=kernel, stride=stride, padding=padding):
            arrays = (np.array(kernel), np.array(stride), np.array(padding))
            yield "pool", nir.SumPool2d(*arrays)
        case Resample() | SelectChannels():
            raise UnsupportedNetworkError(f"NIR has no {describe(linear_map)}")
        case _:
            assert_never(linear_map)


def _scaled(weight: np.ndarray, exponent: int) -> np.ndarray:
    return weight.astype(np.float64) * 2**exponent


def _losses(network: IntegerNetwork) -> list[str]:
    losses = [_SOFT_RESET]
    steps = sorted({p.timesteps for p in network.spiking})
    if len(steps) > 1:
        losses.append(f"timesteps: NIR has one time base, here populations run {steps}")
    if any(s.alignment == "average" for s in network.synapses):
        losses.append(
            "alignment buffers: NIR passes each spike on at once, here the spikes of a window are summed"
        )
    if any(np.any(p.initial_potential) for p in network.spiking):
        losses.append("initial potentials: NIR's IF starts at 0")
    biased = [p.name for p in network.populations if np.any(getattr(p, "bias", 0))]
    if biased:
        losses.append(f"biases of {', '.join(biased)}: NIR's sum pools, scales and joins have none")
    return losses


def _outgoing(graph: nir.NIRGraph) -> Iterator[tuple[str, str]]:
    """Every node inside a chain, with the one that follows it."""
    for source, target in graph.edges:
        if not isinstance(graph.nodes[source], nir.Input | nir.IF):
            yield source, target


def _metadata(name: str, node: nir.NIRNode) -> NodeMetadata:
    if not node.metadata:
        raise UnsupportedNetworkError(
            f"node '{name}': has no metadata of qac-deploy, so its timesteps and integers are unknown; "
            f"only graphs that `qac-deploy export` wrote can be read"
        )
    return cast(NodeMetadata, node.metadata)


def _alignment(meta: NodeMetadata) -> AlignmentMethod:
    method = meta["alignment"]  # bytes, when it was read from a file
    return cast(AlignmentMethod, method.decode() if isinstance(method, bytes) else method)


def _read_population(name: str, node: nir.NIRNode) -> IntegerPopulation:
    meta = _metadata(name, node)
    channels, height, width = (int(size) for size in meta["shape"])
    shape, timesteps = (channels, height, width), int(meta["timesteps"])
    if isinstance(node, nir.Input):
        unit = float(meta["unit"])
        return IntegerInput(name=name, shape=shape, max_value=int(meta["max_value"]), unit=unit)
    if isinstance(node, nir.Output):
        bias, unit = np.asarray(meta["bias"]), float(meta["unit"])
        return IntegerReadout(name=name, shape=shape, timesteps=timesteps, bias=bias, unit=unit)
    return IntegerSpiking(
        name=name,
        shape=shape,
        timesteps=timesteps,
        threshold=np.asarray(meta["threshold"]),
        initial_potential=np.asarray(meta["initial_potential"]),
        bias=np.asarray(meta["bias"]),
    )


def _read_maps(chain: list[nir.NIRNode], exponent: int) -> Iterator[IntegerMap]:
    for node in chain:
        match node:
            case nir.Conv2d():
                stride, padding = (tuple(int(n) for n in v) for v in (node.stride, node.padding))
                yield Convolution(
                    weight=_unscaled(node.weight, exponent),
                    stride=(stride[0], stride[1]),
                    padding=(padding[0], padding[1]),
                    groups=int(node.groups),
                )
            case nir.Linear():
                yield Dense(weight=_unscaled(node.weight, exponent))
            case nir.Scale():
                yield Scale(weight=_unscaled(node.scale[:, 0, 0], exponent))
            case nir.SumPool2d():
                kernel, stride, padding = (
                    (int(v[0]), int(v[1])) for v in (node.kernel_size, node.stride, node.padding)
                )
                yield SumPool(kernel=kernel, stride=stride, padding=padding)
            case nir.Flatten():
                pass  # a dense map flattens its input itself
            case _:
                raise AssertionError(f"to_nir writes no {type(node).__name__}")


def _unscaled(weight: np.ndarray, exponent: int) -> np.ndarray:
    return (np.asarray(weight) / 2**exponent).astype(np.int8)
