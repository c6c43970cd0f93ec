"""Populations as plain records and numbered tensors, for model files and integer networks alike."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

import numpy as np

from toolchain.networks.layer_graph.populations import ROLES, ReadoutOutput
from toolchain.networks.linear_maps import Shape
from toolchain.networks.map_records import store_tensor
from toolchain.networks.record_reader import RecordReader

ARRAYS = ("threshold", "initial_potential", "bias")
"""Fields of a population that are tensors."""

_FIELDS = {
    "input": ("max_value", "unit"),  # it has one frame, always
    "spiking": ("timesteps", "role", *ARRAYS),
    "readout": ("timesteps", "unit", "bias", "outputs"),
}
"""Fields of each kind besides name and shape, in the order they are written. A class may lack some."""

_ADDED_LATER = ("role", "outputs")
"""Fields that older files lack."""

P = TypeVar("P")


def write_population(population: Any, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Describe a population as a record, adding its arrays to ``tensors`` under numbers."""
    kind = population.kind
    record = {"name": population.name, "shape": list(population.shape), "kind": kind}
    for field in _fields_of(kind, type(population)):
        value = getattr(population, field)
        if field in ARRAYS:
            record[field] = store_tensor(value, tensors)
        else:
            record[field] = [asdict(v) for v in value] if field == "outputs" else value
    return record


def read_population(
    reader: RecordReader,
    kinds: Mapping[str, type[P]],
    tensors: MutableMapping[str, np.ndarray],
    dtype: type,
) -> P:
    """Read a record of ``write_population``, removing its arrays from ``tensors``.

    Args:
        kinds: class of each kind of population.
        dtype: number type of the arrays.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    name, kind = reader.text("name"), reader.choice("kind", tuple(kinds))
    channels, height, width = reader.integers("shape", 3, 1)
    shape: Shape = (channels, height, width)
    values: dict[str, Any] = {"name": name, "shape": shape}
    for field in _fields_of(kind, kinds[kind]):
        if field in _ADDED_LATER and field not in reader.record:
            continue
        if field in ARRAYS:
            values[field] = reader.tensor(field, tensors, 3, dtype)
        elif field == "role":
            values[field] = reader.choice(field, ROLES)
        elif field == "outputs":
            values[field] = tuple(map(_read_output, reader.record_list(field)))
        elif field == "unit":
            values[field] = reader.positive_number(field)
        else:
            values[field] = reader.integer(field, 1)
    return kinds[kind](**values)


def _read_output(reader: RecordReader) -> ReadoutOutput:
    return ReadoutOutput(
        name=reader.text("name"),
        start=reader.integer("start", 0),
        stop=reader.integer("stop", 1),
        height=reader.integer("height", 1),
        width=reader.integer("width", 1),
    )


def _fields_of(kind: str, of_kind: type) -> list[str]:
    known = {field.name for field in fields(of_kind)}
    return [field for field in _FIELDS[kind] if field in known]
