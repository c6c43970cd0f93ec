"""``model.pt``: a layer graph with its tensors, as plain containers that can never run code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolchain.bounded_readers import require_plain
from toolchain.datasets import with_digest
from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.files.plain_torch_file import load_mapped_zip, load_plain_zip, save_plain_zip
from toolchain.files.whole_files import MODEL_FILE
from toolchain.networks.layer_graph import LayerGraph, Synapse, verify_layer_graph
from toolchain.networks.layer_graph.populations import POPULATION_KINDS
from toolchain.networks.layer_graph.structure import verify_structure
from toolchain.networks.map_records import read_synapse, write_synapse
from toolchain.networks.population_records import read_population, write_population
from toolchain.networks.record_reader import RecordReader

FORMAT = "qac-deploy model"
VERSION = 2
OLDEST_VERSION = 1  # without digests
_STRUCTURE = ("populations", "synapses")
_REMEDY = (
    "make one with `qac-deploy train`, or with `qac-deploy convert` from a network of another tool"
)


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
    _require_plain_fields(path, document)
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
    root = RecordReader(path, "", document)
    version = root.integer("version", OLDEST_VERSION)
    if version > VERSION:
        raise root.refuse(
            "version", f"at most {VERSION}; update qac-deploy or save the model again", version
        )
    tensors = _tensors(root)
    _require_plain_fields(path, root.record)
    if version > OLDEST_VERSION:
        _check_digests(root)
    populations = [
        read_population(r, POPULATION_KINDS, tensors, np.floating)
        for r in root.record_list("populations")
    ]
    synapses = [
        Synapse(**read_synapse(r, tensors, np.floating)) for r in root.record_list("synapses")
    ]
    training = root.value("training")
    if not isinstance(training, dict):
        raise root.refuse("training", "a record", training)
    try:
        graph = verify_layer_graph(LayerGraph.build(populations, synapses))
    except UnsupportedNetworkError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return Checkpoint(graph, training)


def load_structure(path: Path) -> LayerGraph | None:
    """The layer graph of a model file whose weights are read only as they are used, and not checked.

    Returns:
        None if the file is damaged or no model; ``load_checkpoint`` says why.
    """
    root = RecordReader(path, "", load_mapped_zip(path))
    try:
        tensors = _tensors(root)
        populations = [
            read_population(r, POPULATION_KINDS, tensors, np.generic)
            for r in root.record_list("populations")
        ]
        synapses = [
            Synapse(**read_synapse(r, tensors, np.generic)) for r in root.record_list("synapses")
        ]
        graph = LayerGraph.build(populations, synapses)
        verify_structure(graph)
    except (ModelFileError, UnsupportedNetworkError):
        return None
    return graph


def content_digests(document: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the structure, and of each tensor with its type and shape."""
    structure = {field: document[field] for field in _STRUCTURE}
    digests = {"structure": sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()}
    for name, tensor in document["tensors"].items():
        array = np.ascontiguousarray(tensor.numpy())
        digest = sha256(f"{array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
        digests[f"tensor {name}"] = digest.hexdigest()
    return digests


def _require_plain_fields(path: Path, document: Mapping[str, Any]) -> None:
    """Check that all fields are there and plain but the tensors.

    Raises:
        ModelFileError: naming the field and what it must be.
    """
    root = RecordReader(path, "", document)
    try:
        require_plain({field: root.value(field) for field in (*_STRUCTURE, "training")})
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from None


def _check_digests(root: RecordReader) -> None:
    stored = root.value("digests")
    found = content_digests(root.record)
    if not isinstance(stored, dict):
        raise root.refuse("digests", "a record of texts", stored)
    for part, digest in found.items():
        if stored.get(part) != digest:
            raise ModelFileError(
                f"{root.path}: damaged: {part} differs from its stored digest; {_REMEDY}"
            )


# weights and thresholds are floats, the rows, columns and channels that maps choose int64
_FLOAT_TYPES = (torch.float16, torch.float32, torch.float64, torch.int64)


def _tensors(root: RecordReader) -> dict[str, np.ndarray]:
    stored = root.value("tensors")
    if not isinstance(stored, dict):
        raise root.refuse("tensors", "a record of tensors", stored)
    for name, tensor in stored.items():
        if not isinstance(tensor, torch.Tensor) or tensor.dtype not in _FLOAT_TYPES:
            raise root.refuse(f"tensors.{name}", "a plain dense tensor of float numbers", tensor)
    return {name: tensor.numpy() for name, tensor in stored.items()}
