"""What ``compile --optimize`` can lower, and the steps it tries for each: one table.

Nothing heavy is imported here, as the command line reads the table for its help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.compilation import DesignPoint


class Step(Enum):
    """A kind of change to a design; ``deploy.optimize.steps`` makes its candidates."""

    BUFFER_DEPTHS = auto()
    ALIGNMENTS = auto()
    REALIGNMENT = auto()
    SHORTER_WINDOWS = auto()
    REPLICAS = auto()
    FINER_TILES = auto()
    EXCHANGED_CORES = auto()


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a search lowers, and how.

    Attributes:
        name: what ``--optimize`` takes.
        lowers: what the measure is, in words.
        measure: of a design; lower is better.
        steps: tried in this order, each from the best design so far.
        sizes_buffers: buffers of a network with other windows are sized for its own longest window.
        needs_data: the measure is of real samples.
    """

    name: str
    lowers: str
    measure: Callable[[DesignPoint], float]
    steps: tuple[Step, ...]
    sizes_buffers: bool = False
    needs_data: bool = False


def _mean_interval_us(point: DesignPoint) -> float:
    return sum(point.interval_us.values()) / len(point.interval_us)


def _mean_energy_nj(point: DesignPoint) -> float:
    return sum(point.energy_nj.values()) / len(point.energy_nj)


OBJECTIVE_LIST = (
    Objective(
        name="stalls",
        lowers="share of the ticks in which a stage does not fire",
        measure=lambda point: point.stall_share,
        steps=(Step.BUFFER_DEPTHS, Step.SHORTER_WINDOWS, Step.REPLICAS),
        sizes_buffers=True,
    ),
    Objective(
        name="cores",
        lowers="cores",
        measure=lambda point: point.num_cores,
        steps=(Step.BUFFER_DEPTHS, Step.SHORTER_WINDOWS),
    ),
    Objective(
        name="latency",
        lowers="ticks until the first result",
        measure=lambda point: point.first_latency_ticks,
        steps=(Step.ALIGNMENTS, Step.REALIGNMENT, Step.SHORTER_WINDOWS),
    ),
    Objective(
        name="energy",
        lowers="energy per sample",
        measure=_mean_energy_nj,
        steps=(Step.SHORTER_WINDOWS,),
        needs_data=True,
    ),
    Objective(
        name="time",
        lowers="seconds between results",
        measure=_mean_interval_us,
        steps=(Step.BUFFER_DEPTHS, Step.SHORTER_WINDOWS, Step.FINER_TILES),
        sizes_buffers=True,
        needs_data=True,
    ),
    Objective(
        name="traffic",
        lowers="hops between cores",
        measure=lambda point: point.traffic_hops,
        steps=(Step.BUFFER_DEPTHS, Step.SHORTER_WINDOWS, Step.EXCHANGED_CORES),
    ),
)

OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in OBJECTIVE_LIST}
