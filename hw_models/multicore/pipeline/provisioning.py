"""The provisioning of a network on a target: buffer slots, replicas, and limits on its tiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from toolchain.errors import OptionError
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork

BufferSlots: TypeAlias = Mapping[tuple[str, str], int]
"""Slots D of each alignment buffer, keyed by (source, target)."""

Replicas: TypeAlias = Mapping[str, int]
"""Replicas R of each population; 1 where absent."""

TileLimits: TypeAlias = Mapping[str, int]
"""Largest work of a tile, see ``CutCounts``, for populations that are cut finer than they need to fit."""


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """Resources of a target that a network gets; they never change its integers.

    Attributes:
        slots: D of each alignment buffer, for all replicas of its target together.
        replicas: R of the replicated populations.
        tile_limits: limits of the populations that are cut finer than they need to fit.
    """

    slots: BufferSlots
    replicas: Replicas = field(default_factory=dict)
    tile_limits: TileLimits = field(default_factory=dict)

    def __hash__(self) -> int:
        fields = self.slots, self.replicas, self.tile_limits
        return hash(tuple(frozenset(values.items()) for values in fields))

    def num_replicas(self, population: str) -> int:
        return self.replicas.get(population, 1)

    def slots_per_replica(self, source: str, target: str) -> int:
        return self.slots[source, target] // self.num_replicas(target)


def uniform_provisioning(
    network: IntegerNetwork, slots: int, replicas: Replicas | None = None
) -> Provisioning:
    """An equal number of slots for every stage, and tiles as large as fit.

    Args:
        slots: D of each buffer, per replica of its target.
        replicas: R of the replicated populations; none by default.
    """
    replicas = replicas or {}
    depths = {(s.source, s.target): slots * replicas.get(s.target, 1) for s in network.synapses}
    return Provisioning(slots=depths, replicas=replicas)


def check_provisioning(network: IntegerNetwork, provisioning: Provisioning) -> None:
    """Refuse a provisioning with which a network has no pipeline.

    Raises:
        OptionError: a buffer has no slot, the replicas of its target would have different numbers of
            slots, or a replicated population is not on the chip.
    """
    on_chip = [p.name for p in network.populations if not isinstance(p, IntegerInput)]
    for name, count in provisioning.replicas.items():
        if name not in on_chip:
            raise OptionError(
                f"'{name}' cannot be replicated, it is not a population on the chip; these are: "
                f"{', '.join(on_chip)}"
            )
        if count < 1:
            raise OptionError(f"'{name}' must have at least 1 replica, not {count}")
    for (source, target), slots in provisioning.slots.items():
        count = provisioning.num_replicas(target)
        if slots < 1:
            raise OptionError(
                f"the alignment buffer {source} -> {target} must have at least 1 slot, not {slots}"
            )
        if slots % count:
            raise OptionError(
                f"the alignment buffer {source} -> {target} must have as many slots for each of the "
                f"{count} replicas of '{target}': a multiple of {count}, not {slots}"
            )
