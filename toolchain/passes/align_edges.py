"""Choose the temporal alignment of a network's edges (Eq. 11-13)."""

from __future__ import annotations

from dataclasses import replace

from toolchain.networks.layer_graph import AlignmentMethod, LayerGraph, ReadoutPopulation, Synapse


def align_edges(graph: LayerGraph, method: AlignmentMethod) -> LayerGraph:
    """Use one alignment method on every synapse.

    Requires: a verified layer graph.
    Ensures: the readout sees every frame: one step with ``average``, else as many steps as its longest
        source has, whose mean is the logit (Eq. 15).
    """
    return align_by_direction(graph, expansion=method, reduction=method)


def align_population(graph: LayerGraph, name: str, method: AlignmentMethod) -> LayerGraph:
    """Use one alignment method on every synapse into one population; the others keep theirs.

    Requires: a verified layer graph, and a population of it that is not the readout: what the logits are
        the mean of depends on its alignment, and it gains nothing, as it needs the last frame anyway.
    """
    assert not isinstance(graph[name], ReadoutPopulation)
    synapses = [replace(s, alignment=method) if s.target == name else s for s in graph.synapses]
    return LayerGraph.build(graph.populations, synapses)


def align_by_direction(
    graph: LayerGraph, *, expansion: AlignmentMethod, reduction: AlignmentMethod
) -> LayerGraph:
    """One method for edges from fewer to more timesteps, one for the others (Table 4).

    An edge between equal T is an expansion by a factor of one. The result may mix methods in front of
    one population, which the float SNN runs; the integer network needs one method a population.
    """
    readout = graph.readout
    longest = max(graph[s.source].timesteps for s in graph.incoming(readout.name))
    averaged = expansion == reduction == "average"
    populations = [
        replace(p, timesteps=1 if averaged else longest) if p is readout else p
        for p in graph.populations
    ]
    steps = {p.name: p.timesteps for p in populations}

    def method_of(synapse: Synapse) -> AlignmentMethod:
        expands = steps[synapse.source] <= steps[synapse.target]
        return expansion if expands else reduction

    synapses = [replace(s, alignment=method_of(s)) for s in graph.synapses]
    return LayerGraph.build(populations, synapses)
