"""``mapping.json``: every used core of a mapping; written and read here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.core_resources import CoreUse
from hw_models.multicore.mapping.mapping import CoreAssignment, CoreMapping
from hw_models.multicore.mapping.tile_grid import Tile, TileGrid
from hw_models.multicore.pipeline.provisioning import Provisioning
from hw_models.target_description import TargetDescription
from toolchain.bounded_readers import read_json
from toolchain.errors import ModelFileError
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork
from toolchain.networks.record_reader import RecordReader

MAPPING = "mapping.json"
_AXES = ("channels", "rows", "columns")


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
    try:
        root = RecordReader(path, "", read_json(path))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: cannot be read ({error}); compile the model again"
        ) from error
    slots = {
        (r.text("source"), r.text("target")): r.integer("slots", 1)
        for r in root.record_list("buffers")
    }
    cores = tuple(_core(reader) for reader in root.record_list("cores"))
    if set(slots) != {(s.source, s.target) for s in network.synapses}:
        raise ModelFileError(f"{path}: buffers must be those of the network's synapses")
    grids, replicas = {}, {}
    for population in network.populations:
        if not isinstance(population, IntegerInput):
            name = population.name
            own = [core for core in cores if core.tile.population == name]
            tiles = [core.tile for core in own if core.replica == 0]
            grids[name] = _grid(path, name, population.shape, tiles)
            replicas[name] = 1 + max(core.replica for core in own)
    in_order = [
        (replica, tile)
        for name, grid in grids.items()
        for replica in range(replicas[name])
        for tile in grid.tiles
    ]
    if [(core.replica, core.tile) for core in cores] != in_order:
        raise ModelFileError(
            f"{path}: cores must be listed population by population, replica by replica, tile by tile, as "
            f"compile does, and all replicas of a population must have the same tiles"
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


def _core(reader: RecordReader) -> CoreAssignment:
    axes = {axis: reader.integers(axis, 2, 0) for axis in _AXES}
    x, y = reader.integers("position", 2, 0)
    return CoreAssignment(
        core_index=reader.integer("core", 0),
        chip_index=reader.integer("chip", 0),
        position=(x, y),
        tile=Tile(
            population=reader.text("population"),
            **{axis: (start, stop) for axis, (start, stop) in axes.items()},
        ),
        use=CoreUse(
            neurons=reader.integer("neurons", 1),
            **{limit: reader.integer(limit, 0) for limit in CORE_LIMITS},
        ),
        replica=reader.integer("replica", 0),
    )


def _grid(path: Path, name: str, shape: tuple[int, ...], tiles: list[Tile]) -> TileGrid:
    """The grid that consists of these tiles, which must cover the population."""
    edges = tuple(
        (*sorted({getattr(tile, axis)[0] for tile in tiles}), size)
        for axis, size in zip(_AXES, shape, strict=True)
    )
    grid = TileGrid(name, (edges[0], edges[1], edges[2]))
    if not tiles or list(grid.tiles) != tiles:
        raise ModelFileError(
            f"{path}: the cores of '{name}' must hold each of its neurons once; compile the model again"
        )
    return grid
