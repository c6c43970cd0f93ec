"""The integer network: the one set of integers that every engine computes.

For population l with sources j over edges e::

    N_j   spike count of source j in one window (the input population: its pixel integers)
    A_l = sum_e 2^x_e * op_e(W_e, N_j) + B_l
    each of the T_l firing steps:  V += A_l;  if V >= Theta_l: spike, V -= Theta_l

With ``replicate`` and ``truncate`` alignment the current of step t is computed from the frame that
the alignment selects for it instead of from the count. The readout does not spike: its accumulator
is the logit vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from toolchain.layer_graph.graph import PopulationGraph
from toolchain.layer_graph.populations import AlignmentMethod
from toolchain.linear_maps import LinearMap, Shape, describe
from toolchain.temporal_alignment import selected_frames


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerInput:
    """Pixel integers ``0..max_value``, one frame a sample; ``unit`` is the real value of one step."""

    name: str
    shape: Shape
    max_value: int
    unit: float
    timesteps: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerSpiking:
    """Soft-reset integrate-and-fire neurons.

    Args:
        timesteps: T_l.
        threshold: Theta_l, int64, broadcastable to ``shape``, positive.
        initial_potential: V0_l, int64, broadcastable to ``shape``.
        bias: B_l, int64, per channel ``(channels, 1, 1)`` or per neuron.
    """

    name: str
    shape: Shape
    timesteps: int
    threshold: np.ndarray
    initial_potential: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerReadout:
    """The logit accumulator; ``unit`` is the real value of one integer step, the same for all classes."""

    name: str
    shape: Shape
    bias: np.ndarray
    unit: float
    timesteps: int = 1


IntegerPopulation: TypeAlias = IntegerInput | IntegerSpiking | IntegerReadout


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerSynapse:
    """``2^exponent * op(W, N)``: exactly one map carries a weight, any others are sum pools.

    Args:
        maps: applied in order, weights int8.
        exponent: x_e, at least 0.
    """

    source: str
    target: str
    maps: tuple[LinearMap, ...]
    exponent: int
    alignment: AlignmentMethod = "average"

    def __str__(self) -> str:
        kinds = " > ".join(describe(linear_map) for linear_map in self.maps)
        return f"{self.source} -> {self.target} ({kinds}, {self.alignment})"


IntegerNetwork = PopulationGraph[IntegerPopulation, IntegerSynapse]


def input_population(network: IntegerNetwork) -> IntegerInput:
    """The single input population."""
    return next(p for p in network.populations if isinstance(p, IntegerInput))


def readout_population(network: IntegerNetwork) -> IntegerReadout:
    """The single readout population."""
    return next(p for p in network.populations if isinstance(p, IntegerReadout))


def spiking_populations(network: IntegerNetwork) -> tuple[IntegerSpiking, ...]:
    """The spiking populations in topological order."""
    return tuple(p for p in network.populations if isinstance(p, IntegerSpiking))


def has_constant_current(network: IntegerNetwork) -> bool:
    """True when every synapse averages, so that each count has a closed form."""
    return all(synapse.alignment == "average" for synapse in network.synapses)


def largest_source_value(network: IntegerNetwork, synapse: IntegerSynapse) -> int:
    """Largest integer one source neuron can present at once: its count, or one spike of a frame."""
    source = network[synapse.source]
    if isinstance(source, IntegerInput):
        return source.max_value
    return source.timesteps if synapse.alignment == "average" else 1


def step_frames(network: IntegerNetwork, synapse: IntegerSynapse) -> tuple[int | None, ...]:
    """For ``replicate`` and ``truncate``: the source frame that each target step reads."""
    source, target = network[synapse.source], network[synapse.target]
    method = "replicate" if isinstance(source, IntegerInput) else synapse.alignment
    return selected_frames(method, source.timesteps, target.timesteps)
