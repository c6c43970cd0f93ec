"""docs/pe-array.md: a narrow ResNet-20 in four modes, and a VGG-16 under each order of the loops."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.figures.commands import Commands
from benchmarks.figures.pages import table
from benchmarks.imagenet_vgg import imagenet_vgg16

COMPARE = "compare resnet-20-build/ --sweep --plot pe-array.png"
DATAFLOWS = (
    ("snn_temporal", "innermost", False), ("snn_temporal", "outermost", False),
    ("snn_bit_planes", "innermost", False), ("snn_bit_planes", "outermost", False),
    ("ann_multiplier", "innermost", False), ("ann_multiplier", "innermost", True),
)  # fmt: skip


def measure_modes(commands: Commands, docs: Path) -> dict[str, Any]:
    commands.model("narrow-resnet-20.pt")
    report = commands.run("compile narrow-resnet-20.pt --out resnet-20-build")
    compared = commands.run(COMPARE)
    shutil.copy(commands.folder / "pe-array.png", docs / "pe-array.png")
    estimates = [
        {
            "mode": estimate["mode"],
            "iterations": estimate["cycles"],
            "cycles": estimate["total_cycles"],
            "off_chip_bytes": estimate["off_chip_bytes"],
            "energy_pj": sum(estimate["energy_pj"].values()),
            "lockstep_cycles": estimate["skipping"]["lockstep"]["total_cycles"],
            "compacted_cycles": estimate["skipping"]["compacted"]["total_cycles"],
        }
        for estimate in compared["pe_array"]["estimates"]
    ]
    return {
        "mean_timesteps": report["mean_timesteps"],
        "estimates": estimates,
        "unrollings": {sweep["mode"]: _unrollings(sweep) for sweep in compared["sweeps"]},
    }


def _unrollings(sweep: dict[str, Any]) -> dict[str, Any]:
    """The array's own unrolling, and the one with the fewest cycles, of those that were tried."""
    designs = sweep["designs"]
    own = next(design for design in designs if design["is_own"])
    fastest = min(designs, key=lambda design: (design["total_cycles"], design["port_bytes"]))
    kept = ("unrolling", "total_cycles", "port_bytes")
    return {
        "tried": len(designs),
        "own": {name: own[name] for name in kept},
        "fastest": {name: fastest[name] for name in kept},
    }


def show_modes(found: dict[str, Any]) -> dict[str, str]:
    rows = [
        (
            f"`{mode['mode']}`",
            f"{mode['iterations']:,}",
            f"{mode['cycles']:,}",
            f"{mode['off_chip_bytes'] / 1e3:,.0f}",
            f"{mode['energy_pj'] / 1e6:,.0f}",
            f"{mode['lockstep_cycles']:,.0f}",
            f"{mode['compacted_cycles']:,.0f}",
        )
        for mode in found["estimates"]
    ]
    columns = (
        "mode", "iterations", "all cycles", "off chip, kB", "energy, µJ", "cycles, lockstep", "compacted",
    )  # fmt: skip
    planes = found["unrollings"]["snn_bit_planes"]
    own, fastest = planes["own"], planes["fastest"]
    unrolled = " x ".join(map(str, fastest["unrolling"].values()))
    cycles = 1 - fastest["total_cycles"] / own["total_cycles"]
    moved = 1 - fastest["port_bytes"] / own["port_bytes"]
    sentence = (
        f"Of the {planes['tried']} ways to unroll 1,024 elements, {unrolled} takes {cycles:.0%} fewer "
        f"cycles\nthan the default with bit planes and moves {moved:.0%} less through the ports.\n"
    )
    return {"pe-array": table(columns, rows), "unrollings": sentence.replace("%", " %")}


def measure_dataflows(commands: Commands) -> dict[str, Any]:
    from hw_models.pe_array.array_description import load_array
    from hw_models.pe_array.estimate import estimate_array
    from hw_models.pe_array.loop_nest import Dataflow
    from hw_models.pe_array.modes import MODES

    network, array = imagenet_vgg16(), load_array("pe-array")
    rows = []
    for mode, time_loop, fold in DATAFLOWS:
        dataflow = Dataflow(time_loop=time_loop, fold=fold)
        estimate = estimate_array(network, replace(array, dataflow=dataflow), MODES[mode])
        moved = [
            moved
            for layer in estimate.layers
            for moved in (layer.timing.loaded_bytes, layer.timing.stored_bytes)
        ]
        rows.append(
            {
                "mode": mode,
                "time_loop": time_loop,
                "fold": fold,
                "cycles": estimate.total_cycles,
                "off_chip_bytes": estimate.off_chip_bytes,
                "carried_bytes": sum(m["membrane"] + m["psum"] for m in moved),
                "energy_pj": sum(estimate.energy_pj.values()),
            }
        )
    return {"dataflows": rows}


def show_dataflows(found: dict[str, Any]) -> dict[str, str]:
    rows = [
        (
            f"`{row['mode']}`",
            row["time_loop"] + ", folded" * row["fold"],
            f"{row['cycles']:,}",
            f"{row['off_chip_bytes'] / 1e6:.1f}",
            f"{row['carried_bytes'] / 1e6:.1f}" if row["carried_bytes"] else "0",
            f"{row['energy_pj'] / 1e9:.1f}",
        )
        for row in found["dataflows"]
    ]
    columns = (
        "mode", "time loop", "cycles", "off chip, MB", "potentials and sums, MB", "energy, mJ",
    )  # fmt: skip
    return {"dataflows": table(columns, rows)}
