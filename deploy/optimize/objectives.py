"""The objectives of ``compile --optimize`` and the steps of each, in one table.

No objective is beaten in its own measure by another's design: at its end, a search also judges the designs
that searches for the other objectives find, and takes the best that keeps its constraints.

This module imports nothing heavy, as the command line reads the table for its help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.design.compilation import DesignPoint


class Step(Enum):
    """A kind of change to a design; ``deploy.optimize.steps`` makes the candidates."""

    BUFFER_DEPTHS = auto()
    ALIGNMENTS = auto()
    REALIGNMENT = auto()
    SHORTER_WINDOWS = auto()
    REPLICAS = auto()
    FINER_TILES = auto()
    EXCHANGED_CORES = auto()


CHANGES_INTEGERS = {Step.ALIGNMENTS, Step.REALIGNMENT, Step.SHORTER_WINDOWS}
"""Steps that a search tries only with an accuracy budget."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A measure to lower, and the steps of its search.

    Attributes:
        name: the value of ``--optimize``.
        lowers: the measure in words.
        measure: of a design; lower is better.
        steps: those that may lower the measure, in the order they are tried, each from the best design.
        cannot_lower: steps that never lower the measure.
        keeps_interval: refuse designs with a longer interval, in ticks, than the first design.
        sizes_buffers: size the buffers of a network with other windows for its own longest window.
        needs_data: the measure needs real samples.
        takes_interval: ``--interval`` is allowed, and replicas may then take more chips.
    """

    name: str
    lowers: str
    measure: Callable[[DesignPoint], float]
    steps: tuple[Step, ...]
    cannot_lower: frozenset[Step] = frozenset()
    keeps_interval: bool = False
    sizes_buffers: bool = False
    needs_data: bool = False
    takes_interval: bool = False

    @property
    def description(self) -> str:
        """Text for the command line."""
        constraint = ", with no longer an interval in ticks" * self.keeps_interval
        return f"{self.name} ({self.lowers}{constraint})"

    def applicable(self, may_change_integers: bool) -> tuple[Step, ...]:
        """Its steps, with or without those that change the integers."""
        return tuple(s for s in self.steps if may_change_integers or s not in CHANGES_INTEGERS)


def _mean_interval_us(point: DesignPoint) -> float:
    return sum(point.interval_us.values()) / len(point.interval_us)


def _mean_energy_nj(point: DesignPoint) -> float:
    return sum(point.energy_nj.values()) / len(point.energy_nj)


_ALL = (
    Objective(
        name="stalls",
        lowers="share of ticks in which a stage does not fire",
        measure=lambda point: point.stall_share,
        steps=(Step.BUFFER_DEPTHS, Step.ALIGNMENTS, Step.SHORTER_WINDOWS, Step.REPLICAS),
        cannot_lower=frozenset({Step.FINER_TILES, Step.EXCHANGED_CORES}),
        sizes_buffers=True,
        takes_interval=True,
    ),
    Objective(
        name="cores",
        lowers="cores",
        measure=lambda point: point.num_cores,
        steps=(Step.BUFFER_DEPTHS, Step.ALIGNMENTS, Step.SHORTER_WINDOWS),
        cannot_lower=frozenset({Step.REPLICAS, Step.FINER_TILES, Step.EXCHANGED_CORES}),
    ),
    Objective(
        name="latency",
        lowers="ticks to the first result",
        measure=lambda point: point.first_latency_ticks,
        steps=(Step.ALIGNMENTS, Step.REALIGNMENT, Step.SHORTER_WINDOWS),
        cannot_lower=frozenset(set(Step) - CHANGES_INTEGERS),  # the first sample meets no other
    ),
    Objective(
        name="energy",
        lowers="energy per sample, mean over cost profiles",
        measure=_mean_energy_nj,
        steps=(
            Step.BUFFER_DEPTHS, Step.ALIGNMENTS, Step.SHORTER_WINDOWS, Step.REPLICAS,
            Step.FINER_TILES, Step.EXCHANGED_CORES,
        ),
        sizes_buffers=True,
        needs_data=True,
    ),
    Objective(
        name="time",
        lowers="time between results, mean over cost profiles",
        measure=_mean_interval_us,
        steps=(
            Step.BUFFER_DEPTHS, Step.ALIGNMENTS, Step.SHORTER_WINDOWS, Step.FINER_TILES,
            Step.REPLICAS,
        ),
        cannot_lower=frozenset({Step.EXCHANGED_CORES}),
        sizes_buffers=True,
        needs_data=True,
    ),
    Objective(
        name="traffic",
        lowers="hops between cores",
        measure=lambda point: point.traffic_hops,
        steps=(
            Step.BUFFER_DEPTHS, Step.ALIGNMENTS, Step.SHORTER_WINDOWS, Step.REPLICAS,
            Step.FINER_TILES, Step.EXCHANGED_CORES,
        ),
        keeps_interval=True,
    ),
)  # fmt: skip

OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ALL}
