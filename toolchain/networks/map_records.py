"""Linear maps as plain records and numbered tensors, for model files and integer networks alike."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import fields
from typing import Any

import numpy as np

from toolchain.networks.linear_maps import MAP_KINDS, LinearMap, WeightedMap
from toolchain.networks.record_reader import RecordReader


def store_tensor(array: np.ndarray, tensors: dict[str, np.ndarray]) -> str:
    """Add a tensor under the next number; return that name.

    Tensors are numbered and never named after populations: two names made from what a network calls its
    parts can be equal, and one tensor would then take the place of another.
    """
    name = str(len(tensors))
    tensors[name] = array
    return name


def write_maps(maps: Iterable[LinearMap], tensors: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Describe maps as records, adding their weights to ``tensors`` under numbers."""
    records: list[dict[str, Any]] = []
    for linear_map in maps:
        record: dict[str, Any] = {}
        if isinstance(linear_map, WeightedMap):
            record["weight"] = store_tensor(linear_map.weight, tensors)
        record["kind"] = linear_map.kind
        for field in fields(linear_map):
            if field.name != "weight":
                value = getattr(linear_map, field.name)
                record[field.name] = list(value) if isinstance(value, tuple) else value
        records.append(record)
    return records


def read_maps(
    reader: RecordReader, tensors: MutableMapping[str, np.ndarray], dtype: type
) -> tuple[LinearMap, ...]:
    """The inverse of ``write_maps``, for a record's field ``maps``; takes their tensors out.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    return tuple(_read_map(r, tensors, dtype) for r in reader.record_list("maps"))


def _read_map(
    reader: RecordReader, tensors: MutableMapping[str, np.ndarray], dtype: type
) -> LinearMap:
    if reader.value("kind") == "max_pool":
        raise reader.refuse(
            "kind",
            "a linear map; max pooling has no spiking form, replace it by average pooling and train "
            "again (Algorithm 1)",
            "max_pool",
        )
    if reader.value("kind") == "batch_norm":
        raise reader.refuse(
            "kind", "a linear map; fold the batch norm into the convolution before it", "batch_norm"
        )
    of_kind: Any = MAP_KINDS[reader.choice("kind", tuple(MAP_KINDS))]
    values: dict[str, Any] = {}
    for field in fields(of_kind):
        match field.name:
            case "weight":
                values["weight"] = reader.tensor(
                    "weight", tensors, of_kind.weight_dimensions, dtype
                )
            case "groups":
                values["groups"] = reader.integer("groups", 1)
            case pair:
                values[pair] = reader.integers(pair, 2, 0 if pair == "padding" else 1)
    return of_kind(**values)
