"""``model.pt``: a layer graph with its tensors, as plain containers that can never run code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta, Struct

from toolchain.bounded_readers import require_plain
from toolchain.datasets import with_digest
from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.field_types import Count, Digest
from toolchain.files.digest import array_sha256
from toolchain.files.plain_torch_file import load_mapped_zip, load_plain_zip, save_plain_zip
from toolchain.files.whole_files import MODEL_FILE
from toolchain.networks.layer_graph import LayerGraph, Synapse, verify_layer_graph
from toolchain.networks.layer_graph.populations import POPULATION_KINDS
from toolchain.networks.layer_graph.structure import verify_structure
from toolchain.networks.limits import MAX_PARTS
from toolchain.networks.map_records import SynapseRecord, read_synapse, write_synapse
from toolchain.networks.named_tensors import NamedTensors
from toolchain.networks.population_records import (
    PopulationRecord,
    read_population,
    write_population,
)
from toolchain.schema import refusal, typed

FORMAT = "qac-deploy model"
VERSION = 3
_WITHOUT_TRAINING_DIGEST = 2
OLDEST_VERSION = 1  # without digests
_STRUCTURE = ("populations", "synapses")
_REMEDY = (
    "make one with `qac-deploy train`, or with `qac-deploy convert` from a network of another tool"
)


class _Header(Struct):
    """What files of every version have."""

    version: Count


class ModelDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """The content of a model file.

    Attributes:
        digests: see ``content_digests``.
    """

    format: str
    version: Count
    populations: Annotated[list[PopulationRecord], Meta(max_length=MAX_PARTS)]
    synapses: Annotated[list[SynapseRecord], Meta(max_length=MAX_PARTS)]
    tensors: dict[str, Any]
    training: dict[str, Any]
    digests: dict[str, Digest] = {}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A layer graph and a record of its training.

    Attributes:
        training: plain values, shown but not interpreted, except for ``data`` and ``data_sha256``: the
            data set that ``compile`` and ``calibrate`` use (see ``toolchain.datasets.data_record``). A data
            set that is named without its digest gets it when the file is written, if it can be read.
    """

    graph: LayerGraph
    training: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a model file, whole or not at all.

    Raises:
        ModelFileError: the file cannot be written (no such folder, disk full, no permission), or the record
            of the training holds what is not plain.
    """
    tensors: dict[str, np.ndarray] = {}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "populations": [write_population(p, tensors) for p in checkpoint.graph.populations],
        "synapses": [write_synapse(s, tensors) for s in checkpoint.graph.synapses],
        "tensors": {name: _shared(array) for name, array in tensors.items()},
        "training": with_digest(checkpoint.training, path),
    }
    _require_plain_fields(path, document, "")
    document["digests"] = content_digests(document)
    save_plain_zip(path, document, MODEL_FILE)


def _shared(array: np.ndarray) -> torch.Tensor:
    """A tensor in the memory of an array, for reading alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns that it could write into a read-only array
        return torch.from_numpy(np.asarray(array, order="C"))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a model file from anyone.

    Nothing in the file is executed: see ``load_plain_zip``.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    if path.is_dir():
        raise ModelFileError(f"{path}: is a folder; name the model file, such as model.pt")
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file; `qac-deploy train` makes one")
    document = load_plain_zip(path, _REMEDY)
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ModelFileError(f"{path}: is not a model file; {_REMEDY}")
    version = typed(document, _Header, path, remedy=_REMEDY).version
    if version > VERSION:
        raise refusal(
            path, "version", f"at most {VERSION}", version,
            remedy="update qac-deploy or save the model again",
        )  # fmt: skip
    found = typed(document, ModelDocument, path, remedy=_REMEDY)
    tensors = _tensors(path, found)
    _require_plain_fields(path, document, f"; {_REMEDY}")
    if found.version > OLDEST_VERSION or found.digests:
        _check_digests(path, document, found)
    try:
        graph = verify_layer_graph(_layer_graph(path, found, tensors, np.floating))
    except UnsupportedNetworkError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return Checkpoint(graph, found.training)


def load_structure(path: Path) -> LayerGraph | None:
    """The layer graph of a model file whose weights are read only as they are used, and not checked.

    Returns:
        None if the file is damaged or no model; ``load_checkpoint`` says why.
    """
    try:
        found = typed(load_mapped_zip(path), ModelDocument, path)
        graph = _layer_graph(path, found, _tensors(path, found), np.generic)
        verify_structure(graph)
    except (ModelFileError, UnsupportedNetworkError):
        return None
    return graph


def _layer_graph(
    path: Path, document: ModelDocument, tensors: Mapping[str, np.ndarray], dtype: type
) -> LayerGraph:
    named = NamedTensors(path, tensors, _REMEDY)
    populations = [
        read_population(record, f"populations[{index}]", POPULATION_KINDS, named, dtype)
        for index, record in enumerate(document.populations)
    ]
    synapses = [
        Synapse(**read_synapse(record, f"synapses[{index}]", named, dtype))
        for index, record in enumerate(document.synapses)
    ]
    return LayerGraph.build(populations, synapses)


def content_digests(document: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the structure, of the record of the training, and of each tensor with its type and shape."""
    structure = {field: document[field] for field in _STRUCTURE}
    digests = {
        "structure": sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest(),
        "training": sha256(json.dumps(document["training"]).encode()).hexdigest(),
    }
    for name, tensor in document["tensors"].items():
        digests[f"tensor {name}"] = array_sha256(tensor.numpy())
    return digests


def _require_plain_fields(path: Path, document: Mapping[str, Any], end: str) -> None:
    """Check that all fields are plain but the tensors.

    Args:
        end: of the message.

    Raises:
        ModelFileError: naming the field and what it must be.
    """
    try:
        require_plain({field: document[field] for field in (*_STRUCTURE, "training")})
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}{end}") from None


def _check_digests(path: Path, document: Mapping[str, Any], found: ModelDocument) -> None:
    for part, digest in content_digests(document).items():
        if part == "training" and found.version <= _WITHOUT_TRAINING_DIGEST:
            continue
        if found.digests.get(part) != digest:
            raise ModelFileError(
                f"{path}: damaged: {part} differs from its stored digest; {_REMEDY}"
            )


# weights and thresholds are floats, the rows, columns and channels that maps choose int64
_TENSOR_TYPES = (torch.float16, torch.float32, torch.float64, torch.int64)


def _tensors(path: Path, document: ModelDocument) -> dict[str, np.ndarray]:
    for name, tensor in document.tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.dtype not in _TENSOR_TYPES:
            raise refusal(
                path,
                f"tensors.{name}",
                "a plain dense tensor of float numbers",
                tensor,
                remedy=_REMEDY,
            )
    return {name: tensor.numpy() for name, tensor in document.tensors.items()}
