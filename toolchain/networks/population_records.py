"""Populations as plain records and numbered tensors, for model files and integer networks alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from toolchain.field_types import Name, Positive
from toolchain.networks.layer_graph.populations import ReadoutOutput, Role
from toolchain.networks.limits import MAX_PARTS, PartName, Pixel, Shape, Timesteps
from toolchain.networks.map_records import store_tensor
from toolchain.networks.named_tensors import NamedTensors

ARRAYS = ("threshold", "initial_potential", "bias", "integer_unit")
"""Fields of a population that are names of tensors."""

P = TypeVar("P")


class _Record(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    name: PartName
    shape: Shape


class InputRecord(_Record, kw_only=True, tag="input"):
    """It has one frame, always."""

    max_value: Pixel
    unit: Positive


class IntegerSpikingRecord(_Record, kw_only=True, tag="spiking"):
    """Files of earlier versions lack ``role``."""

    timesteps: Timesteps
    role: Role = "activation"
    threshold: Name
    initial_potential: Name
    bias: Name


class SpikingRecord(IntegerSpikingRecord, kw_only=True, tag="spiking"):
    """Neurons with real thresholds, which may have been trained as integers of a unit."""

    integer_unit: Name | UnsetType = UNSET


class _ReadoutRecord(_Record, kw_only=True):
    """Files of earlier versions lack ``outputs``."""

    timesteps: Timesteps
    bias: Name
    outputs: Annotated[tuple[ReadoutOutput, ...], Meta(max_length=MAX_PARTS)] = ()


class ReadoutRecord(_ReadoutRecord, kw_only=True, tag="readout"):
    """A readout with real logits, which may have been trained as integers of a unit."""

    integer_unit: Name | UnsetType = UNSET


class IntegerReadoutRecord(_ReadoutRecord, kw_only=True, tag="readout"):
    """A readout whose logits are integers of a unit."""

    unit: Positive


PopulationRecord: TypeAlias = InputRecord | SpikingRecord | ReadoutRecord
IntegerPopulationRecord: TypeAlias = InputRecord | IntegerSpikingRecord | IntegerReadoutRecord


def write_population(population: Any, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Describe a population as a record, adding its arrays to ``tensors`` under numbers."""
    kind = population.kind
    record = {"name": population.name, "shape": list(population.shape), "kind": kind}
    for field in _WRITTEN[kind]:
        if field not in (f.name for f in fields(population)):
            continue
        value = getattr(population, field)
        if value is None:
            continue
        if field in ARRAYS:
            record[field] = store_tensor(value, tensors)
        else:
            record[field] = [asdict(v) for v in value] if field == "outputs" else value
    return record


_WRITTEN = {
    "input": ("max_value", "unit"),
    "spiking": ("timesteps", "role", *ARRAYS),
    "readout": ("timesteps", "unit", "bias", "integer_unit", "outputs"),
}
"""Fields of each kind besides name and shape, in the order they are written. A class may lack some."""


def read_population(
    record: PopulationRecord | IntegerPopulationRecord,
    where: str,
    kinds: Mapping[str, type[P]],
    tensors: NamedTensors,
    dtype: type,
) -> P:
    """The population of a record, with its tensors.

    Args:
        where: path of the record in its file.
        kinds: class of each kind of population.
        dtype: number type of the arrays.

    Raises:
        ModelFileError: naming the file, the field and what its tensor must be.
    """
    values = {name: value for name, value in structs.asdict(record).items() if value is not UNSET}
    for field in ARRAYS:
        if field in values:
            values[field] = tensors.take(f"{where}.{field}", values[field], 3, dtype)
    return kinds[str(record.__struct_config__.tag)](**values)
