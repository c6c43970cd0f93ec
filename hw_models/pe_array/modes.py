"""Modes of the PE array: the SNN under two schedules, and the quantized ANN that it was trained as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from toolchain.networks.integer_network import IntegerNetwork

ModeName: TypeAlias = Literal["snn_temporal", "snn_bit_planes", "ann_multiplier", "ann_bit_serial"]


class Frames(Enum):
    """What the frames of a kernel are."""

    TIMESTEPS = "timesteps"
    """T_l frames. With ``average`` alignment each one is the whole count; with ``replicate`` and ``truncate``
    it is the binary frame that the alignment selects."""
    WHOLE_VALUE = "whole value"
    """One frame of whole operands."""
    BIT_PLANES = "bit planes"
    """One frame per bit of the count or pixel; the sums of all frames are shifted and added up."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to run a network on the array.

    Attributes:
        name: name in reports and messages.
        frames: what the frames of each kernel are.
        is_spiking: the node unit fires T_l steps; otherwise it quantizes once, as in the ANN.
    """

    name: ModeName
    frames: Frames
    is_spiking: bool

    def __str__(self) -> str:
        return self.name

    @property
    def needs_averaging(self) -> bool:
        """Whether the mode computes a network's integers only if every timestep has the same input."""
        return self.frames is not Frames.TIMESTEPS


SNN_TEMPORAL = Mode(name="snn_temporal", frames=Frames.TIMESTEPS, is_spiking=True)
SNN_BIT_PLANES = Mode(name="snn_bit_planes", frames=Frames.BIT_PLANES, is_spiking=True)
ANN_MULTIPLIER = Mode(name="ann_multiplier", frames=Frames.WHOLE_VALUE, is_spiking=False)
ANN_BIT_SERIAL = Mode(name="ann_bit_serial", frames=Frames.BIT_PLANES, is_spiking=False)

MODES: Mapping[ModeName, Mode] = {
    mode.name: mode for mode in (SNN_TEMPORAL, SNN_BIT_PLANES, ANN_MULTIPLIER, ANN_BIT_SERIAL)
}


def array_modes(network: IntegerNetwork) -> tuple[Mode, ...]:
    """Modes that compute a network's integers: all of them, or only ``snn_temporal``."""
    is_constant = network.has_constant_current
    return tuple(mode for mode in MODES.values() if is_constant or not mode.needs_averaging)


def snn_schedules(network: IntegerNetwork) -> tuple[Mode, ...]:
    """The spiking modes among ``array_modes``."""
    return tuple(mode for mode in array_modes(network) if mode.is_spiking)
