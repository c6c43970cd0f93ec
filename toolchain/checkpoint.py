"""``model.pt``: a layer graph with its tensors, as plain containers that can never run code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.layer_graph import (
    ALIGNMENT_METHODS,
    InputPopulation,
    LayerGraph,
    Population,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
    verify_layer_graph,
)
from toolchain.linear_maps import Shape
from toolchain.map_records import read_maps, write_maps
from toolchain.plain_torch_file import load_plain_zip, save_plain_zip
from toolchain.record_reader import RecordReader
from toolchain.whole_files import MODEL_FILE

FORMAT = "qac-deploy model"
VERSION = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A layer graph and what is known of its training (plain values, shown but never interpreted)."""

    graph: LayerGraph
    training: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a model file, whole or not at all.

    Raises:
        ModelFileError: the file cannot be written (no such folder, disk full, no permission).
    """
    tensors: dict[str, np.ndarray] = {}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "populations": [_write_population(p, tensors) for p in checkpoint.graph.populations],
        "synapses": [_write_synapse(s, tensors) for s in checkpoint.graph.synapses],
        "tensors": {name: torch.tensor(array) for name, array in tensors.items()},
        "training": checkpoint.training,
    }
    save_plain_zip(path, document, MODEL_FILE)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a model file from anyone.

    Nothing in the file is executed: see ``load_plain_zip``.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    document = _open(path)
    root = RecordReader(path, "", document)
    root.choice("format", (FORMAT,))
    if root.integer("version", 1) != VERSION:
        raise root.refuse(
            "version",
            f"{VERSION}; update qac-deploy or save the model again",
            root.value("version"),
        )
    tensors = _tensors(root)
    populations = [_read_population(r, tensors) for r in root.record_list("populations")]
    synapses = [_read_synapse(r, tensors) for r in root.record_list("synapses")]
    training = root.value("training")
    if not isinstance(training, dict):
        raise root.refuse("training", "a record", training)
    try:
        graph = verify_layer_graph(LayerGraph.build(populations, synapses))
    except UnsupportedNetworkError as error:
        raise ModelFileError(f"{path}: {error}") from error
    return Checkpoint(graph, training)


def _open(path: Path) -> Any:
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file; `qac-deploy train` makes one")
    return load_plain_zip(
        path,
        "save it again with `qac-deploy train` or toolchain.checkpoint.save_checkpoint",
    )


def _tensors(root: RecordReader) -> dict[str, np.ndarray]:
    stored = root.value("tensors")
    if not isinstance(stored, dict):
        raise root.refuse("tensors", "a record of tensors", stored)
    for name, tensor in stored.items():
        if (
            not isinstance(name, str)
            or type(tensor) is not torch.Tensor
            or tensor.layout != torch.strided
        ):
            raise root.refuse(f"tensors.{name}", "a plain dense tensor", tensor)
    return {name: tensor.numpy() for name, tensor in stored.items()}


def _write_population(population: Population, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    record: dict[str, Any] = {"name": population.name, "shape": list(population.shape)}
    fields: tuple[str, ...]
    match population:
        case InputPopulation():
            return record | {
                "kind": "input", "max_value": population.max_value, "unit": population.unit,
            }  # fmt: skip
        case SpikingPopulation():
            record |= {"kind": "spiking"}
            fields = ("threshold", "initial_potential", "bias")
        case ReadoutPopulation():
            record |= {"kind": "readout"}
            fields = ("bias",)
    record["timesteps"] = population.timesteps
    for field in fields:
        record[field] = f"{population.name}/{field}"
        tensors[record[field]] = getattr(population, field)
    return record


def _write_synapse(synapse: Synapse, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "source": synapse.source,
        "target": synapse.target,
        "alignment": synapse.alignment,
        "maps": write_maps(f"{synapse.source}->{synapse.target}", synapse.maps, tensors),
    }


def _read_population(reader: RecordReader, tensors: dict[str, np.ndarray]) -> Population:
    name, kind = reader.text("name"), reader.choice("kind", ("input", "spiking", "readout"))
    channels, height, width = reader.integers("shape", 3, 1)
    shape: Shape = (channels, height, width)
    if kind == "input":
        return InputPopulation(
            name=name,
            shape=shape,
            max_value=reader.integer("max_value", 1),
            unit=reader.positive_number("unit"),
        )
    timesteps = reader.integer("timesteps", 1)
    bias = reader.tensor("bias", tensors, 3, np.floating)
    if kind == "readout":
        return ReadoutPopulation(name=name, shape=shape, timesteps=timesteps, bias=bias)
    return SpikingPopulation(
        name=name,
        shape=shape,
        timesteps=timesteps,
        threshold=reader.tensor("threshold", tensors, 3, np.floating),
        initial_potential=reader.tensor("initial_potential", tensors, 3, np.floating),
        bias=bias,
    )


def _read_synapse(reader: RecordReader, tensors: dict[str, np.ndarray]) -> Synapse:
    return Synapse(
        source=reader.text("source"),
        target=reader.text("target"),
        alignment=reader.choice("alignment", ALIGNMENT_METHODS),
        maps=read_maps(reader, tensors, np.floating),
    )
