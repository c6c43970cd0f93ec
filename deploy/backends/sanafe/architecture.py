"""SANA-FE's own Loihi file, with the tiles that a mapping needs and with cores for the host."""

from __future__ import annotations

import copy
import importlib.resources
from collections.abc import Collection
from itertools import groupby
from typing import Any, TypeAlias

import yaml

from toolchain.errors import SanafeError

NEURONS_PER_UNIT = 1024
"""Compartments of one soma or dendrite unit; a core that holds more neurons has several units."""

Section: TypeAlias = dict[str, Any]
"""A section of SANA-FE's architecture file; its fields are SANA-FE's."""

SOMA, DENDRITE, HOST_SOMA = "loihi_lif", "loihi_dendrites", "host_pixels"


def architecture_document(
    *,
    width: int,
    height: int,
    cores_per_tile: int,
    neurons_per_core: int,
    host_tiles: Collection[int],
    neurons_per_host: int,
) -> Section:
    """The ``architecture.yaml`` of a mesh of Loihi tiles, with unchanged coefficients.

    Args:
        neurons_per_core: most neurons on one core.
        host_tiles: tiles with a host core, which is the last core of its tile and costs nothing.
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
        architecture["tile"].append(copy.deepcopy(kind))  # YAML writes shared objects as aliases
    return {"architecture": architecture}


def loihi_file() -> Section:
    """The ``loihi.yaml`` in the package of SANA-FE.

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


def _set_capacity(core: Section, neurons: int, model: str, soma: str) -> None:
    """Give a core the units for a number of neurons of one soma model, and no other soma units."""
    last = max(neurons - 1, 0) // NEURONS_PER_UNIT
    limit = core["attributes"]["max_neurons_supported"]
    core["attributes"]["max_neurons_supported"] = max(neurons, limit)
    somas = [entry for entry in core["soma"] if entry["name"].split("[")[0] == model]
    dendrites = [entry for entry in core["dendrite"] if entry["name"].split("[")[0] == DENDRITE]
    core["soma"] = [entry | {"name": f"{soma}[0..{last}]"} for entry in somas]
    core["dendrite"] = [entry | {"name": f"{DENDRITE}[0..{last}]"} for entry in dendrites]


def _make_free(core: Section) -> None:
    """Set every energy and latency of a core to 0."""
    for section in ("axon_in", "soma", "dendrite", "synapse", "axon_out"):
        for entry in core[section]:
            entry["attributes"] = {
                name: 0.0 if name.startswith(("energy_", "latency_")) else value
                for name, value in entry["attributes"].items()
            }
