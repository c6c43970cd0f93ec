"""What ``compile --optimize`` can lower, and the steps it tries for each: one table.

No objective is beaten in its own measure: a search ends with the designs that the searches for the other
objectives find, and takes the best of them that keeps its constraints.

Nothing heavy is imported here, as the command line reads the table for its help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.design.compilation import DesignPoint


class Step(Enum):
    """A kind of change to a design; ``deploy.optimize.steps`` makes its candidates."""

    BUFFER_DEPTHS = auto()
    ALIGNMENTS = auto()
    REALIGNMENT = auto()
    SHORTER_WINDOWS = auto()
    REPLICAS = auto()
    FINER_TILES = auto()
    EXCHANGED_CORES = auto()


CHANGES_INTEGERS = {Step.ALIGNMENTS, Step.REALIGNMENT, Step.SHORTER_WINDOWS}
"""Steps that are tried only with an accuracy budget."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a search lowers, and how.

    Attributes:
        name: what ``--optimize`` takes.
        lowers: what the measure is, in words.
        measure: of a design; lower is better.
        steps: tried in this order, each from the best design so far; every one that may lower the measure.
        cannot_lower: steps that leave the measure as it is or raise it.
        keeps_interval: results may not come less often than from the first design, in ticks.
        sizes_buffers: buffers of a network with other windows are sized for its own longest window.
        needs_data: the measure is of real samples.
        takes_interval: the user may ask for an interval, and gets replicas on as many chips as it needs.
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
        """What the command line says of it."""
        constraint = ", with no longer an interval in ticks" * self.keeps_interval
        return f"{self.name} ({self.lowers}{constraint})"

    def applicable(self, may_change_integers: bool) -> tuple[Step, ...]:
        """Its steps, with or without those that change the integers."""
        return tuple(s for s in self.steps if may_change_integers or s not in CHANGES_INTEGERS)


def _mean_interval_us(point: DesignPoint) -> float:
    return sum(point.interval_us.values()) / len(point.interval_us)


def _mean_energy_nj(point: DesignPoint) -> float:
    return sum(point.energy_nj.values()) / len(point.energy_nj)


_LEAVE_THE_FIRST_SAMPLE_ALONE = {
    Step.BUFFER_DEPTHS, Step.REPLICAS, Step.FINER_TILES, Step.EXCHANGED_CORES,
}  # fmt: skip

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
        cannot_lower=frozenset(_LEAVE_THE_FIRST_SAMPLE_ALONE),
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
