"""A NIR graph whose nested graphs are written out, in an order in which it can be executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.nir_format.fields import Fields
from toolchain.importers.nir_format.nodes import Neurons, Node, Port, read_node
from toolchain.shown_values import shown_text

MAX_GRAPHS_DEEP = 8
MAX_NODES = 10_000


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

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """Nodes that read each node."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name, sources in self.sources.items():
            for source in sources:
                found[source].append(name)
        return {name: tuple(readers) for name, readers in found.items()}

    @cached_property
    def input(self) -> str:
        return self._only("Input")

    @cached_property
    def output(self) -> str:
        return self._only("Output")

    @cached_property
    def neurons(self) -> dict[str, Neurons]:
        """The populations, in the order of the nodes."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, Neurons)}

    def _only(self, kind: str) -> str:
        """The one outer port of a kind: the one without sources, or without readers."""
        unconnected = self.sources if kind == "Input" else self.readers
        (found,) = (
            name
            for name, node in self.nodes.items()
            if isinstance(node, Port) and node.kind == kind and not unconnected[name]
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
    if len(part.nodes) > MAX_NODES:
        raise UnsupportedNetworkError(
            f"{label}: has {len(part.nodes):,} nodes, above the limit of {MAX_NODES:,}"
        )
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
                f"{label}: the edge '{shown_text(source)}' -> '{shown_text(target)}' of {where} names "
                f"'{shown_text(unknown[0])}', which is no node of it"
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
    graph: nx.DiGraph[str] = nx.DiGraph()
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
