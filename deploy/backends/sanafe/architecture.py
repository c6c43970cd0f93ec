"""SANA-FE's own Loihi file, with as many tiles as a mapping needs and a host beside them."""

from __future__ import annotations

import copy
import importlib.resources
from collections.abc import Collection
from itertools import groupby
from typing import Any

import yaml

from toolchain.errors import SanafeError

NEURONS_PER_UNIT = 1024
"""Compartments of one soma or dendrite unit; a core that holds more neurons has several units."""

SOMA, DENDRITE, HOST_SOMA = "loihi_lif", "loihi_dendrites", "host_pixels"


def architecture_document(
    *,
    width: int,
    height: int,
    cores_per_tile: int,
    neurons_per_core: int,
    host_tiles: Collection[int],
    neurons_per_host: int,
) -> dict[str, Any]:
    """The ``architecture.yaml`` of a mesh of Loihi tiles, coefficients unchanged.

    Args:
        neurons_per_core: most neurons on one core.
        host_tiles: tiles that have a host core, the last core of the tile; it costs nothing.
        neurons_per_host: most pixel neurons on one host core.

    Raises:
        SanafeError: the package sanafe is not installed.
    """
    architecture = loihi_file()["architecture"]
    (loihi_tile,) = architecture["tile"]
    (core,) = loihi_tile["core"]
    core["name"] = f"loihi_core[0..{cores_per_tile - 1}]"
    _set_capacity(core, neurons_per_core, SOMA, SOMA)
    host = copy.deepcopy(core)
    host["name"] = "host"
    _set_capacity(host, neurons_per_host, SOMA, HOST_SOMA)
    _make_free(host)
    architecture["attributes"] |= {"width": width, "height": height}
    architecture["tile"] = []
    for has_host, run in groupby(range(width * height), lambda tile: tile in host_tiles):
        tiles = list(run)
        kind = loihi_tile | {
            "name": f"loihi_tile[{tiles[0]}..{tiles[-1]}]",
            "core": [core, host] if has_host else [core],
        }
        architecture["tile"].append(copy.deepcopy(kind))  # what is shared would become YAML aliases
    return {"architecture": architecture}


def loihi_file() -> dict[str, Any]:
    """The ``loihi.yaml`` that comes with SANA-FE.

    Raises:
        SanafeError: the package is not installed.
    """
    try:
        folder = importlib.resources.files("sanafe.examples")
    except ImportError as error:
        raise SanafeError(
            "the package sanafe is not installed; run `pip install 'qac-deploy[sanafe]'`"
        ) from error
    return yaml.safe_load((folder / "loihi.yaml").read_text())


def _set_capacity(core: dict[str, Any], neurons: int, model: str, soma: str) -> None:
    """Let a core hold so many neurons of a soma model, and only those."""
    last = max(neurons - 1, 0) // NEURONS_PER_UNIT
    limit = core["attributes"]["max_neurons_supported"]
    core["attributes"]["max_neurons_supported"] = max(neurons, limit)
    somas = [entry for entry in core["soma"] if entry["name"].split("[")[0] == model]
    dendrites = [entry for entry in core["dendrite"] if entry["name"].split("[")[0] == DENDRITE]
    core["soma"] = [entry | {"name": f"{soma}[0..{last}]"} for entry in somas]
    core["dendrite"] = [entry | {"name": f"{DENDRITE}[0..{last}]"} for entry in dendrites]


def _make_free(core: dict[str, Any]) -> None:
    for section in ("axon_in", "soma", "dendrite", "synapse", "axon_out"):
        for entry in core[section]:
            entry["attributes"] = {
                name: 0.0 if name.startswith(("energy_", "latency_")) else value
                for name, value in entry["attributes"].items()
            }
