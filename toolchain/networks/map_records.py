"""Synapses as plain records and numbered tensors, for model files and integer networks alike."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, TypeAlias

import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from toolchain.field_types import Name
from toolchain.networks.layer_graph.populations import AlignmentMethod
from toolchain.networks.limits import (
    MAX_PARTS,
    Divisor,
    Exponent,
    Paddings,
    PartName,
    Size,
    Windows,
)
from toolchain.networks.linear_maps import MAP_KINDS, LinearMap, WeightedMap
from toolchain.networks.named_tensors import NamedTensors

MAP_ARRAYS = ("weight", "rows", "columns", "channels")
"""Fields of a map that are names of tensors."""

_INSTEAD = {
    "max_pool": "a linear map; max pooling is no map but spiking populations of role 'maximum', which "
    "toolchain.importers.torch_module.convert adds",
    "batch_norm": "a linear map; fold the batch norm into the convolution before it",
}


class _Record(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class ConvolutionRecord(_Record, kw_only=True, tag="convolution"):
    """Files of earlier versions lack ``dilation``."""

    weight: Name
    stride: Windows
    padding: Paddings
    dilation: Windows = (1, 1)
    groups: Size


class DenseRecord(_Record, kw_only=True, tag="dense"):
    weight: Name


class ScaleRecord(_Record, kw_only=True, tag="scale"):
    weight: Name


class SumPoolRecord(_Record, kw_only=True, tag="sum_pool"):
    kernel: Windows
    stride: Windows
    padding: Paddings


class AveragePoolRecord(SumPoolRecord, kw_only=True, tag="average_pool"):
    pass


class ResampleRecord(_Record, kw_only=True, tag="resample"):
    rows: Name
    columns: Name
    divisor: Divisor


class SelectChannelsRecord(_Record, kw_only=True, tag="select_channels"):
    channels: Name


MapRecord: TypeAlias = Annotated[
    ConvolutionRecord
    | DenseRecord
    | ScaleRecord
    | SumPoolRecord
    | AveragePoolRecord
    | ResampleRecord
    | SelectChannelsRecord,
    Meta(extra={"instead": _INSTEAD}),
]


class _SynapseRecord(Struct, kw_only=True, forbid_unknown_fields=True):
    source: PartName
    target: PartName
    alignment: AlignmentMethod
    maps: Annotated[list[MapRecord], Meta(max_length=MAX_PARTS)]


class SynapseRecord(_SynapseRecord, kw_only=True):
    """Real weights, which may have been trained as integers with an exponent."""

    integer_exponent: Exponent | UnsetType = UNSET


class IntegerSynapseRecord(_SynapseRecord, kw_only=True):
    exponent: Exponent


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
    names = ("source", "target", "alignment", "exponent", "integer_exponent")
    record = {name: getattr(synapse, name, None) for name in names}
    record = {name: value for name, value in record.items() if value is not None}
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
    record: SynapseRecord | IntegerSynapseRecord, where: str, tensors: NamedTensors, dtype: type
) -> dict[str, Any]:
    """The fields of a synapse of a record, with the tensors of its maps.

    Args:
        where: path of the record in its file.
        dtype: number type of the weights.

    Returns:
        Arguments of a float synapse, or of ``IntegerSynapse.of_maps``.

    Raises:
        ModelFileError: naming the file, the field and what its tensor must be.
    """
    maps = tuple(
        _read_map(of_map, f"{where}.maps[{index}]", tensors, dtype)
        for index, of_map in enumerate(record.maps)
    )
    values = {name: value for name, value in structs.asdict(record).items() if value is not UNSET}
    return {**values, "maps": maps}


def _read_map(record: _Record, where: str, tensors: NamedTensors, dtype: type) -> LinearMap:
    of_kind: Any = MAP_KINDS[str(record.__struct_config__.tag)]
    values = structs.asdict(record)
    for field in MAP_ARRAYS:
        if field in values:
            name = f"{where}.{field}", values[field]
            match field:
                case "weight":
                    values[field] = tensors.take(*name, of_kind.weight_dimensions, dtype)
                case "channels":
                    values[field] = tensors.take(*name, 1, np.int64)
                case _:
                    values[field] = tensors.take(*name, 2, np.int64)
    return of_kind(**values)
