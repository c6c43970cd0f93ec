"""Choose the temporal alignment of a whole network."""

from __future__ import annotations

from dataclasses import replace

from toolchain.layer_graph import AlignmentMethod, LayerGraph, ReadoutPopulation


def align_edges(graph: LayerGraph, method: AlignmentMethod) -> LayerGraph:
    """Use one alignment method on every synapse (Eq. 11-13).

    Requires: a verified layer graph.
    Ensures: the readout sees every frame: one step with ``average``, else as many steps as its longest
        source has, whose mean is the logit (Eq. 15).
    """
    synapses = [replace(s, alignment=method) for s in graph.synapses]
    populations = []
    for population in graph.populations:
        if isinstance(population, ReadoutPopulation):
            longest = max(graph[s.source].timesteps for s in graph.incoming(population.name))
            steps = 1 if method == "average" else longest
            population = replace(population, timesteps=steps)
        populations.append(population)
    return LayerGraph.build(populations, synapses)
