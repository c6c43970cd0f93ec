"""Give spiking populations other firing windows, at the same thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.layer_graph.maximum import compared_populations


def scale_timesteps(graph: LayerGraph, factor: int) -> LayerGraph:
    """Multiply every T_l: temporal scaling (Table 5).

    Ensures: alpha and v(0) stay, so each population has ``factor`` times as many levels.
    """
    return _with_timesteps(graph, lambda steps: steps * factor)


def use_uniform_timesteps(graph: LayerGraph, timesteps: int) -> LayerGraph:
    """Give every spiking population the same T, as methods with uniform timesteps do."""
    return _with_timesteps(graph, lambda steps: timesteps)


def cap_timesteps(graph: LayerGraph, most: int) -> LayerGraph:
    """Shorten every firing window that is longer than ``most`` steps; the others stay as they are."""
    return _with_timesteps(graph, lambda steps: min(steps, most))


def set_timesteps(graph: LayerGraph, timesteps: Mapping[str, int]) -> LayerGraph:
    """Give single spiking populations other firing windows, longer or shorter.

    Requires: names of spiking populations of the graph.
    Ensures: populations whose counts an exact maximum compares with those of a named one get its T too.
    """
    chosen = dict(timesteps)
    for group in compared_populations(graph):
        named = [timesteps[p.name] for p in group if p.name in timesteps]
        chosen |= {p.name: named[-1] for p in group if named and p.name not in timesteps}
    return graph.with_spiking(lambda p: replace(p, timesteps=chosen.get(p.name, p.timesteps)))


def _with_timesteps(graph: LayerGraph, change: Callable[[int], int]) -> LayerGraph:
    return graph.with_spiking(lambda p: replace(p, timesteps=change(p.timesteps)))
