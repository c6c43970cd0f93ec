"""How much of the chip a network is given: buffer slots, replicas, and how small its tiles must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from toolchain.errors import MappingError
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork

BufferSlots: TypeAlias = Mapping[tuple[str, str], int]
"""Slots D of each alignment buffer, keyed by (source, target)."""

Replicas: TypeAlias = Mapping[str, int]
"""Replicas R of each population; 1 where absent."""

TileLimits: TypeAlias = Mapping[str, int]
"""Most ``worst_tile_work`` of a tile, for populations that are cut finer than their cores need."""


@dataclass(frozen=True, kw_only=True)
class Provisioning:
    """What a network is given on a target, whatever its integers are.

    Attributes:
        slots: D of each alignment buffer, for all replicas of its target together.
        replicas: R of the replicated populations.
        tile_limits: populations that are cut finer, and how fine.
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
    """The same number of slots in front of every stage, and tiles as large as fit.

    Args:
        slots: of each buffer, for each replica of its target.
        replicas: R of the replicated populations; none by default.
    """
    replicas = replicas or {}
    depths = {(s.source, s.target): slots * replicas.get(s.target, 1) for s in network.synapses}
    return Provisioning(slots=depths, replicas=replicas)


def check_provisioning(network: IntegerNetwork, provisioning: Provisioning) -> None:
    """Refuse what no pipeline can be made with.

    Raises:
        MappingError: a buffer has no slot, its replicas would hold different numbers of slots, or what
            is replicated is not a population of the chip.
    """
    on_chip = [p.name for p in network.populations if not isinstance(p, IntegerInput)]
    for name, count in provisioning.replicas.items():
        if name not in on_chip:
            raise MappingError(
                f"'{name}' cannot be replicated, it is not a population on the chip; these are: "
                f"{', '.join(on_chip)}"
            )
        if count < 1:
            raise MappingError(f"'{name}' must have at least 1 replica, not {count}")
    for (source, target), slots in provisioning.slots.items():
        count = provisioning.num_replicas(target)
        if slots < 1:
            raise MappingError(
                f"the alignment buffer {source} -> {target} must have at least 1 slot, not {slots}"
            )
        if slots % count:
            raise MappingError(
                f"the alignment buffer {source} -> {target} must have as many slots for each of the "
                f"{count} replicas of '{target}': a multiple of {count}, not {slots}"
            )
