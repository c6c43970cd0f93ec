"""An array with another unrolling, as a description of its own that a build keeps."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from hw_models.figures import read_figures
from hw_models.pe_array.array_description import BUFFERS, PeArray, describe_array
from hw_models.pe_array.array_kernels import ArrayKernel, array_kernels
from hw_models.pe_array.design_space import with_wide_ports
from hw_models.pe_array.loop_nest import Unrolling
from hw_models.pe_array.modes import array_modes
from toolchain.networks.integer_network import IntegerNetwork


def with_unrolling(array: PeArray, unrolling: Unrolling, network: IntegerNetwork) -> PeArray:
    """The array with another unrolling, and ports as wide as a network needs in it, in every mode.

    Raises:
        TargetError: a buffer cannot hold what the array then takes in one cycle.
        UnsupportedNetworkError: the array cannot run the network.
    """
    kernels = list(_all_kernels(network))
    wide = with_wide_ports(array, unrolling, kernels)
    document: Any = copy.deepcopy(dict(array.file.document))
    shape = "x".join(map(str, unrolling.sizes))
    document["name"] = f"{array.name} {shape}"
    figures = document["figures"]
    for letter, (name, size) in zip("MNSV", asdict(unrolling).items(), strict=True):
        source = f"{letter} of Algorithm 2, chosen with --unrolling"
        figures["unrolling"][name] = _assumed(size, source)
    for name in BUFFERS:
        figures["buffers"][name]["port_bytes"] = _assumed(
            wide.buffers[name].port_bytes, f"as wide as the unrolling {shape} needs"
        )
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return describe_array(read_figures(Path(array.file.path), document, text))


def _all_kernels(network: IntegerNetwork) -> Iterator[ArrayKernel]:
    for mode in array_modes(network):
        yield from array_kernels(network, mode)


def _assumed(value: int, source: str) -> dict[str, Any]:
    return {"value": value, "kind": "assumed", "source": source}
