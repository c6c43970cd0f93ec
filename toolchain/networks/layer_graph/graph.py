"""Graphs of populations joined by synapses, annotated with timesteps T_l."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import networkx as nx
from typing_extensions import Self

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph.populations import (
    InputPopulation,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.text_format import network_text


class _Node(Protocol):
    kind: ClassVar[str]

    @property
    def name(self) -> str: ...
    @property
    def timesteps(self) -> int: ...


class _Spiking(_Node, Protocol):
    @property
    def role(self) -> str: ...


class _Edge(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...


InputT = TypeVar("InputT", bound=_Node)
SpikingT = TypeVar("SpikingT", bound=_Spiking)
ReadoutT = TypeVar("ReadoutT", bound=_Node)
SynapseT = TypeVar("SynapseT", bound=_Edge)


@dataclass(frozen=True, eq=False)
class PopulationGraph(Generic[InputT, SpikingT, ReadoutT, SynapseT]):
    """A directed acyclic graph of populations over ``networkx.DiGraph``, read-only by convention.

    Populations are in topological order, with ties in the order given, so that the same
    network always prints, maps and serializes the same way.
    """

    digraph: nx.DiGraph
    populations: tuple[InputT | SpikingT | ReadoutT, ...] = field(repr=False)

    @classmethod
    def build(
        cls, populations: Iterable[InputT | SpikingT | ReadoutT], synapses: Iterable[SynapseT]
    ) -> Self:
        """Join populations by synapses.

        Raises:
            UnsupportedNetworkError: a name is used twice, a synapse names no population, two synapses
                join the same pair, or the graph has a cycle (the message shows its path).
        """
        digraph: nx.DiGraph = nx.DiGraph()
        position: dict[str, int] = {}
        for population in populations:
            if population.name in digraph:
                raise UnsupportedNetworkError(f"two populations are named '{population.name}'")
            position[population.name] = len(position)
            digraph.add_node(population.name, population=population)
        for synapse in synapses:
            for end in (synapse.source, synapse.target):
                if end not in digraph:
                    raise UnsupportedNetworkError(
                        f"synapse {synapse.source} -> {synapse.target}: no population is named '{end}'"
                    )
            if digraph.has_edge(synapse.source, synapse.target):
                raise UnsupportedNetworkError(
                    f"two synapses join {synapse.source} -> {synapse.target}; merge their weights "
                    f"into one, or put a quantizer on one of the paths"
                )
            digraph.add_edge(synapse.source, synapse.target, synapse=synapse)
        if not nx.is_directed_acyclic_graph(digraph):
            loop = [source for source, _ in nx.find_cycle(digraph)]
            raise UnsupportedNetworkError(
                f"the layer graph must be acyclic, but has the cycle {' -> '.join([*loop, loop[0]])}"
            )
        order = nx.lexicographical_topological_sort(digraph, key=position.__getitem__)
        return cls(digraph, tuple(digraph.nodes[name]["population"] for name in order))

    def __str__(self) -> str:
        return network_text(self)

    def __getitem__(self, name: str) -> InputT | SpikingT | ReadoutT:
        return self.digraph.nodes[name]["population"]

    @cached_property
    def synapses(self) -> tuple[SynapseT, ...]:
        """All synapses, grouped by target in population order, sources in the order given."""
        return tuple(s for p in self.populations for s in self.incoming(p.name))

    def incoming(self, name: str) -> tuple[SynapseT, ...]:
        """Synapses into a population."""
        return self._incoming[name]

    def outgoing(self, name: str) -> tuple[SynapseT, ...]:
        """Synapses out of a population."""
        return self._outgoing[name]

    @cached_property
    def _incoming(self) -> dict[str, tuple[SynapseT, ...]]:
        edges = self.digraph.pred
        return {p.name: _synapses_of(edges[p.name]) for p in self.populations}

    @cached_property
    def _outgoing(self) -> dict[str, tuple[SynapseT, ...]]:
        edges = self.digraph.succ
        return {p.name: _synapses_of(edges[p.name]) for p in self.populations}

    @property
    def input(self) -> InputT:
        """The one input population."""
        return self._only("input")

    @property
    def readout(self) -> ReadoutT:
        """The one readout population."""
        return self._only("readout")

    @property
    def spiking(self) -> tuple[SpikingT, ...]:
        """The spiking populations in topological order."""
        return self._of_kind("spiking")

    @property
    def mean_timesteps(self) -> float:
        """Mean T of the network's activations, which a budget counts; 0 without one.

        The neurons of exact max pooling do not count: their T is that of what they compare.
        """
        steps = [p.timesteps for p in self.spiking if p.role == "activation"]
        return sum(steps) / max(len(steps), 1)

    def _of_kind(self, kind: str) -> tuple[Any, ...]:
        return tuple(p for p in self.populations if p.kind == kind)

    def _only(self, kind: str) -> Any:
        found = self._of_kind(kind)
        if len(found) != 1:
            names = ", ".join(p.name for p in found)
            raise UnsupportedNetworkError(
                f"a network must have exactly one {kind} population, not {len(found)}"
                + (f" ({names})" if names else "")
            )
        return found[0]


def _synapses_of(edges: Mapping[str, dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(edge["synapse"] for edge in edges.values())


class LayerGraph(PopulationGraph[InputPopulation, SpikingPopulation, ReadoutPopulation, Synapse]):
    """The float network: real-valued weights, per-layer timesteps T_l."""

    def with_spiking(self, change: Callable[[SpikingPopulation], SpikingPopulation]) -> LayerGraph:
        """A graph with every spiking population changed and all else as it is."""
        populations = [
            change(p) if isinstance(p, SpikingPopulation) else p for p in self.populations
        ]
        return LayerGraph.build(populations, self.synapses)
