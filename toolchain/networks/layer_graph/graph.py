"""The layer graph: populations joined by synapses, annotated with timesteps T_l."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import networkx as nx
from typing_extensions import Self

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph.populations import (
    InputPopulation,
    Population,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.text_format import network_text


class _Node(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def timesteps(self) -> int: ...


class _Edge(Protocol):
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...


P = TypeVar("P", bound=_Node)
S = TypeVar("S", bound=_Edge)
K = TypeVar("K", bound=_Node)


@dataclass(frozen=True, eq=False)
class PopulationGraph(Generic[P, S]):
    """A directed acyclic graph of populations over ``networkx.DiGraph``, read-only by convention.

    Populations are in topological order, and in the order given where that leaves a choice, so that the
    same network always prints, maps and serializes the same way.
    """

    digraph: nx.DiGraph
    populations: tuple[P, ...] = field(repr=False)

    @classmethod
    def build(cls, populations: Iterable[P], synapses: Iterable[S]) -> Self:
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

    def __getitem__(self, name: str) -> P:
        return self.digraph.nodes[name]["population"]

    @property
    def synapses(self) -> tuple[S, ...]:
        """All synapses, grouped by target in population order, sources in the order given."""
        return tuple(s for p in self.populations for s in self.incoming(p.name))

    def incoming(self, name: str) -> tuple[S, ...]:
        """Synapses into a population."""
        return tuple(edge["synapse"] for _, _, edge in self.digraph.in_edges(name, data=True))

    def outgoing(self, name: str) -> tuple[S, ...]:
        """Synapses out of a population."""
        return tuple(edge["synapse"] for _, _, edge in self.digraph.out_edges(name, data=True))

    def _of_kind(self, kind: type[K]) -> tuple[K, ...]:
        return tuple(p for p in self.populations if isinstance(p, kind))

    def _only(self, kind: type[K], noun: str) -> K:
        found = self._of_kind(kind)
        if len(found) != 1:
            names = ", ".join(p.name for p in found)
            raise UnsupportedNetworkError(
                f"a network must have exactly one {noun} population, not {len(found)}"
                + (f" ({names})" if names else "")
            )
        return found[0]


class LayerGraph(PopulationGraph[Population, Synapse]):
    """The float network: real-valued weights, per-layer timesteps T_l."""

    @property
    def input(self) -> InputPopulation:
        """The one input population."""
        return self._only(InputPopulation, "input")

    @property
    def readout(self) -> ReadoutPopulation:
        """The one readout population."""
        return self._only(ReadoutPopulation, "readout")

    @property
    def spiking(self) -> tuple[SpikingPopulation, ...]:
        """The spiking populations in topological order."""
        return self._of_kind(SpikingPopulation)

    def with_spiking(self, change: Callable[[SpikingPopulation], SpikingPopulation]) -> LayerGraph:
        """A graph with every spiking population changed and all else as it is."""
        populations = [
            change(p) if isinstance(p, SpikingPopulation) else p for p in self.populations
        ]
        return LayerGraph.build(populations, self.synapses)
