"""The self-timed pipeline: stages with firing windows, joined by alignment buffers with D slots.

Nothing is scheduled centrally. A stage fires a step in the first tick that satisfies three rules::

    order    one step a tick, window after window:   x_q(k,t) >= x_q(k,t-1) + 1
    frames   what the step needs has arrived:        x_q(k,t) >= x_p(k,u)   + 1 + link_ticks
    credits  a slot is free at each target:          x_p(k,0) >= x_q(k-D,T_q-1) + 1 + link_ticks

where ``x_p(k,t)`` is the tick of step t of sample k. An averaging edge needs the source's last frame
before the window starts; ``replicate`` and ``truncate`` need, for each step, the frame that the
alignment selects. A slot is taken from the source's first step to the target's last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from toolchain.errors import MappingError
from toolchain.integer_network import IntegerNetwork
from toolchain.integer_network.network import step_frames

BufferSlots: TypeAlias = Mapping[tuple[str, str], int]
"""Slots D of each alignment buffer, keyed by (source, target)."""


@dataclass(frozen=True, kw_only=True)
class AlignmentBuffer:
    """The buffer of one synapse.

    Attributes:
        slots: D, samples it can hold.
        frames: source frame that each target step reads, or None when the edge averages all frames.
    """

    source: str
    target: str
    slots: int
    frames: tuple[int | None, ...] | None

    @property
    def edge(self) -> tuple[str, str]:
        return self.source, self.target

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Stages in topological order with their window lengths, and the buffers between them.

    Attributes:
        windows: T_l in ticks, by population name.
        link_ticks: delay of a frame forward, and of a credit backward.
    """

    windows: Mapping[str, int]
    buffers: tuple[AlignmentBuffer, ...]
    link_ticks: int

    def incoming(self, name: str) -> tuple[AlignmentBuffer, ...]:
        return tuple(b for b in self.buffers if b.target == name)

    def outgoing(self, name: str) -> tuple[AlignmentBuffer, ...]:
        return tuple(b for b in self.buffers if b.source == name)


def uniform_slots(network: IntegerNetwork, slots: int) -> dict[tuple[str, str], int]:
    """The same number of slots D for every alignment buffer."""
    return {(s.source, s.target): slots for s in network.synapses}


def pipeline_of(network: IntegerNetwork, buffer_slots: BufferSlots, link_ticks: int) -> Pipeline:
    """The pipeline a network becomes.

    Raises:
        MappingError: a buffer has no slot.
    """
    for edge, slots in buffer_slots.items():
        if slots < 1:
            raise MappingError(
                f"the alignment buffer {edge[0]} -> {edge[1]} must have at least 1 slot, not {slots}"
            )
    buffers = tuple(
        AlignmentBuffer(
            source=s.source,
            target=s.target,
            slots=buffer_slots[s.source, s.target],
            frames=None if s.alignment == "average" else step_frames(network, s),
        )
        for s in network.synapses
    )
    windows = {p.name: p.timesteps for p in network.populations}
    return Pipeline(windows=windows, buffers=buffers, link_ticks=link_ticks)
