"""Split the populations whose cores set the pace of a tick over more cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from deploy.design.compilation import Design
from hw_models.multicore.cost.tick_cost import Cost
from hw_models.multicore.mapping.core_resources import NetworkOnTarget, worst_tile_work
from hw_models.multicore.pipeline.provisioning import Provisioning

_FINER = 2 / 3
"""Work of a population's busiest tile after one step, as a part of what it was."""

_LEADING = 0.5
"""A step splits the fewest populations that together set the pace for this part of the time."""


def finer_tiles(design: Design, costs: Sequence[Cost]) -> Iterator[tuple[list[str], Provisioning]]:
    """Finer tiles of the populations that set the pace together, then of each alone, the slowest first.

    A tick lasts as long as its slowest core, so several populations with as much to do in a tick must be
    split at once. Where spikes queue in the mesh, finer tiles of the core that waits for them make it worse,
    since each spike then goes to more cores; finer tiles of the cores that send them help.

    Args:
        costs: of the design on real samples, under each of the target's profiles.

    Yields:
        The populations that are split, and what the design is given.
    """
    if costs:
        for names in _candidates(costs):
            yield names, _split(design, names)


def _candidates(costs: Sequence[Cost]) -> list[list[str]]:
    """The fewest populations that set the pace for ``_LEADING`` of the time, then each alone."""
    shares = {  # mean over profiles
        name: sum(cost.shares[name] for cost in costs) / len(costs) for name in costs[0].shares
    }
    ranked = sorted(shares, key=lambda name: -shares[name])
    leaders: list[str] = []
    for name in ranked:
        if sum(shares[leader] for leader in leaders) < _LEADING:
            leaders.append(name)
    alone = [[name] for name in ranked]
    return [leaders, *alone] if len(leaders) > 1 else alone


def _split(design: Design, names: Sequence[str]) -> Provisioning:
    """What the design is given, with less work in the tiles of some populations."""
    mapping, provisioning = design.mapping, design.provisioning
    context = NetworkOnTarget(design.network, mapping.target, provisioning)
    limits = {
        name: int(worst_tile_work(context, name, mapping.grids[name]) * _FINER) for name in names
    }
    return replace(provisioning, tile_limits={**provisioning.tile_limits, **limits})
