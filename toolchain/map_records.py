"""Linear maps as plain records and numbered tensors, for model files and integer networks alike."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import numpy as np

from toolchain.linear_maps import AveragePool, Convolution, Dense, LinearMap, Scale, SumPool
from toolchain.record_reader import RecordReader

_KINDS = ("convolution", "dense", "scale", "average_pool", "sum_pool")


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
        if isinstance(linear_map, Convolution | Dense | Scale):
            record["weight"] = store_tensor(linear_map.weight, tensors)
        match linear_map:
            case Convolution(stride=stride, padding=padding, groups=groups):
                record |= {
                    "kind": "convolution",
                    "stride": list(stride),
                    "padding": list(padding),
                    "groups": groups,
                }
            case Dense():
                record["kind"] = "dense"
            case Scale():
                record["kind"] = "scale"
            case (
                AveragePool(kernel=kernel, stride=stride, padding=padding)
                | SumPool(kernel=kernel, stride=stride, padding=padding)
            ):
                kind = "average_pool" if isinstance(linear_map, AveragePool) else "sum_pool"
                record |= {
                    "kind": kind,
                    "kernel": list(kernel),
                    "stride": list(stride),
                    "padding": list(padding),
                }
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
    kind = reader.choice("kind", _KINDS)
    if kind == "convolution":
        stride, padding = reader.integers("stride", 2, 1), reader.integers("padding", 2, 0)
        return Convolution(
            weight=reader.tensor("weight", tensors, 4, dtype),
            stride=(stride[0], stride[1]),
            padding=(padding[0], padding[1]),
            groups=reader.integer("groups", 1),
        )
    if kind == "dense":
        return Dense(weight=reader.tensor("weight", tensors, 2, dtype))
    if kind == "scale":
        return Scale(weight=reader.tensor("weight", tensors, 1, dtype))
    kernel, stride = reader.integers("kernel", 2, 1), reader.integers("stride", 2, 1)
    padding = reader.integers("padding", 2, 0)
    pool = AveragePool if kind == "average_pool" else SumPool
    return pool(
        kernel=(kernel[0], kernel[1]),
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]),
    )
