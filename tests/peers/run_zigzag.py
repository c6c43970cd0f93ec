"""Runs ZigZag 3.9.1 on layers given as JSON on standard input; the interpreter must have it.

An array of M output channels x N output columns x V input channels over one memory that holds everything:
what is asked for are the cycles of the loops alone. Prints, for each layer, ZigZag's ideal temporal cycles.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import yaml
from zigzag.api import get_hardware_performance_zigzag


def port(name: str, kind: str, *allocation: str) -> dict:
    return {
        "name": name,
        "type": kind,
        "bandwidth_min": 8,
        "bandwidth_max": 10**6,
        "allocation": list(allocation),
    }


def accelerator(m: int, n: int, v: int) -> dict:
    memory = {
        "size": 10**12,
        "r_cost": 1.0,
        "w_cost": 1.0,
        "area": 0.0,
        "latency": 1,
        "operands": ["I1", "I2", "O"],
        "ports": [
            port("rw_port_1", "read_write", "I1, tl", "I2, tl", "O, tl", "O, fl"),
        ],
        "served_dimensions": ["D1", "D2", "D3"],
    }
    return {
        "name": "array",
        "memories": {"memory": memory},
        "operational_array": {
            "unit_energy": 0.1,
            "unit_area": 1.0,
            "dimensions": ["D1", "D2", "D3"],
            "sizes": [m, n, v],
        },
    }


def mapping(m: int, n: int, v: int) -> list:
    return [
        {
            "name": "default",
            "spatial_mapping": {"D1": [f"K, {m}"], "D2": [f"OX, {n}"], "D3": [f"C, {v}"]},
            "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
        }
    ]


def workload(layer: dict[str, int]) -> list:
    stride, kernel, padding = layer["stride"], layer["kernel"], layer["padding"]
    rows, columns = (
        (layer[side] + 2 * padding - kernel) // stride + 1 for side in ("height", "width")
    )
    sizes = {
        "B": 1,
        "K": layer["output_channels"],
        "C": layer["input_channels"],
        "OY": rows,
        "OX": columns,
        "FY": kernel,
        "FX": kernel,
    }
    return [
        {
            "id": 0,
            "name": "layer",
            "operator_type": "Conv",
            "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
            "dimension_relations": [f"ix={stride}*ox+1*fx", f"iy={stride}*oy+1*fy"],
            "loop_dims": list(sizes),
            "loop_sizes": list(sizes.values()),
            "operand_precision": {"O": 24, "O_final": 8, "W": 8, "I": 8},
            "operand_source": {"I": 0, "W": 0},
            "pr_loop_dims": ["IX", "IY"],
            "pr_loop_sizes": [layer["width"], layer["height"]],
            "padding": [[padding, padding], [padding, padding]],
        }
    ]


def run(layer: dict[str, int], folder: Path) -> dict[str, float]:
    sizes = layer["M"], layer["N"], layer["V"]
    files = {
        "accelerator": accelerator(*sizes),
        "mapping": mapping(*sizes),
        "workload": workload(layer),
    }
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    _, _, cost_models = get_hardware_performance_zigzag(
        str(folder / "workload.yaml"),
        str(folder / "accelerator.yaml"),
        str(folder / "mapping.yaml"),
        dump_folder=str(folder / "out"),
        lpf_limit=1,
        loma_show_progress_bar=False,
    )
    evaluation = cost_models[0][1][0][0]
    return {"cycles": evaluation.ideal_temporal_cycle}


def main() -> None:
    layers, results = json.load(sys.stdin), []
    logging.disable(logging.CRITICAL)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        for layer in layers:
            with tempfile.TemporaryDirectory() as folder:
                results.append(run(layer, Path(folder)))
    print(json.dumps(results))


main()
