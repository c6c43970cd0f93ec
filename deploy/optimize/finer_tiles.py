"""Split the populations whose cores set the duration of a tick over more cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from deploy.design.compilation import Design
from hw_models.multicore.cost.tick_cost import Cost
from hw_models.multicore.mapping.core_resources import NetworkOnTarget
from hw_models.multicore.pipeline.provisioning import Provisioning

_FINER = 2 / 3
"""Work of a population's busiest tile after a step, relative to the work before it."""

_LEADING = 0.5
"""A step splits the fewest populations that together set the pace for this share of the time."""


def finer_tiles(design: Design, costs: Sequence[Cost]) -> Iterator[tuple[list[str], Provisioning]]:
    """Split the populations that set the pace, first together, then each alone, the slowest first.

    A tick lasts as long as its slowest core, so several populations with equal work must be split at once.
    If spikes queue in the mesh, splitting the population that waits for them makes it worse, since each
    spike then goes to more cores; splitting the populations that send them helps.

    Args:
        costs: of the design on real samples, one per cost profile of the target.

    Yields:
        The populations that are split, and the provisioning with their tile limits.
    """
    if not costs:
        return
    shares = {  # mean over profiles
        name: sum(cost.shares[name] for cost in costs) / len(costs) for name in costs[0].shares
    }
    ranked = sorted(shares, key=lambda name: -shares[name])
    leaders: list[str] = []
    for name in ranked:
        if sum(shares[leader] for leader in leaders) < _LEADING:
            leaders.append(name)
    if len(leaders) > 1:
        yield leaders, _split(design, leaders)
    for name in ranked:
        yield [name], _split(design, [name])


def _split(design: Design, names: Sequence[str]) -> Provisioning:
    """The design's provisioning, with less work in the tiles of some populations."""
    mapping, provisioning = design.mapping, design.provisioning
    context = NetworkOnTarget(design.network, mapping.target, provisioning)
    limits = {
        name: int(context.cuts.worst_tile_work(mapping.grids[name]) * _FINER) for name in names
    }
    return replace(provisioning, tile_limits={**provisioning.tile_limits, **limits})
