"""The integer network on disk: ``network.json`` for structure, ``network.safetensors`` for arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from safetensors.numpy import save

from toolchain.array_files import read_safetensors
from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.json_files import read_typed_json
from toolchain.networks.integer_network.network import (
    INTEGER_POPULATION_KINDS,
    IntegerNetwork,
    IntegerSynapse,
)
from toolchain.networks.integer_network.verify import verify_integer_network
from toolchain.networks.limits import MAX_PARTS
from toolchain.networks.map_records import (
    MAP_ARRAYS,
    IntegerSynapseRecord,
    read_synapse,
    write_synapse,
)
from toolchain.networks.named_tensors import NamedTensors
from toolchain.networks.population_records import (
    ARRAYS,
    IntegerPopulationRecord,
    read_population,
    write_population,
)
from toolchain.schema import typed

FORMAT = "qac-deploy integer network"
VERSION = 1
DOCUMENT = "network.json"
TENSORS = "network.safetensors"
_REMEDY = "compile the model again"


class NetworkDocument(Struct, kw_only=True, forbid_unknown_fields=True):
    """``network.json``."""

    format: Literal["qac-deploy integer network"]
    version: Literal[1]
    populations: Annotated[list[IntegerPopulationRecord], Meta(max_length=MAX_PARTS)]
    synapses: Annotated[list[IntegerSynapseRecord], Meta(max_length=MAX_PARTS)]


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
    path, tensors = directory / DOCUMENT, directory / TENSORS
    absent = "`qac-deploy compile` makes a build folder"
    document = read_typed_json(path, NetworkDocument, absent=absent, remedy=_REMEDY)
    return _network(path, document, read_safetensors(tensors, (np.int8, np.int64), _REMEDY))


def network_of_document(
    path: Path, document: Any, arrays: Mapping[str, np.ndarray]
) -> IntegerNetwork:
    """The network of a document and the arrays that ``describe_network`` made.

    Args:
        path: the file it was read from, for messages.

    Raises:
        ModelFileError: naming the file, the field and what it must be.
    """
    return _network(path, typed(document, NetworkDocument, path, remedy=_REMEDY), arrays)


def _network(
    path: Path, document: NetworkDocument, arrays: Mapping[str, np.ndarray]
) -> IntegerNetwork:
    tensors = NamedTensors(path, arrays, _REMEDY)
    populations = [
        read_population(
            record, f"populations[{index}]", INTEGER_POPULATION_KINDS, tensors, np.int64
        )
        for index, record in enumerate(document.populations)
    ]
    try:
        synapses = [
            IntegerSynapse.of_maps(**read_synapse(record, f"synapses[{index}]", tensors, np.int8))
            for index, record in enumerate(document.synapses)
        ]
        return verify_integer_network(IntegerNetwork.build(populations, synapses))
    except UnsupportedNetworkError as error:
        raise ModelFileError(f"{path}: {error}") from error
