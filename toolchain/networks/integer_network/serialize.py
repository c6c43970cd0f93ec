"""The integer network on disk: ``network.json`` for structure, ``network.safetensors`` for arrays."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from toolchain.bounded_readers import read_json
from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.networks.integer_network.network import (
    INTEGER_POPULATION_KINDS,
    IntegerNetwork,
    IntegerSynapse,
)
from toolchain.networks.integer_network.verify import verify_integer_network
from toolchain.networks.map_records import MAP_ARRAYS, read_synapse, write_synapse
from toolchain.networks.population_records import ARRAYS, read_population, write_population
from toolchain.networks.record_reader import RecordReader

FORMAT = "qac-deploy integer network"
VERSION = 1
DOCUMENT = "network.json"
TENSORS = "network.safetensors"


def describe_network(network: IntegerNetwork) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The network as one JSON-able document and its numbered arrays."""
    arrays: dict[str, np.ndarray] = {}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "populations": [write_population(p, arrays) for p in network.populations],
        "synapses": [write_synapse(s, arrays) for s in network.synapses],
    }
    return document, arrays


def array_titles(document: dict[str, Any]) -> dict[str, str]:
    """Name of each array of a document for messages: ``wide: threshold``, ``a -> b: weight of map 0``."""
    titles = {
        record[field]: f"{record['name']}: {field}"
        for record in document["populations"]
        for field in ARRAYS
        if field in record
    }
    for record in document["synapses"]:
        for index, linear_map in enumerate(record["maps"]):
            ends = f"{record['source']} -> {record['target']}"
            for field in MAP_ARRAYS:
                if field in linear_map:
                    titles[linear_map[field]] = f"{ends}: {field} of map {index}"
    return titles


def save_integer_network(network: IntegerNetwork, directory: Path) -> None:
    """Write both files into an existing directory; the same network gives the same bytes."""
    document, arrays = describe_network(network)
    (directory / DOCUMENT).write_text(json.dumps(document, indent=1) + "\n")
    tensors = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    (directory / TENSORS).write_bytes(tensors)


def load_integer_network(directory: Path) -> IntegerNetwork:
    """Read a network that ``save_integer_network`` wrote.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    path = directory / DOCUMENT
    try:
        document = read_json(path)
        arrays = load_file(directory / TENSORS)
    except OSError as error:
        raise ModelFileError(
            f"{error.filename or directory}: cannot be read; `qac-deploy compile` makes a build folder"
        ) from error
    except ValueError as error:
        raise ModelFileError(
            f"{path}: not valid JSON ({error}); compile the model again"
        ) from error
    except SafetensorError as error:
        raise ModelFileError(
            f"{directory / TENSORS}: damaged or truncated ({error}); compile the model again"
        ) from error
    return network_of_document(path, document, arrays)


def network_of_document(
    path: Path, document: Any, arrays: MutableMapping[str, np.ndarray]
) -> IntegerNetwork:
    """The network of a document that ``describe_network`` made, removing its arrays from ``arrays``.

    Args:
        path: the file it was read from, for messages.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    root = RecordReader(path, "", document)
    root.choice("format", (FORMAT,))
    if root.integer("version", 1) != VERSION:
        raise root.refuse("version", f"{VERSION}; compile the model again", root.value("version"))
    populations = [
        read_population(r, INTEGER_POPULATION_KINDS, arrays, np.int64)
        for r in root.record_list("populations")
    ]
    try:
        synapses = [
            IntegerSynapse.of_maps(
                **read_synapse(r, arrays, np.int8), exponent=r.integer("exponent", 0)
            )
            for r in root.record_list("synapses")
        ]
        return verify_integer_network(IntegerNetwork.build(populations, synapses))
    except UnsupportedNetworkError as error:
        raise ModelFileError(f"{path}: {error}") from error
