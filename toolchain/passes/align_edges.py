"""Choose the temporal alignment of a network's edges (Eq. 11-13)."""

from __future__ import annotations

from dataclasses import replace

from toolchain.networks.layer_graph import AlignmentMethod, LayerGraph, ReadoutPopulation, Synapse
from toolchain.networks.layer_graph.maximum import verify_maxima


def align_edges(graph: LayerGraph, method: AlignmentMethod) -> LayerGraph:
    """Use one alignment method on every synapse.

    Requires: a verified layer graph.
    Ensures: the readout reads every frame. It has one step with ``average``, else as many steps as its
        longest source; their mean is the logit (Eq. 15).
    Refuses: another method than ``average`` in a network with exact maxima of counts.
    """
    return align_by_direction(graph, expansion=method, reduction=method)


def align_population(graph: LayerGraph, name: str, method: AlignmentMethod) -> LayerGraph:
    """Use one alignment method on every synapse into one population; the others keep theirs.

    Requires: a verified layer graph, and a population other than the readout. Another alignment of the
        readout would change its logits and save no time, since it needs the last frame anyway.
    Refuses: another method than ``average`` into a part of an exact maximum or what reads it.
    """
    assert not isinstance(graph[name], ReadoutPopulation)
    synapses = [replace(s, alignment=method) if s.target == name else s for s in graph.synapses]
    return _verified(LayerGraph.build(graph.populations, synapses))


def align_by_direction(
    graph: LayerGraph, *, expansion: AlignmentMethod, reduction: AlignmentMethod
) -> LayerGraph:
    """One method for edges from fewer to more timesteps, one for the others (Table 4).

    An edge between equal T counts as an expansion. The edges into one population may then differ in their
    method, which the float SNN can run; the integer network needs one method per population.
    """
    readout = graph.readout
    longest = max(graph[s.source].timesteps for s in graph.incoming(readout.name))
    averaged = expansion == reduction == "average"
    aligned = replace(readout, timesteps=1 if averaged else longest)
    populations = [aligned if p is readout else p for p in graph.populations]
    steps = {p.name: p.timesteps for p in populations}

    def method_of(synapse: Synapse) -> AlignmentMethod:
        expands = steps[synapse.source] <= steps[synapse.target]
        return expansion if expands else reduction

    synapses = [replace(s, alignment=method_of(s)) for s in graph.synapses]
    return _verified(LayerGraph.build(populations, synapses))


def _verified(graph: LayerGraph) -> LayerGraph:
    """The graph, unless a part of an exact maximum would get single frames and not counts."""
    verify_maxima(graph)
    return graph
