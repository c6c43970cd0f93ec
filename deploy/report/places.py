"""The record of ``report.json`` with the place of each core and how much it uses."""

from __future__ import annotations

from typing import TypedDict

from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.mapping import CoreMapping


class PlacesRecord(TypedDict):
    """Cores in the order of the mapping: populations, in each its replicas, in each its tiles.

    A population's tiles count columns fastest, channels slowest. Core n is on chip ``n // C`` with
    ``C = width * height * cores_per_tile``, there in mesh tile ``t = n % C // cores_per_tile``, which is at
    ``x = t % width``, ``y = t // width``.

    Attributes:
        edges: per population, along channels, rows and columns: the start of each tile, and the last's end.
        core: number of each core, counted over all chips.
        use: per core, its place in the lists of ``uses``: many cores use the same.
        uses: per limit of a core, and for ``neurons``, the different uses.
        available: per limit, what a core has.
    """

    width: int
    height: int
    cores_per_tile: int
    edges: dict[str, list[list[int]]]
    core: list[int]
    use: list[int]
    uses: dict[str, list[int]]
    available: dict[str, int]


def places_record(mapping: CoreMapping) -> PlacesRecord:
    """Places and use of all cores, as flat lists: a network may have more than 10,000 cores."""
    mesh, fields = mapping.target.mesh, ("neurons", *CORE_LIMITS)
    uses = [tuple(getattr(core.use, field) for field in fields) for core in mapping.cores]
    numbers = {use: number for number, use in enumerate(dict.fromkeys(uses))}
    return {
        "width": mesh.width,
        "height": mesh.height,
        "cores_per_tile": mesh.cores_per_tile,
        "edges": {name: [list(axis) for axis in g.edges] for name, g in mapping.grids.items()},
        "core": [core.core_index for core in mapping.cores],
        "use": [numbers[use] for use in uses],
        "uses": {field: [use[i] for use in numbers] for i, field in enumerate(fields)},
        "available": {limit: getattr(mapping.target.core, limit) for limit in CORE_LIMITS},
    }
