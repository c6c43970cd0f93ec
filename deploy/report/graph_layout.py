"""Where the boxes of the layer graph go: columns by depth, wrapped into bands like lines of text.

Boxes keep to the upper rows of their column; an edge that skips columns of its band gets a row of its own
below them, so that no edge runs through a box. Edges between bands run in the gutters between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Edge: TypeAlias = tuple[str, str]

BAND_COLUMNS = 6
FEWEST_COLUMNS = 4


@dataclass(frozen=True, kw_only=True)
class Place:
    """Band, column in that band and row in that column of one box."""

    band: int
    column: int
    row: int


@dataclass(frozen=True, kw_only=True)
class GraphLayout:
    """The grid, without a pixel in it.

    Attributes:
        lanes: row of each edge that skips columns inside its band.
        gutters: per gutter (the space below a band) the edges that run in it, top to bottom.
        box_rows: per band, the number of rows that hold boxes; lanes lie below or between.
        rows: per band, the number of rows.
    """

    places: Mapping[str, Place]
    lanes: Mapping[Edge, int]
    gutters: Sequence[Sequence[Edge]]
    box_rows: Sequence[int]
    rows: Sequence[int]


def lay_out(names: Sequence[str], edges: Sequence[Edge]) -> GraphLayout:
    """Layout of an acyclic graph."""
    depth = _depths(names, edges)
    starts = _band_starts(depth, edges)
    places: dict[str, Place] = {}
    for column in range(max(depth.values(), default=0) + 1):
        band = max(i for i, start in enumerate(starts) if start <= column)
        members = [name for name in names if depth[name] == column]
        for name, row in _column_rows(members, edges, places, band).items():
            places[name] = Place(band=band, column=column - starts[band], row=row)
    lanes = _lanes(edges, places)
    box_rows = [
        max(place.row for place in places.values() if place.band == band) + 1
        for band in range(len(starts))
    ]
    lane_rows = [
        max((row + 1 for (source, _), row in lanes.items() if places[source].band == band), default=0)
        for band in range(len(starts))
    ]
    return GraphLayout(
        places=places,
        lanes=lanes,
        gutters=[_gutter(edges, places, band) for band in range(len(starts) - 1)],
        box_rows=box_rows,
        rows=[max(pair) for pair in zip(box_rows, lane_rows, strict=True)],
    )


def _depths(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Longest path from a source."""
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for source, target in edges:
            depth[target] = max(depth[target], min(depth[source] + 1, len(names) - 1))
    return depth


def _band_starts(depth: Mapping[str, int], edges: Sequence[Edge]) -> list[int]:
    """First column of each band; a band ends where the fewest edges cross."""
    columns = max(depth.values(), default=0) + 1
    starts = [0]
    while columns - starts[-1] > BAND_COLUMNS:
        ends = [starts[-1] + n for n in range(BAND_COLUMNS, FEWEST_COLUMNS - 1, -1)]
        starts.append(
            min(ends, key=lambda end: sum(depth[s] < end <= depth[t] for s, t in edges)),
        )
    return starts


def _column_rows(
    members: Sequence[str], edges: Sequence[Edge], places: Mapping[str, Place], band: int
) -> dict[str, int]:
    """Rows of the boxes of one column, each as near to its sources' rows as there is room."""
    wanted: dict[str, float] = {}
    for name in members:
        rows = [
            places[source].row
            for source, target in edges
            if target == name and source in places and places[source].band == band
        ]
        wanted[name] = sum(rows) / len(rows) if rows else 0
    rows_by_name: dict[str, int] = {}
    free = 0
    for name in sorted(members, key=lambda n: (wanted[n], members.index(n))):
        rows_by_name[name] = max(free, int(wanted[name]))
        free = rows_by_name[name] + 1
    return rows_by_name


def _lanes(edges: Sequence[Edge], places: Mapping[str, Place]) -> dict[Edge, int]:
    """The first free row for each edge that skips columns; short skips lie nearest to the boxes."""
    taken = {(p.band, p.column, p.row) for p in places.values()}
    skips = [
        (source, target)
        for source, target in edges
        if places[source].band == places[target].band
        and places[target].column - places[source].column > 1
    ]
    skips.sort(key=lambda e: places[e[1]].column - places[e[0]].column)
    lanes: dict[Edge, int] = {}
    for source, target in skips:
        start, stop = places[source], places[target]
        row = 0
        while any((start.band, c, row) in taken for c in range(start.column + 1, stop.column)):
            row += 1
        lanes[source, target] = row
        taken |= {(start.band, c, row) for c in range(start.column + 1, stop.column)}
    return lanes


def _gutter(edges: Sequence[Edge], places: Mapping[str, Place], band: int) -> list[Edge]:
    """Edges that run below a band: those that leave it downwards and those that enter the next."""
    return [
        (source, target)
        for source, target in edges
        if places[source].band < places[target].band
        and (places[source].band == band or places[target].band == band + 1)
    ]
