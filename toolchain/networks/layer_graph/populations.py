"""Populations and synapses: the nodes and edges of the float layer graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np

from toolchain.networks.limits import Channel, PartName, Size
from toolchain.networks.linear_maps import LinearMap, Shape, describe

AlignmentMethod: TypeAlias = Literal["average", "replicate", "truncate"]
ALIGNMENT_METHODS: tuple[AlignmentMethod, ...] = get_args(AlignmentMethod)
Role: TypeAlias = Literal["activation", "maximum"]


@dataclass(frozen=True, kw_only=True, eq=False)
class InputPopulation:
    """The image: integers ``0..max_value``, presented as one frame (direct coding).

    Args:
        unit: real value of one integer step, so that ``x = unit * pixel``.
    """

    kind: ClassVar[str] = "input"
    name: str
    shape: Shape
    max_value: int
    unit: float
    timesteps: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikingPopulation:
    """Soft-reset integrate-and-fire neurons with a firing window of T_l steps (Eq. 1-3).

    Args:
        timesteps: T_l.
        threshold: v_th = alpha_l, broadcastable to ``shape``, in real units.
        initial_potential: v(0), broadcastable to ``shape``, in ``[0, threshold)``.
        bias: constant current, per channel ``(channels, 1, 1)`` or per neuron.
        role: ``activation`` for neurons of the trained network. ``maximum`` for those that exact max pooling
            needs: their count is ``clip(N_b - N_a, 0, T)`` of two counts of sources with the same T.
        integer_unit: real value of one integer of the accumulator, per channel ``(channels, 1, 1)``, if the
            network was trained with a target's integers. Lowering then takes these integers; None lets it
            choose.
    """

    kind: ClassVar[str] = "spiking"
    name: str
    shape: Shape
    timesteps: int
    threshold: np.ndarray
    initial_potential: np.ndarray
    bias: np.ndarray
    role: Role = "activation"
    integer_unit: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class ReadoutOutput:
    """One output of a network that has several: some channels of the readout.

    Outputs follow each other along the channels. A smaller one lies at the upper left of its channels;
    the logits around it are those of no output.

    Args:
        name: unique within the readout.
        start, stop: channels ``start <= c < stop``.
        height, width: size of its maps.
    """

    name: PartName
    start: Channel
    stop: Size
    height: Size
    width: Size

    def __str__(self) -> str:
        return f"{self.name} {self.start}:{self.stop} {self.height}x{self.width}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadoutPopulation:
    """Accumulates current, never spikes, and holds the logits at the end: one per class, or maps of them.

    Args:
        outputs: empty unless the network has several outputs.
        integer_unit: as of a spiking population, the same for all channels.
    """

    kind: ClassVar[str] = "readout"
    name: str
    shape: Shape
    bias: np.ndarray
    timesteps: int = 1
    outputs: tuple[ReadoutOutput, ...] = ()
    integer_unit: np.ndarray | None = None


Population: TypeAlias = InputPopulation | SpikingPopulation | ReadoutPopulation
POPULATION_KINDS: dict[str, type[Population]] = {kind.kind: kind for kind in get_args(Population)}
"""Classes by the name that model files give them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Synapse:
    """A linear map between two populations, with the alignment T_source -> T_target.

    Args:
        maps: applied in order; an empty tuple is the identity.
        alignment: Eq. 11; ``average`` unless the user chooses another.
        integer_exponent: x_e of a network that was trained with a target's integers, whose weights are
            multiples of ``2^x_e`` units of the target population; None lets lowering choose.
    """

    source: str
    target: str
    maps: tuple[LinearMap, ...]
    alignment: AlignmentMethod = "average"
    integer_exponent: int | None = None

    def __str__(self) -> str:
        kinds = " > ".join(describe(linear_map) for linear_map in self.maps) or "identity"
        return f"{self.source} -> {self.target} ({kinds}, {self.alignment})"
