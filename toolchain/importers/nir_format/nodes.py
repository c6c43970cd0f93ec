"""The nodes of a NIR graph as typed records, checked, and nested graphs written out as one.

Names of fields are those of the format (Pedersen et al., 2024, "Neuromorphic intermediate representation").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import networkx as nx
import numpy as np

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.nir_format.fields import Fields
from toolchain.networks.linear_maps import Pair

MAX_GRAPHS_DEEP = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Port:
    """An ``Input`` or ``Output``, also of a nested graph, which passes its values on.

    Args:
        shape: None if the file leaves it out.
    """

    kind: Literal["Input", "Output"]
    shape: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Neurons:
    """``IF``, ``LIF`` or ``CubaLIF``; every array has the shape of the population, or one value for all.

    Args:
        tau_mem, v_leak: None for ``IF``.
        tau_syn, w_in: None unless ``CubaLIF``.
    """

    kind: Literal["IF", "LIF", "CubaLIF"]
    r: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray
    tau_mem: np.ndarray | None = None
    v_leak: np.ndarray | None = None
    tau_syn: np.ndarray | None = None
    w_in: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """``Affine``, or ``Linear`` without a bias: ``weight @ x + bias`` with a weight ``(out, in)``."""

    weight: np.ndarray
    bias: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolved:
    """``Conv1d`` and ``Conv2d``; in one dimension, a kernel with one row.

    Args:
        dimensions: 1 or 2.
        weight: ``(out, in / groups, rows, columns)``.
        padding: zeros before and after rows and columns, or a word.
        input_shape: (rows, columns) that the file says; None if it does not.
    """

    dimensions: Literal[1, 2]
    weight: np.ndarray
    bias: np.ndarray
    stride: Pair
    padding: Pair | Literal["same", "valid"]
    dilation: Pair
    groups: int
    input_shape: Pair | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaled:
    """``Scale``: a factor for each value."""

    scale: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """``SumPool2d``, or ``AvgPool2d``, in whose mean padded zeros count."""

    kernel: Pair
    stride: Pair
    padding: Pair
    mean: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Flattened:
    """``Flatten``: the axes from the first to the last become one; samples and time are no axes."""

    start_dim: int
    end_dim: int


Node: TypeAlias = Port | Neurons | Product | Convolved | Scaled | Pooled | Flattened

_REFUSED = {
    "LI": "leaky integrators keep an analogue value; end the network in the layer in front of it, whose mean "
    "over all steps is then the logit",
    "CubaLI": "leaky integrators keep an analogue value; end the network in the layer in front of it, whose "
    "mean over all steps is then the logit",
    "I": "an integrator keeps an analogue value; leave it out: the mean over all steps of what it adds up is "
    "then the logit",
    "Delay": "spikes arrive in the step in which they are sent, and a delay has no place; train without "
    "delays",
    "Threshold": "it has no membrane potential; use IF neurons in its place",
}
"""Nodes of the format without an exact form, and what to do."""


@dataclass(frozen=True, eq=False)
class NirNetwork:
    """One graph without nested ones.

    Args:
        label: the file, for messages.
        nodes: in an order in which every node follows its sources.
        sources: nodes whose sum each node reads.
        metadata: of the outermost graph.
        node_metadata: of each node that has some.
    """

    label: str
    nodes: Mapping[str, Node]
    sources: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, object]
    node_metadata: Mapping[str, Mapping[str, object]]

    @property
    def input(self) -> str:
        return self._only("Input")

    @property
    def output(self) -> str:
        return self._only("Output")

    @property
    def neurons(self) -> dict[str, Neurons]:
        """The populations, in the order of the nodes."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, Neurons)}

    def _only(self, kind: str) -> str:
        """The one outer port of a kind: the one without sources, or without readers."""
        read = {source for sources in self.sources.values() for source in sources}
        (found,) = (
            name
            for name, node in self.nodes.items()
            if isinstance(node, Port)
            and node.kind == kind
            and (not self.sources[name] if kind == "Input" else name not in read)
        )
        return found


@dataclass(frozen=True, eq=False)
class _Part:
    """A graph in which nested ones are written out.

    Args:
        entrance, exit: name of its Input and Output.
    """

    nodes: dict[str, Node]
    edges: list[tuple[str, str]]
    node_metadata: dict[str, Mapping[str, object]]
    entrance: str
    exit: str


def read_network(label: str, record: Mapping[str, object]) -> NirNetwork:
    """Read a graph from plain content, as ``read_hdf5`` or ``plain_content`` give it.

    Args:
        label: the file, for messages.
        record: the graph, of type NIRGraph.

    Raises:
        ModelFileError: a field is missing or is not what it must be; the message names the node.
        UnsupportedNetworkError: a node or structure that has no exact form as soft-reset neurons.
    """
    fields = Fields(label, "", record)
    if fields.text("type", "NIRGraph") != "NIRGraph":
        raise ModelFileError(f"{label}: must hold a NIRGraph, not a single {fields.text('type')}")
    part = _read_part(label, fields, "", 1)
    order = _in_order(label, part)
    sources: dict[str, list[str]] = {name: [] for name in order}
    for source, target in part.edges:
        sources[target].append(source)
    return NirNetwork(
        label=label,
        nodes={name: part.nodes[name] for name in order},
        sources={name: tuple(found) for name, found in sources.items()},
        metadata=fields.metadata(),
        node_metadata=part.node_metadata,
    )


def _read_part(label: str, fields: Fields, prefix: str, depth: int) -> _Part:
    if depth > MAX_GRAPHS_DEEP:
        raise ModelFileError(f"{label}: {prefix} nests more than {MAX_GRAPHS_DEEP} graphs")
    nodes: dict[str, Node] = {}
    metadata: dict[str, Mapping[str, object]] = {}
    edges: list[tuple[str, str]] = []
    ends: dict[str, tuple[str, str]] = {}  # where edges into and out of a node of this graph go
    ports: dict[str, list[str]] = {"Input": [], "Output": []}
    for own_name, record in fields.records("nodes").items():
        name = f"{prefix}{own_name}"
        node_fields = Fields(label, f"node '{name}'", record)
        kind = node_fields.text("type")
        if kind == "NIRGraph":
            inner = _read_part(label, node_fields, f"{name}.", depth + 1)
            if shared := nodes.keys() & inner.nodes.keys():
                raise ModelFileError(f"{label}: two nodes have the name '{min(shared)}'")
            nodes |= inner.nodes
            metadata |= inner.node_metadata
            edges += inner.edges
            ends[own_name] = inner.entrance, inner.exit
            continue
        if name in nodes:
            raise ModelFileError(f"{label}: two nodes have the name '{name}'")
        nodes[name] = read_node(node_fields, kind)
        if found := node_fields.metadata():
            metadata[name] = found
        ends[own_name] = name, name
        if kind in ports:
            ports[kind].append(name)
    where = f"the graph '{prefix[:-1]}'" if prefix else "the graph"
    for port, found_ports in ports.items():
        if len(found_ports) != 1:
            raise UnsupportedNetworkError(
                f"{label}: {where} must have exactly one {port}, not {len(found_ports)}"
                + (f" ({', '.join(found_ports)})" if found_ports else "")
                + _LOST_EDGES
            )
    seen: set[tuple[str, str]] = set()
    for source, target in fields.edges():
        if unknown := [name for name in (source, target) if name not in ends]:
            raise ModelFileError(
                f"{label}: the edge '{source}' -> '{target}' of {where} names '{unknown[0]}', which is no "
                f"node of it"
            )
        if (source, target) in seen:
            raise ModelFileError(f"{label}: {where} has the edge '{source}' -> '{target}' twice")
        seen.add((source, target))
        edges.append((ends[source][1], ends[target][0]))
    (entrance,), (exit_,) = ports["Input"], ports["Output"]
    if not prefix and (into := [a for a, b in edges if b == entrance]):
        raise UnsupportedNetworkError(
            f"{label}: the edge '{into[0]}' -> '{entrance}' ends in the Input"
        )
    if not prefix and (out := [b for a, b in edges if a == exit_]):
        raise UnsupportedNetworkError(
            f"{label}: the edge '{exit_}' -> '{out[0]}' starts at the Output"
        )
    return _Part(nodes, edges, metadata, entrance, exit_)


_LOST_EDGES = (
    "; nirtorch.extract_nir_graph, which snnTorch and sinabs use, follows modules alone and loses what "
    "forward adds or joins: add the missing edges to the graph before nir.write"
)


def _in_order(label: str, part: _Part) -> list[str]:
    """The nodes, each behind its sources.

    Raises:
        UnsupportedNetworkError: naming the nodes of a recurrent connection, or a node that nothing reaches.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(part.nodes)
    graph.add_edges_from(part.edges)
    if not nx.is_directed_acyclic_graph(graph):
        loop = [source for source, _ in nx.find_cycle(graph)]
        raise UnsupportedNetworkError(
            f"{label}: the connection {' -> '.join([*loop, loop[0]])} is recurrent, which has no form in a "
            f"feed-forward network; train without recurrent layers such as RLeaky and RSynaptic"
        )
    for name in part.nodes:
        if name != part.entrance and not graph.in_degree(name):
            raise UnsupportedNetworkError(
                f"{label}: node '{name}': no edge reaches it{_LOST_EDGES}"
            )
        if name != part.exit and not graph.out_degree(name):
            raise UnsupportedNetworkError(
                f"{label}: node '{name}': no edge leaves it; remove it, or connect it{_LOST_EDGES}"
            )
    position = {name: index for index, name in enumerate(part.nodes)}
    return list(nx.lexicographical_topological_sort(graph, key=position.__getitem__))


def read_node(fields: Fields, kind: str) -> Node:
    """One node of the format."""
    match kind:
        case "Input" | "Output":
            return Port(kind=kind, shape=fields.optional_shape("shape"))  # type: ignore[arg-type]
        case "IF" | "LIF" | "CubaLIF":
            return _read_neurons(fields, kind)
        case "Linear" | "Affine":
            weight = fields.finite("weight", (2,))
            bias = fields.finite("bias", (1,)) if kind == "Affine" else None
            if bias is not None and len(bias) != len(weight):
                raise fields.refuse("bias", f"of shape ({len(weight)},)", bias)
            return Product(weight=weight, bias=bias)
        case "Conv1d" | "Conv2d":
            return _read_convolution(fields, 1 if kind == "Conv1d" else 2)
        case "Scale":
            return Scaled(scale=fields.finite("scale"))
        case "SumPool2d" | "AvgPool2d":
            return Pooled(
                kernel=fields.pair("kernel_size", 1),
                stride=fields.pair("stride", 1),
                padding=fields.pair("padding", 0),
                mean=kind == "AvgPool2d",
            )
        case "Flatten":
            return Flattened(
                start_dim=fields.integer("start_dim", -8), end_dim=fields.integer("end_dim", -8)
            )
    if kind in _REFUSED:
        raise UnsupportedNetworkError(f"{fields.place}: {kind} is not read: {_REFUSED[kind]}")
    raise UnsupportedNetworkError(f"{fields.place}: '{kind[:40]}' is no node of NIR that is read")


def _read_neurons(fields: Fields, kind: Literal["IF", "LIF", "CubaLIF"]) -> Neurons:
    threshold = fields.finite("v_threshold")
    if not (threshold > 0).all():
        raise fields.refuse("v_threshold", "positive", threshold.min())
    neurons = Neurons(
        kind=kind,
        r=fields.numbers("r"),
        v_threshold=threshold,
        v_reset=fields.finite("v_reset") if fields.has("v_reset") else np.zeros(()),
    )
    if kind != "IF":
        tau = "tau" if kind == "LIF" else "tau_mem"
        neurons = replace(neurons, tau_mem=fields.numbers(tau), v_leak=fields.finite("v_leak"))
    if kind == "CubaLIF":
        w_in = fields.numbers("w_in") if fields.has("w_in") else np.ones(())
        neurons = replace(neurons, tau_syn=fields.numbers("tau_syn"), w_in=w_in)
    for name in ("r", "tau_mem", "tau_syn"):
        values = getattr(neurons, name)
        if values is not None and not (values > 0).all():  # also refuses NaN
            raise fields.refuse("tau" if name == "tau_mem" else name, "positive", values.min())
    return neurons


def _read_convolution(fields: Fields, dimensions: Literal[1, 2]) -> Convolved:
    weight = fields.finite("weight", (2 + dimensions,))
    bias = fields.finite("bias", (1,))
    if len(bias) != len(weight):
        raise fields.refuse("bias", f"of shape ({len(weight)},)", bias)
    groups = fields.integer("groups", 1)
    if len(weight) % groups:
        raise fields.refuse("groups", f"a divisor of {len(weight)} channels", groups)
    read = fields.pair if dimensions == 2 else fields.pair_of_columns
    padding: Pair | Literal["same", "valid"]
    if fields.is_text("padding"):
        word = fields.text("padding")
        if word not in ("same", "valid"):
            raise fields.refuse("padding", "same, valid or a number", word)
        padding = "same" if word == "same" else "valid"
    else:
        padding = read("padding", 0)
    convolved = Convolved(
        dimensions=dimensions,
        weight=weight if dimensions == 2 else weight[:, :, None],
        bias=bias,
        stride=read("stride", 1),
        padding=padding,
        dilation=read("dilation", 1),
        groups=groups,
        input_shape=read("input_shape", 1) if fields.has("input_shape") else None,
    )
    if padding == "same" and convolved.stride != (1, 1):
        raise fields.refuse("stride", "1 where padding is same", convolved.stride)
    return convolved
