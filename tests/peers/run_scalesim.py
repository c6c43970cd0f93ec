"""Runs SCALE-Sim 3.0.0 on layers given as JSON on standard input; the interpreter must have it.

Output stationary: the R rows of its array are output positions, the C columns output channels, and a fold
takes one step for each weight of a filter. Prints, for each layer, its cycles, stall cycles and seconds.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from scalesim.scale_sim import scalesim

CONFIG = """\
[general]
run_name = run
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
IfmapSramSzkB = 8192
FilterSramSzkB = 8192
OfmapSramSzkB = 8192
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = os
Bandwidth = 10
ReadRequestBuffer = 512
WriteRequestBuffer = 512
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""
TOPOLOGY = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, "
    "Sparsity,\n"
)
LAYOUT = (
    "Layer name, IFMAP Height Intraline Factor, IFMAP Width Intraline Factor, Filter Height Intraline "
    "Factor, Filter Width Intraline Factor, Channel Intraline Factor, Num Filter Intraline Factor, IFMAP "
    "Height Intraline Order, IFMAP Width Intraline Order, Channel Intraline Order, IFMAP Height Interline "
    "Order, IFMAP Width Interline Order, Channel Interline Order, Num Filter Intraline Order, Channel "
    "Intraline Order, Filter Height Intraline Order, Filter Width Intraline Order, Num Filter Interline "
    "Order, Channel Interline Order, Filter Height Interline Order, Filter Width Interline Order,\n"
)


def run(layer: dict[str, int], folder: Path) -> dict[str, float]:
    """Cycles of one layer; its input map comes with the zero padding as part of it."""
    (folder / "array.cfg").write_text(CONFIG.format(rows=layer["N"], columns=layer["M"]))
    height, width = (layer[side] + 2 * layer["padding"] for side in ("height", "width"))
    kernel, stride = layer["kernel"], layer["stride"]
    channels, filters = layer["input_channels"], layer["output_channels"]
    (folder / "net.csv").write_text(
        f"{TOPOLOGY}layer, {height}, {width}, {kernel}, {kernel}, {channels}, {filters}, {stride}, 1:1,\n"
    )
    (folder / "layout.csv").write_text(f"{LAYOUT}layer,{'1,' * 20}\n")
    simulator = scalesim(
        save_disk_space=True,
        verbose=False,
        config=str(folder / "array.cfg"),
        topology=str(folder / "net.csv"),
        layout=str(folder / "layout.csv"),
    )
    start = time.perf_counter()
    simulator.run_scale(top_path=str(folder / "out"))
    seconds = time.perf_counter() - start
    with (folder / "out" / "run" / "COMPUTE_REPORT.csv").open() as file:
        row = next(csv.DictReader(file, skipinitialspace=True))
    return {
        "cycles": int(float(row["Total Cycles"])),
        "stalls": int(float(row["Stall Cycles"])),
        "seconds": seconds,
    }


def main() -> None:
    layers, results = json.load(sys.stdin), []
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        for layer in layers:
            with tempfile.TemporaryDirectory() as folder:
                results.append(run(layer, Path(folder)))
    print(json.dumps(results))


main()
