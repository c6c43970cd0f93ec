"""Layout of a graph whose nodes stand below each other: which lane each edge runs in, row by row.

A node's edge to the next node is a straight line. All its other edges share one lane, from its row to the
row of its last target; at each target a branch leads from the lane to the node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Edge = tuple[int, int]
"""Source and target, by row."""


@dataclass
class RowOfLanes:
    """What is drawn in one row; lane 0 is next to the nodes.

    Attributes:
        arrives, leaves: the edge from the row above, and to the row below.
        passing: lanes that go on below the row, with the edges they carry on.
        branches: lanes from which an edge leads to the node.
        starts: lane that begins at the node, with its edges.
    """

    arrives: Edge | None = None
    leaves: Edge | None = None
    passing: list[tuple[int, list[Edge]]] = field(default_factory=list)
    branches: list[tuple[int, Edge]] = field(default_factory=list)
    starts: tuple[int, list[Edge]] | None = None


def rows_of_lanes(num_rows: int, edges: Iterable[Edge]) -> tuple[list[RowOfLanes], int]:
    """The rows, and how many lanes they need.

    Args:
        edges: each from a row to one further below.
    """
    rows = [RowOfLanes() for _ in range(num_rows)]
    far = defaultdict(list)
    for source, target in edges:
        if target == source + 1:
            rows[source].leaves = rows[target].arrives = (source, target)
        else:
            far[source].append(target)
    last_row: list[int] = []  # of each lane
    for source in sorted(far):
        targets = sorted(far[source])
        lane = _free_lane(last_row, source)
        last_row[lane : lane + 1] = [targets[-1]]
        rows[source].starts = (lane, [(source, target) for target in targets])
        for row in range(source + 1, targets[-1] + 1):
            if row in targets:
                rows[row].branches.append((lane, (source, row)))
            carried = [(source, target) for target in targets if target > row]
            if carried:
                rows[row].passing.append((lane, carried))
    return rows, len(last_row)


def _free_lane(last_row: Sequence[int], source: int) -> int:
    """The lowest lane that ends at this row or above it."""
    return next((lane for lane, row in enumerate(last_row) if row <= source), len(last_row))
