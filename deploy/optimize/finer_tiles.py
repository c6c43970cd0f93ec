"""Split the populations whose cores set the pace of a tick over more cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from deploy.compilation import Design
from hw_models.multicore.core_resources import NetworkOnTarget, worst_tile_work
from hw_models.multicore.provisioning import Provisioning
from hw_models.multicore.tick_cost import Cost

_FINER = 2 / 3
"""Work of a population's busiest tile after one step, as a part of what it was."""

_LEADING = 0.5
"""A step splits the fewest populations that together set the pace for this part of the time."""


def finer_tiles(design: Design, costs: Sequence[Cost]) -> Iterator[tuple[list[str], Provisioning]]:
    """Finer tiles of the populations that set the pace together, then of the first of them alone.

    A tick lasts as long as its slowest core, so several populations with as much to do in a tick must be
    split at once.

    Args:
        costs: of the design on real samples, under each of the target's profiles.

    Yields:
        The populations that are split, and what the design is given.
    """
    if not costs:
        return
    leaders = _leaders(costs)
    yield leaders, _split(design, leaders)
    if len(leaders) > 1:
        yield leaders[:1], _split(design, leaders[:1])


def _leaders(costs: Sequence[Cost]) -> list[str]:
    """The fewest populations that set the pace for ``_LEADING`` of the time, mean over profiles."""
    shares = {
        name: sum(cost.shares[name] for cost in costs) / len(costs) for name in costs[0].shares
    }
    leaders: list[str] = []
    for name in sorted(shares, key=lambda name: -shares[name]):
        if sum(shares[leader] for leader in leaders) < _LEADING:
            leaders.append(name)
    return leaders


def _split(design: Design, names: Sequence[str]) -> Provisioning:
    """What the design is given, with less work in the tiles of some populations."""
    mapping, provisioning = design.mapping, design.provisioning
    context = NetworkOnTarget(design.network, mapping.target, provisioning)
    limits = {
        name: int(worst_tile_work(context, name, mapping.grids[name]) * _FINER) for name in names
    }
    return replace(provisioning, tile_limits={**provisioning.tile_limits, **limits})
