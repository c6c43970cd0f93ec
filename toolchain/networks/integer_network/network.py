"""The integer network: the one set of integers that every engine computes.

For population l with sources j over edges e::

    N_j   spike count of source j in one window (the input population: its pixel integers)
    A_l = sum_e 2^x_e * op_e(W_e, N_j) + B_l
    each of the T_l firing steps:  V += A_l;  if V >= Theta_l: spike, V -= Theta_l

With ``replicate`` and ``truncate`` alignment the current of step t is computed from the frame that
the alignment selects for that step, and not from the count. The readout does not spike: its accumulator
is the logit vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, get_args

import numpy as np
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.layer_graph.graph import PopulationGraph
from toolchain.networks.layer_graph.populations import AlignmentMethod, ReadoutOutput, Role
from toolchain.networks.linear_maps import (
    IntegerMap,
    IntegerPool,
    LinearMap,
    Shape,
    WeightedMap,
    chain_output_shape,
    describe,
)
from toolchain.networks.temporal_alignment import selected_frames


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerInput:
    """Pixel integers ``0..max_value``, one frame per sample; ``unit`` is the real value of one step."""

    kind: ClassVar[str] = "input"
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
        role: see ``SpikingPopulation``.
    """

    kind: ClassVar[str] = "spiking"
    name: str
    shape: Shape
    timesteps: int
    threshold: np.ndarray
    initial_potential: np.ndarray
    bias: np.ndarray
    role: Role = "activation"


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerReadout:
    """The logit accumulator; ``unit`` is the real value of one integer step, the same for all logits.

    Args:
        outputs: see ``ReadoutPopulation``.
    """

    kind: ClassVar[str] = "readout"
    name: str
    shape: Shape
    bias: np.ndarray
    unit: float
    timesteps: int = 1
    outputs: tuple[ReadoutOutput, ...] = ()


IntegerPopulation: TypeAlias = IntegerInput | IntegerSpiking | IntegerReadout
INTEGER_POPULATION_KINDS: dict[str, type[IntegerPopulation]] = {
    kind.kind: kind for kind in get_args(IntegerPopulation)
}
"""Classes by the name that build folders give them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerSynapse:
    """``2^exponent * op(W, N)``: integer maps without a weight around one map with a weight.

    Args:
        pools_before, pools_after: applied in order; usually empty.
        weighted: its weight is int8.
        exponent: x_e, at least 0.
    """

    source: str
    target: str
    pools_before: tuple[IntegerPool, ...] = ()
    weighted: WeightedMap
    pools_after: tuple[IntegerPool, ...] = ()
    exponent: int
    alignment: AlignmentMethod = "average"

    @classmethod
    def of_maps(
        cls,
        *,
        source: str,
        target: str,
        maps: Iterable[LinearMap],
        exponent: int,
        alignment: AlignmentMethod = "average",
    ) -> IntegerSynapse:
        """Split a chain of maps, applied in order, at its one map with a weight.

        Raises:
            UnsupportedNetworkError: not exactly one map carries a weight, or another one divides.
        """
        maps = tuple(maps)
        name = f"{source} -> {target}"
        weighted = [(i, m) for i, m in enumerate(maps) if isinstance(m, WeightedMap)]
        if len(weighted) != 1:
            raise UnsupportedNetworkError(
                f"{name}: exactly one map must carry a weight, not {len(weighted)} of {len(maps)}"
            )
        ((at, weighted_map),) = weighted
        return cls(
            source=source,
            target=target,
            pools_before=_integer_pools(name, maps[:at]),
            weighted=weighted_map,
            pools_after=_integer_pools(name, maps[at + 1 :]),
            exponent=exponent,
            alignment=alignment,
        )

    @property
    def maps(self) -> tuple[IntegerMap, ...]:
        """All maps, in the order in which they are applied."""
        return (*self.pools_before, self.weighted, *self.pools_after)

    def weighted_input_shape(self, source_shape: Shape) -> Shape:
        """Shape of the feature map that the weighted map reads."""
        return chain_output_shape(self.pools_before, source_shape)

    def __str__(self) -> str:
        kinds = " > ".join(describe(linear_map) for linear_map in self.maps)
        return f"{self.source} -> {self.target} ({kinds}, {self.alignment})"


def _integer_pools(name: str, maps: tuple[LinearMap, ...]) -> tuple[IntegerPool, ...]:
    pools = []
    for linear_map in maps:
        if not isinstance(linear_map, IntegerPool):
            raise UnsupportedNetworkError(
                f"{name}: an integer synapse must hold maps of integers around its weight, not "
                f"{type(linear_map).__name__}"
            )
        pools.append(linear_map)
    return tuple(pools)


class IntegerNetwork(PopulationGraph[IntegerInput, IntegerSpiking, IntegerReadout, IntegerSynapse]):
    """The network that every engine computes: integer weights, thresholds and biases."""

    @property
    def has_constant_current(self) -> bool:
        """Whether every synapse averages, so that each count has a closed form."""
        return all(synapse.alignment == "average" for synapse in self.synapses)


def largest_source_value(network: IntegerNetwork, synapse: IntegerSynapse) -> int:
    """Largest integer one source neuron can present at once: its count, or one spike of a frame."""
    match network[synapse.source]:
        case IntegerInput(max_value=max_value):
            return max_value
        case IntegerSpiking(timesteps=timesteps):
            return timesteps if synapse.alignment == "average" else 1
        case IntegerReadout(name=name):
            raise AssertionError(f"{synapse}: the readout {name} has no synapse out of it")
        case population:
            assert_never(population)


def step_frames(network: IntegerNetwork, synapse: IntegerSynapse) -> tuple[int | None, ...]:
    """Source frame that each target step reads, for ``replicate`` and ``truncate`` alignment."""
    source, target = network[synapse.source], network[synapse.target]
    method = "replicate" if isinstance(source, IntegerInput) else synapse.alignment
    return selected_frames(method, source.timesteps, target.timesteps)
