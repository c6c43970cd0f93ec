"""Give spiking populations other firing windows, at the same thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation


def scale_timesteps(graph: LayerGraph, factor: int) -> LayerGraph:
    """Multiply every T_l: temporal scaling (Table 5).

    Ensures: alpha and v(0) stay, so each population quantizes as many times finer.
    """
    return _with_timesteps(graph, lambda steps: steps * factor)


def use_uniform_timesteps(graph: LayerGraph, timesteps: int) -> LayerGraph:
    """Give every spiking population the same T, as the uniform methods run them."""
    return _with_timesteps(graph, lambda steps: timesteps)


def cap_timesteps(graph: LayerGraph, most: int) -> LayerGraph:
    """Shorten every firing window that is longer than ``most`` steps; coarser, never finer."""
    return _with_timesteps(graph, lambda steps: min(steps, most))


def _with_timesteps(graph: LayerGraph, change: Callable[[int], int]) -> LayerGraph:
    populations = [
        replace(p, timesteps=change(p.timesteps)) if isinstance(p, SpikingPopulation) else p
        for p in graph.populations
    ]
    return LayerGraph.build(populations, graph.synapses)
