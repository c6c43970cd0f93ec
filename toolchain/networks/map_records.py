"""Synapses as plain records and numbered tensors, for model files and integer networks alike."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import fields
from typing import Any

import numpy as np

from toolchain.networks.layer_graph.populations import ALIGNMENT_METHODS
from toolchain.networks.linear_maps import MAP_KINDS, LinearMap, WeightedMap
from toolchain.networks.record_reader import RecordReader

MAP_ARRAYS = ("weight", "rows", "columns", "channels")
"""Fields of a map that are tensors."""


def store_tensor(array: np.ndarray, tensors: dict[str, np.ndarray]) -> str:
    """Add a tensor under the next number; return that name.

    Tensors are numbered and not named after populations: two names made from the names of a network's
    parts can be equal, and one tensor would then replace another.
    """
    name = str(len(tensors))
    tensors[name] = array
    return name


def write_synapse(synapse: Any, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Describe a synapse as a record, adding its weights to ``tensors`` under numbers.

    Args:
        synapse: a float synapse, or an integer one, which has an exponent as well.
    """
    names = ("source", "target", "alignment", "exponent")
    record = {name: getattr(synapse, name) for name in names if hasattr(synapse, name)}
    return {**record, "maps": [_write_map(linear_map, tensors) for linear_map in synapse.maps]}


def _write_map(linear_map: LinearMap, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    values = {field.name: getattr(linear_map, field.name) for field in fields(linear_map)}
    record: dict[str, Any] = {}
    if isinstance(linear_map, WeightedMap):
        record["weight"] = store_tensor(values.pop("weight"), tensors)
    record["kind"] = linear_map.kind
    for name, value in values.items():
        match value:
            case np.ndarray():
                record[name] = store_tensor(value, tensors)
            case tuple():
                record[name] = list(value)
            case _:
                record[name] = value
    return record


def read_synapse(
    reader: RecordReader, tensors: MutableMapping[str, np.ndarray], dtype: type
) -> dict[str, Any]:
    """Read a record of ``write_synapse``, removing its weights from ``tensors``.

    Args:
        dtype: number type of the weights.

    Returns:
        Arguments that float and integer synapses share: source, target, alignment and maps.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    return {
        "source": reader.text("source"),
        "target": reader.text("target"),
        "alignment": reader.choice("alignment", ALIGNMENT_METHODS),
        "maps": tuple(_read_map(r, tensors, dtype) for r in reader.record_list("maps")),
    }


def _read_map(
    reader: RecordReader, tensors: MutableMapping[str, np.ndarray], dtype: type
) -> LinearMap:
    if reader.value("kind") == "max_pool":
        raise reader.refuse(
            "kind",
            "a linear map; max pooling is no map but spiking populations of role 'maximum', which "
            "toolchain.importers.torch_module.convert adds",
            "max_pool",
        )
    if reader.value("kind") == "batch_norm":
        raise reader.refuse(
            "kind", "a linear map; fold the batch norm into the convolution before it", "batch_norm"
        )
    of_kind: Any = MAP_KINDS[reader.choice("kind", tuple(MAP_KINDS))]
    values: dict[str, Any] = {}
    for field in fields(of_kind):
        if field.name == "dilation" and field.name not in reader.record:
            continue  # written before the field existed
        match field.name:
            case "weight":
                values["weight"] = reader.tensor(
                    "weight", tensors, of_kind.weight_dimensions, dtype
                )
            case "rows" | "columns" as matrix:
                values[matrix] = reader.tensor(matrix, tensors, 2, np.int64)
            case "channels":
                values["channels"] = reader.tensor("channels", tensors, 1, np.int64)
            case "groups" | "divisor" as number:
                values[number] = reader.integer(number, 1)
            case pair:
                values[pair] = reader.integers(pair, 2, 0 if pair == "padding" else 1)
    return of_kind(**values)
