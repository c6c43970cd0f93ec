"""The tables on the PE array, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from deploy.report.array_document import STALLS
from deploy.report.array_records import (
    ArrayRecord,
    LayerRecord,
    ModeRecord,
    SweepRecord,
    UnrollingRecord,
)
from deploy.report.markup import number, per_cent
from deploy.report.records import Report
from deploy.report.tables import Cell, Emphasis, Row, Table, names, numbers, sentences, tabulate


def layers_table(report: Report) -> Table:
    """Cycles of each layer in each mode, and how long the pipeline's population is idle."""
    modes = report["pe_array"]["estimates"]
    interval = report["pipeline"]["interval_ticks"]
    populations = {p["name"]: p for p in report["populations"]}

    def idle(layer: LayerRecord) -> str:
        target = populations[layer["target"]]
        return per_cent(1 - target["timesteps"] / (interval * target["replicas"]))

    table = tabulate(
        "layer by layer: cycles per sample on the array, stalls included (share of elements in use)",
        zip(*(mode["layers"] for mode in modes), strict=True),
        names("Layer", "layer", lambda layers: layers[0]["name"]),
        numbers("T", "T", lambda layers: populations[layers[0]["target"]]["timesteps"]),
        numbers("pipeline idle", "pipeline idle", lambda layers: idle(layers[0])),
        *(
            numbers(mode["mode"], mode["mode"], partial(_cycles_at, i))
            for i, mode in enumerate(modes)
        ),
    )
    stalled = per_cent(report["pipeline"]["stall_share"])
    return _with_total(table, ["total", None, stalled, *map(_cycles_in_use, modes)])


def _cycles_at(index: int, layers: Sequence[LayerRecord]) -> str:
    return _cycles_in_use(layers[index])


def _cycles_in_use(part: LayerRecord | ModeRecord) -> str:
    return f"{part['total_cycles']:,} ({per_cent(part['utilisation'])})"


def waits_table(on_array: ArrayRecord) -> Table:
    """Cycles of each mode by cause."""
    return tabulate(
        "cycles by cause: iterations of the loop, and what the array waits for",
        on_array["estimates"],
        names("Mode", "mode", lambda m: m["mode"]),
        numbers("iterations", "iterations", lambda m: m["cycles"]),
        *(numbers(name, name, partial(_stalls, name)) for name in stalls_shown(on_array)),
        numbers("fill, drain", "fill, drain", lambda m: m["fill_and_drain_cycles"]),
        numbers("total", "total", lambda m: m["total_cycles"]),
    )


def _stalls(name: str, mode: ModeRecord) -> int:
    return mode["stalls"][name]


def stalls_shown(on_array: ArrayRecord) -> list[str]:
    """The stalls that some mode has."""
    return [name for name in STALLS if any(m["stalls"][name] for m in on_array["estimates"])]


def shown_mode(on_array: ArrayRecord) -> ModeRecord:
    """The mode that a terminal shows in full: bit planes if the array can run them."""
    modes = {mode["mode"]: mode for mode in on_array["estimates"]}
    return modes.get("snn_bit_planes", on_array["estimates"][0])


def mode_table(mode: ModeRecord) -> Table:
    """Each layer in one mode: cycles, traffic and energy, and accumulations per cycle under two roofs."""
    table = tabulate(
        f"memory, {mode['mode']}: kB per sample, accumulations per cycle under both roofs",
        mode["layers"],
        names("Layer", "layer", lambda r: r["name"]),
        numbers("frames", None, lambda r: r["frames"]),
        numbers("cycles", None, lambda r: r["total_cycles"]),
        numbers("in use", None, lambda r: per_cent(r["utilisation"])),
        sentences("Waits for (cycles)", None, _waits),
        numbers("ports, kB", "ports", lambda r: _kilobytes(_port_bytes(r))),
        numbers("off chip, kB", "off chip", lambda r: _kilobytes(_off_chip_bytes(r))),
        numbers(
            "accumulations/byte", "per byte", lambda r: r["roofline"]["accumulations_per_byte"]
        ),
        numbers("compute roof", "roof", lambda r: r["roofline"]["compute_roof"]),
        numbers("memory roof", "memory", lambda r: r["roofline"]["bandwidth_roof"]),
        numbers("accumulations/cycle", "attained", lambda r: r["roofline"]["attained"]),
        numbers("stall-free at B/cycle", "stall-free at B/cycle", _stall_free),
        numbers("energy, nJ", None, lambda r: sum(r["energy_pj"].values()) / 1000),
    )
    total = [
        "total", None, mode["total_cycles"], per_cent(mode["utilisation"]), None,
        _kilobytes(mode["port_bytes"]), _kilobytes(mode["off_chip_bytes"]),
        None, None, None, None, None, sum(mode["energy_pj"].values()) / 1000,
    ]  # fmt: skip
    return _with_total(table, total)


def _waits(layer: LayerRecord) -> str:
    waits = [f"{name} {cycles:,}" for name, cycles in layer["stalls"].items() if cycles]
    return ", ".join(waits) or "nothing"


def _stall_free(layer: LayerRecord) -> int | str:
    least = layer["roofline"]["stall_free_bytes_per_cycle"]
    return "none" if least is None else least


def energy_table(on_array: ArrayRecord) -> Table:
    """Energy of each mode by what takes it."""
    takers = {name: name.replace("_", " ") for name in on_array["estimates"][0]["energy_pj"]}
    return tabulate(
        "energy per sample, nJ (an estimate: counts of events times figures with a source)",
        on_array["estimates"],
        names("Mode", "mode", lambda m: m["mode"]),
        *(numbers(shown, shown, partial(_energy_nj, name)) for name, shown in takers.items()),
        numbers("total", "total", lambda m: sum(m["energy_pj"].values()) / 1000),
    )


def _energy_nj(name: str, mode: ModeRecord) -> float:
    return mode["energy_pj"].get(name, 0) / 1000


def skipping_table(on_array: ArrayRecord) -> Table:
    """Each mode with no zero skipped and under each kind of skipping."""
    kinds = {kind: kind.replace("_", " ") for kind in on_array["estimates"][0]["skipping"]}
    return tabulate(
        f"zeros skipped: cycles, mean of exact counts on {on_array['skipping_samples']} test samples "
        "(share of the cycles, and of the energy, with none skipped)",
        on_array["estimates"],
        names("Mode", "mode", lambda m: m["mode"]),
        numbers("none", "none", lambda m: m["total_cycles"]),
        *(numbers(shown, shown, partial(_skipped, kind)) for kind, shown in kinds.items()),
    )


def _skipped(kind: str, mode: ModeRecord) -> str:
    left = mode["skipping"][kind]
    cycles = left["total_cycles"] / mode["total_cycles"]
    energy = left["energy_pj"] / sum(mode["energy_pj"].values())
    return f"{left['total_cycles']:,.0f} ({per_cent(cycles)}, {per_cent(energy)})"


def sweep_table(sweep: SweepRecord) -> Table:
    """The unrollings that none beats in both cycles and buffer traffic, and the array's own."""
    shown = [d for d in sweep["designs"] if d["on_front"] or d["is_own"]]
    return tabulate(
        f"unrollings of {sweep['elements']:,} elements, {sweep['mode']}: the best of "
        f"{len(sweep['designs'])} in cycles and buffer traffic",
        sorted(shown, key=lambda d: (d["total_cycles"], d["port_bytes"])),
        *(numbers(symbol, symbol, partial(_size, i)) for i, symbol in enumerate("MNSV")),
        numbers("cycles", "cycles", lambda d: d["total_cycles"]),
        numbers("in use", "in use", lambda d: per_cent(d["utilisation"])),
        numbers("ports kB", "ports kB", lambda d: _kilobytes(d["port_bytes"])),
        numbers("off chip kB", "off chip kB", lambda d: _kilobytes(d["off_chip_bytes"])),
        numbers("nJ", "nJ", lambda d: d["energy_pj"] / 1000),
        names("", "", lambda d: "this array, ports widened" if d["is_own"] else ""),
        emphasis=lambda d: Emphasis.STRONG if d["is_own"] else Emphasis.NONE,
    )


def _size(index: int, design: UnrollingRecord) -> int:
    return list(design["unrolling"].values())[index]


def _with_total(table: Table, cells: Sequence[Cell]) -> Table:
    return replace(table, rows=[*table.rows, Row(cells, Emphasis.STRONG)])


def _port_bytes(layer: LayerRecord) -> float:
    """Bytes that a layer reads and writes at the ports of its buffers."""
    return sum(layer["port_bytes_read"].values()) + sum(layer["port_bytes_written"].values())


def _off_chip_bytes(layer: LayerRecord) -> float:
    """Bytes that a layer loads from and stores to memory outside the chip."""
    loaded, stored = layer["off_chip_bytes_loaded"], layer["off_chip_bytes_stored"]
    return sum(loaded.values()) + sum(stored.values())


def _kilobytes(size: float) -> str:
    return number(round(size / 1000, 3))
