"""Longest paths between the steps of a pipeline, in few passes over its dependencies.

Most dependencies lead forward, from a population to one after it, and credits lead back. A sweep over all
that lead forward in the order of the populations, and one over those that lead back in reverse order, settle
every path that turns around once (Yen's order of relaxation for Bellman-Ford). So a few sweeps suffice for
deep networks, where an arbitrary order needs as many as there are populations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_UNREACHED = -(2**60)


class Arc(NamedTuple):
    """A dependency between two steps, given by their numbers."""

    source: int
    target: int
    weight: int


@dataclass(frozen=True, eq=False)
class Sweeps:
    """Arcs in the order in which both sweeps follow them.

    Attributes:
        order: numbers of arcs, for the sweep forward and for the one back.
    """

    num_steps: int
    order: tuple[Sequence[int], Sequence[int]]

    @classmethod
    def of(cls, places: Sequence[int], ends: Sequence[tuple[int, int]]) -> Sweeps:
        """The order for arcs with these sources and targets.

        Args:
            places: place of each step's population in topological order.
        """

        def sweep(sign: int) -> list[int]:
            """Population by population: arcs between its own steps, then those that leave it."""
            along = [
                (sign * places[source], places[source] != places[target], source, number)
                for number, (source, target) in enumerate(ends)
                if sign * places[source] <= sign * places[target]
            ]
            return [number for *_, number in sorted(along)]

        return cls(num_steps=len(places), order=(sweep(1), sweep(-1)))

    def has_positive_cycle(self, arcs: Sequence[Arc]) -> bool:
        """Whether the weights on some cycle have a sum above 0."""
        distance = [0] * self.num_steps
        reached_from = [-1] * self.num_steps
        sweeps = [_in_order(arcs, order) for order in self.order]
        for count in range(1, self.num_steps + 2):
            changed = False
            for sweep in sweeps:
                for source, target, weight in sweep:
                    if distance[source] + weight > distance[target]:
                        distance[target] = distance[source] + weight
                        reached_from[target] = source
                        changed = True
            if not changed:
                return False
            if count.bit_count() == 1 and _has_cycle(reached_from):  # at 1, 2, 4, 8, ...
                return True
        return True

    def longest_paths(self, start: int, arcs: Sequence[Arc]) -> list[int]:
        """Weight of the longest path from a step to each one that it reaches; no cycle may be positive."""
        distance = [_UNREACHED] * self.num_steps
        distance[start] = 0
        sweeps = [_in_order(arcs, order) for order in self.order]
        changed = True
        while changed:
            changed = False
            for sweep in sweeps:
                for source, target, weight in sweep:
                    if distance[source] + weight > distance[target]:
                        distance[target] = distance[source] + weight
                        changed = True
        return distance


def _in_order(arcs: Sequence[Arc], order: Sequence[int]) -> list[Arc]:
    return [arcs[number] for number in order]


def _has_cycle(reached_from: Sequence[int]) -> bool:
    """Whether a walk back from some step runs into a cycle."""
    walks = [-1] * len(reached_from)  # the walk that has been here
    for walk in range(len(walks)):
        step = walk
        while reached_from[step] >= 0 and walks[step] < 0:
            walks[step] = walk
            step = reached_from[step]
        if walks[step] == walk:
            return True
    return False
