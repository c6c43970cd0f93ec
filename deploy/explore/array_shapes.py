"""All unrollings of a PE array for the best networks of an exploration.

What an array takes depends only on the integer network and on its own shape, not on cores, buffers and
replicas. So its shapes are no axis of that space but a second one, which is tried whole: each unrolling, for
each different network of the default design and of those that are best in something.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from deploy.compile.array_sweep import sweep_documents
from deploy.design.arguments import compile_command
from deploy.design.design import lower_model
from deploy.explore.exploration import Explored, ExploredDesign
from deploy.explore.front import pareto_front
from deploy.explore.measure import network_key
from hw_models.pe_array.array_description import PeArray
from hw_models.target_description import TargetDescription
from toolchain.networks.layer_graph import LayerGraph
from toolchain.rounding.plan import LoweringImages


class ArrayDesignRecord(TypedDict):
    """A network on an array of one shape; ``design`` is the number of the first design with this network.

    ``measures`` have the keys ``accuracy``, ``array_us`` and ``array_nj`` (per sample), ``port_bytes``,
    ``utilisation`` and ``cycles``.
    """

    design: int
    mode: str
    unrolling: list[int]
    on_front: bool
    measures: dict[str, float | None]
    command: str


class ArrayExplorationRecord(TypedDict):
    """Shapes of one array; ``left_out`` cannot hold a tile in their buffers."""

    array: str
    elements: int
    networks: int
    left_out: int
    designs: list[ArrayDesignRecord]


def explore_shapes(
    explored: Explored,
    model: LayerGraph,
    targets: Mapping[str, TargetDescription],
    array: PeArray,
    *,
    name: str,
    path: Path,
    accuracy: str | None,
    images: LoweringImages | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> ArrayExplorationRecord:
    """Try every unrolling, and mark the front of accuracy, time and energy.

    Args:
        name: by which ``compile`` finds the array.
        path: of the model, for the commands.
        accuracy: ``FILE.py:FUNCTION`` of the user's own, for the commands.
        images: that networks are lowered on.
    """
    chosen = _different_networks(explored)
    designs: list[ArrayDesignRecord] = []
    left_out = 0
    for place, design in enumerate(chosen, start=1):
        on_stage(f"trying array shapes, network {place} of {len(chosen)}")
        _, lowered = lower_model(model, targets[design.options.target], design.options, images)
        network = lowered.network
        assert design.measures is not None
        for sweep in sweep_documents(network, array):
            left_out += sweep["left_out"]
            for shape in sweep["designs"]:
                sizes = list(shape["unrolling"].values())
                options = replace(design.options, array=name, unrolling=sizes)
                designs.append(
                    {
                        "design": design.number,
                        "mode": sweep["mode"],
                        "unrolling": sizes,
                        "on_front": False,
                        "measures": {
                            "accuracy": design.measures["accuracy"],
                            "array_us": shape["total_cycles"] / array.clock_mhz,
                            "array_nj": shape["energy_pj"] / 1000,
                            "port_bytes": shape["port_bytes"],
                            "utilisation": shape["utilisation"],
                            "cycles": shape["total_cycles"],
                        },
                        "command": compile_command(str(path), options, accuracy=accuracy),
                    }
                )
    for design_record, is_on in zip(designs, pareto_front(_costs(designs)), strict=True):
        design_record["on_front"] = bool(is_on)
    return {
        "array": array.name,
        "elements": array.unrolling.num_elements,
        "networks": len(chosen),
        "left_out": left_out,
        "designs": designs,
    }


def _different_networks(explored: Explored) -> list[ExploredDesign]:
    """The default design and those best in something, one for each integer network."""
    found: dict[Hashable, ExploredDesign] = {}
    for design in explored.designs:
        if design.measures is not None and (design.mark or design.number == 0):
            found.setdefault(network_key(design.options), design)
    return list(found.values())


def _costs(designs: Sequence[ArrayDesignRecord]) -> np.ndarray:
    """Lower is better, shape ``(designs, 3)``: accuracy, time and energy."""
    rows = [
        (-(m["accuracy"] or 0.0), m["array_us"], m["array_nj"])
        for m in (design["measures"] for design in designs)
    ]
    return np.array(rows, float).reshape(-1, 3)
