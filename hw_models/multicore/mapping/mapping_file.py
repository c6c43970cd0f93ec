"""``mapping.json``: every used core of a mapping; written and read here."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, defstruct, structs

from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.core_resources import CoreUse
from hw_models.multicore.mapping.mapping import CoreAssignment, CoreMapping
from hw_models.multicore.mapping.tile_grid import Tile, TileGrid
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.target_description import MAX_SLOTS, TargetDescription
from toolchain.errors import ModelFileError
from toolchain.field_types import Count, Index, Name, Total
from toolchain.json_files import read_typed_json
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork
from toolchain.networks.limits import Channel, PartName

MAPPING = "mapping.json"
MAX_REPLICAS = 1_000_000  # of a population: what `compile --replicate` takes
_AXES = ("channels", "rows", "columns")
_REMEDY = "compile the model again"
_Range: TypeAlias = tuple[Channel, Channel]


class _BufferRecord(Struct, kw_only=True, forbid_unknown_fields=True):
    source: PartName
    target: PartName
    slots: Annotated[int, Meta(ge=1, le=MAX_SLOTS)]


class _Core(Struct, kw_only=True, forbid_unknown_fields=True):
    core: Index
    chip: Index
    position: tuple[Index, Index]
    population: PartName
    replica: Annotated[int, Meta(ge=0, lt=MAX_REPLICAS)]
    channels: _Range
    rows: _Range
    columns: _Range
    neurons: Count


_CoreRecord = defstruct(
    "_CoreRecord", [(limit, Total) for limit in CORE_LIMITS], bases=(_Core,), kw_only=True
)
"""A core and how much of each limit it uses."""


class _MappingDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """``mapping.json``; limits and summary are for its readers alone."""

    target: Name
    limits: dict[str, Total]
    summary: dict[str, Any]
    buffers: list[_BufferRecord]
    cores: list[_CoreRecord]  # type: ignore[valid-type]


def mapping_document(mapping: CoreMapping) -> dict[str, Any]:
    """The document of a mapping: limits, a summary, the buffers, and all cores in order."""
    return {
        "target": mapping.target.name,
        "limits": {limit: getattr(mapping.target.core, limit) for limit in CORE_LIMITS},
        "summary": mapping.summary(),
        "buffers": [
            {"source": source, "target": target, "slots": slots}
            for (source, target), slots in mapping.provisioning.slots.items()
        ],
        "cores": [
            {
                "core": core.core_index,
                "chip": core.chip_index,
                "position": list(core.position),
                "population": core.tile.population,
                "replica": core.replica,
                **{axis: list(getattr(core.tile, axis)) for axis in _AXES},
                "neurons": core.use.neurons,
                **{limit: getattr(core.use, limit) for limit in CORE_LIMITS},
            }
            for core in mapping.cores
        ],
    }


def load_mapping(build: Path, network: IntegerNetwork, target: TargetDescription) -> CoreMapping:
    """The mapping of a build folder.

    Raises:
        ModelFileError: the file is missing or damaged, or its cores do not hold each neuron of the network
            once; the message names the field.
    """
    path = build / MAPPING
    document = read_typed_json(path, _MappingDocument, absent=_REMEDY, remedy=_REMEDY)
    slots = {(buffer.source, buffer.target): buffer.slots for buffer in document.buffers}
    cores = tuple(map(_core, document.cores))
    if set(slots) != {(s.source, s.target) for s in network.synapses}:
        raise ModelFileError(f"{path}: buffers must be those of the network's synapses; {_REMEDY}")
    grids, replicas = {}, {}
    for population in network.populations:
        if not isinstance(population, IntegerInput):
            name = population.name
            own = [core for core in cores if core.tile.population == name]
            tiles = [core.tile for core in own if core.replica == 0]
            grids[name] = _grid(path, name, population.shape, tiles)
            replicas[name] = 1 + max(core.replica for core in own)
            if replicas[name] * len(tiles) != len(own):
                raise ModelFileError(
                    f"{path}: the cores of '{name}' must hold each of its neurons once in each of its "
                    f"{replicas[name]:,} replicas; {_REMEDY}"
                )
    in_order = [
        (replica, tile)
        for name, grid in grids.items()
        for replica in range(replicas[name])
        for tile in grid.tiles
    ]
    if [(core.replica, core.tile) for core in cores] != in_order:
        raise ModelFileError(
            f"{path}: cores must be listed population by population, replica by replica, tile by tile, as "
            f"compile does, and all replicas of a population must have the same tiles; {_REMEDY}"
        )
    return CoreMapping(
        target=target,
        network=network,
        provisioning=Provisioning(
            slots=slots, replicas={name: count for name, count in replicas.items() if count > 1}
        ),
        grids=grids,
        cores=cores,
    )


def _core(record: Any) -> CoreAssignment:
    of_core = structs.asdict(record)
    return CoreAssignment(
        core_index=record.core,
        chip_index=record.chip,
        position=record.position,
        tile=Tile(population=record.population, **{axis: of_core[axis] for axis in _AXES}),
        use=CoreUse(neurons=record.neurons, **{limit: of_core[limit] for limit in CORE_LIMITS}),
        replica=record.replica,
    )


def _grid(path: Path, name: str, shape: tuple[int, ...], tiles: list[Tile]) -> TileGrid:
    """The grid that consists of these tiles, which must cover the population."""
    edges = tuple(
        (*sorted({getattr(tile, axis)[0] for tile in tiles}), size)
        for axis, size in zip(_AXES, shape, strict=True)
    )
    grid = TileGrid(name, (edges[0], edges[1], edges[2]))
    num_tiles = prod(len(axis) - 1 for axis in edges)
    if num_tiles != len(tiles) or not tiles or list(grid.tiles) != tiles:
        raise ModelFileError(
            f"{path}: the cores of '{name}' must hold each of its neurons once; {_REMEDY}"
        )
    return grid
