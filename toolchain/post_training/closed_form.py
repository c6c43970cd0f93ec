"""A layer graph in one pass: as the float ANN that it came from, or with spike counts in closed form.

With ``average`` alignment the current of a population is constant, so that its spike count is
``clip(floor((v(0) + T A) / v_th), 0, T)``. No step is simulated, which makes T = 32 as fast as T = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor
from typing_extensions import assert_never

from toolchain.method.float_snn import map_weights, transmit
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
)
from toolchain.networks.layer_graph.maximum import is_maximum
from toolchain.networks.linear_maps import (
    LinearMap,
    Resample,
    Shape,
    WeightedMap,
    chain_output_shape,
)

Activate = Callable[[SpikingPopulation, Tensor], Tensor]
"""Current of a population, ``(B, C, H, W)``, to its mean activation per timestep."""


@dataclass(frozen=True, eq=False)
class SharedWeight:
    """Synapses into one target that end in the same maps, from the first weight on.

    What follows an exact max pool reads the pooled population and its maxima through one weight. Their
    values are added before it, so that it is applied once, and trained as one.

    Attributes:
        paths: source and the maps in front of the weight.
        tail: the weight and what follows it; empty if the paths hold no weight.
        synapses: positions of the paths' synapses in ``graph.synapses``.
    """

    target: str
    paths: tuple[tuple[str, tuple[LinearMap, ...]], ...]
    tail: tuple[LinearMap, ...]
    synapses: tuple[int, ...]

    def read(self, values: Mapping[str, Tensor]) -> Tensor:
        """What the weight reads: the sum of the paths."""
        return reduce(torch.add, [_moved(head, values[source]) for source, head in self.paths])


def shared_weights(graph: LayerGraph) -> tuple[SharedWeight, ...]:
    """All synapses of a graph, those together that share a weight."""
    found: dict[str, list[SharedWeight]] = {}
    for at, synapse in enumerate(graph.synapses):
        first = next(
            (i for i, m in enumerate(synapse.maps) if isinstance(m, WeightedMap)),
            len(synapse.maps),
        )
        head, tail = synapse.maps[:first], synapse.maps[first:]
        path = (synapse.source, head)
        into = found.setdefault(synapse.target, [])
        for number, other in enumerate(into):
            if _entering(graph, other.paths[0]) == _entering(graph, path) and _equal(
                other.tail, tail
            ):
                into[number] = replace(
                    other, paths=(*other.paths, path), synapses=(*other.synapses, at)
                )
                break
        else:
            into.append(SharedWeight(synapse.target, (path,), tail, (at,)))
    return tuple(shared for into in found.values() for shared in into)


def _entering(graph: LayerGraph, path: tuple[str, tuple[LinearMap, ...]]) -> Shape:
    """Shape of what the weight behind a path reads."""
    return chain_output_shape(path[1], graph[path[0]].shape)


def _equal(tail: tuple[LinearMap, ...], other: tuple[LinearMap, ...]) -> bool:
    if len(tail) != len(other):
        return False
    for ours, theirs in zip(tail, other, strict=True):
        if type(ours) is not type(theirs):
            return False
        for name in (f.name for f in fields(ours)):
            if not np.array_equal(getattr(ours, name), getattr(theirs, name)):
                return False
    return True


@dataclass(frozen=True, eq=False)
class GraphTensors:
    """Weights and biases of a layer graph as tensors.

    Attributes:
        shared: the synapses by target.
        weights: of each map of each tail.
        biases: by population.
    """

    shared: Mapping[str, tuple[SharedWeight, ...]]
    weights: Mapping[SharedWeight, tuple[Tensor | None, ...]]
    biases: Mapping[str, Tensor]

    @classmethod
    def of(cls, graph: LayerGraph, dtype: torch.dtype) -> GraphTensors:
        every = shared_weights(graph)
        targets = [p for p in graph.populations if not isinstance(p, InputPopulation)]
        return cls(
            {p.name: tuple(s for s in every if s.target == p.name) for p in targets},
            {s: map_weights(s.tail, dtype) for s in every},
            {p.name: torch.from_numpy(p.bias).to(dtype) for p in targets},
        )


@dataclass(eq=False)
class Pass:
    """Logits of one pass, ``(B, values)``, and the values that were kept, ``(B, C, H, W)``."""

    logits: Tensor
    values: dict[str, Tensor] = field(default_factory=dict)


def run_pass(
    graph: LayerGraph,
    tensors: GraphTensors,
    images: Tensor,
    activate: Activate,
    *,
    given: Mapping[str, Tensor] | None = None,
    keep: Collection[str] = (),
    every: bool = False,
) -> Pass:
    """Compute the values of all populations, in topological order.

    A population that computes a maximum needs no ``activate``: what it counts is ``max(b - a, 0)`` of two
    counts of one scale, whatever that scale is.

    Args:
        images: real input values, ``(B, C, H, W)``.
        given: values of populations that are known and not computed again.
        keep: populations whose values are returned. Others are forgotten once they are read.
        every: call ``activate`` for maxima as well.
    """
    values: dict[str, Tensor] = {**(given or {}), graph.input.name: images}
    last_reader = {s.source: s.target for p in graph.populations for s in graph.incoming(p.name)}
    logits = images.new_empty(0)
    for population in graph.populations:
        name = population.name
        match population:
            case InputPopulation():
                pass
            case SpikingPopulation():
                if given is None or name not in given:
                    current = incoming_current(graph, tensors, population, values)
                    values[name] = (
                        torch.relu(current)
                        if is_maximum(population) and not every
                        else activate(population, current)
                    )
            case ReadoutPopulation():
                logits = incoming_current(graph, tensors, population, values).flatten(1)
            case _:
                assert_never(population)
        for source in [s for s, reader in last_reader.items() if reader == name and s not in keep]:
            values.pop(source, None)
    return Pass(logits, {name: values[name] for name in keep if name in values})


def incoming_current(
    graph: LayerGraph,
    tensors: GraphTensors,
    target: SpikingPopulation | ReadoutPopulation,
    values: Mapping[str, Tensor],
) -> Tensor:
    """Current of a population, ``(B, C, H, W)``, from the mean activations of its sources."""
    current = tensors.biases[target.name]
    for shared in tensors.shared[target.name]:
        current = transmit(shared.tail, shared.read(values), tensors.weights[shared]) + current
    return current


def _moved(maps: tuple[LinearMap, ...], values: Tensor) -> Tensor:
    """Apply maps without a weight; rows and columns at regular distances are a view."""
    for linear_map in maps:
        regular = _regular_pixels(linear_map) if isinstance(linear_map, Resample) else None
        if regular is not None:
            values = values[:, :, regular[0], regular[1]]
        else:
            values = transmit((linear_map,), values)
    return values


def _regular_pixels(resample: Resample) -> tuple[slice, slice] | None:
    """Rows and columns that a map selects, if it selects single ones at regular distances."""
    if resample.divisor != 1:
        return None
    slices = []
    for matrix in (resample.rows, resample.columns):
        chosen = matrix.argmax(axis=1)
        steps = np.unique(np.diff(chosen))
        step = int(steps[0]) if len(steps) else 1
        if (
            len(steps) > 1
            or step < 1
            or not np.array_equal(matrix, np.eye(matrix.shape[1])[chosen])
        ):
            return None
        slices.append(slice(int(chosen[0]), int(chosen[-1]) + 1, step))
    return slices[0], slices[1]


def relu_with_clips(clips: Mapping[str, float]) -> Activate:
    """The activations of the float network: ReLU, clipped where the network clips."""
    return lambda population, current: current.clamp(0, clips.get(population.name))


class _Quantized(torch.autograd.Function):
    """Mean activation per step, with the straight-through gradients of a learned step size."""

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, threshold: Tensor, share: Tensor, timesteps: int
    ) -> Tensor:
        position = (current * (timesteps / threshold)).add_(share)
        counts = position.floor().clamp_(0, timesteps)
        ctx.save_for_backward(current, threshold, share, counts)
        ctx.timesteps = timesteps
        return counts * (threshold / timesteps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (gradient,) = gradients
        current, threshold, share, counts = ctx.saved_tensors
        timesteps = ctx.timesteps
        low, high = (
            (0.5 - share) / timesteps * threshold,
            (timesteps + 0.5 - share) / timesteps * threshold,
        )
        inside = gradient * ((current > low) & (current < high))
        for_share = inside.sum_to_size(share.shape) * (threshold / timesteps)
        for_threshold = (gradient * counts).sum_to_size(threshold.shape) / timesteps
        for_threshold -= (inside * current).sum_to_size(threshold.shape) / threshold
        return inside, for_threshold, for_share.sum_to_size(share.shape), None


def quantized(current: Tensor, threshold: Tensor, share: Tensor, timesteps: int) -> Tensor:
    """Mean activation per step of neurons with a constant current, differentiable in all but T.

    Args:
        current: ``(B, C, H, W)``.
        threshold: v_th, ``(C, 1, 1)`` or ``(1, 1, 1)``.
        share: ``v(0) / v_th``, shaped as ``threshold``, or with more entries.
    """
    return _Quantized.apply(current, threshold, share, timesteps)


def spiking(graph: LayerGraph, dtype: torch.dtype) -> Activate:
    """The activations of the spiking network in closed form."""
    thresholds = {p.name: torch.from_numpy(p.threshold).to(dtype) for p in graph.spiking}
    shares = {
        p.name: torch.from_numpy(p.initial_potential / p.threshold).to(dtype) for p in graph.spiking
    }

    def activate(population: SpikingPopulation, current: Tensor) -> Tensor:
        name = population.name
        return quantized(current, thresholds[name], shares[name], population.timesteps)

    return activate


@torch.inference_mode()
def logits_in_parts(
    graph: LayerGraph, images: Tensor, activate: Activate, samples_per_pass: int = 128
) -> Tensor:
    """Logits of many images, in several passes."""
    tensors = GraphTensors.of(graph, images.dtype)
    return torch.cat(
        [run_pass(graph, tensors, part, activate).logits for part in images.split(samples_per_pass)]
    )


def values_behind(graph: LayerGraph, names: Collection[str]) -> set[str]:
    """The populations whose values depend on those of some others, which are not among them."""
    reached = set().union(*(nx.descendants(graph.digraph, name) for name in names))
    return reached - set(names)
