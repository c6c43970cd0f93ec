"""Split the populations whose cores set the pace of a tick over more cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from deploy.compilation import Design
from deploy.design import map_design
from hw_models.multicore.core_resources import NetworkOnTarget, events
from hw_models.multicore.partition import AS_LARGE_AS_FIT
from hw_models.multicore.tick_cost import Cost
from hw_models.target_description import TargetDescription
from toolchain.errors import MappingError

_FINER = 2 / 3
"""Work of a population's busiest tile after one step, as a part of what it was."""

_LEADING = 0.5
"""A step splits the fewest populations that together set the pace for this part of the time."""


def finer_tiles(
    target: TargetDescription,
    current: Callable[[], Design],
    paces: Callable[[Design], Sequence[Cost]],
) -> Iterator[tuple[str, Design]]:
    """Designs with finer tiles of those that set the pace, as long as the one before becomes current.

    A tick lasts as long as its slowest core, so several populations with as much to do in a tick must be
    split at once. Where that is not kept, each population is tried alone, the one that leads first: where
    spikes queue in the mesh, finer tiles of the core that waits for them make it worse, since each spike then
    goes to more cores, and those of the cores that send them help.

    Args:
        current: the best design so far; a design that was yielded and kept is this from then on.
        paces: cost of a design on real samples, under each of the target's profiles.
    """
    while True:
        design = current()
        for names in _candidates(paces(design)):
            finer = _split(design, target, names)
            if finer is None:
                continue
            yield _in_words(design, finer, names), finer
            if current() is finer:
                break
        else:
            return


def _candidates(paces: Sequence[Cost]) -> list[list[str]]:
    """The fewest populations that set the pace for ``_LEADING`` of the time, then each alone."""
    shares = {  # mean over profiles
        name: sum(pace.shares[name] for pace in paces) / len(paces) for name in paces[0].shares
    }
    ranked = sorted(shares, key=lambda name: -shares[name])
    leaders: list[str] = []
    for name in ranked:
        if sum(shares[leader] for leader in leaders) < _LEADING:
            leaders.append(name)
    alone = [[name] for name in ranked]
    return [leaders, *alone] if len(leaders) > 1 else alone


def _split(design: Design, target: TargetDescription, names: list[str]) -> Design | None:
    """The design with less work in the tiles of some populations; None where that cannot be."""
    mapping = design.mapping
    context = NetworkOnTarget(
        design.network, target, mapping.slots, mapping.replicas, AS_LARGE_AS_FIT
    )
    most = {name: int(events(context, name, mapping.grids[name]) * _FINER) for name in names}
    try:
        return map_design(
            design.options,
            design.graph,
            design.network,
            target,
            mapping.slots,
            mapping.replicas,
            {**mapping.most_events, **most},
        )
    except MappingError:  # a single neuron is more work, or all chips are full
        return None


def _in_words(before: Design, after: Design, names: list[str]) -> str:
    grids = before.mapping.grids, after.mapping.grids
    parts = [f"{name} {len(grids[0][name])} to {len(grids[1][name])}" for name in names]
    return f"tiles: {', '.join(parts)}"
