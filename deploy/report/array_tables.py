"""The tables on the PE array, for terminal and page alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from deploy.report.array_document import STALLS
from deploy.report.markup import number, per_cent
from deploy.report.records import (
    ArrayRecord,
    LayerRecord,
    ModeRecord,
    Report,
    SweepRecord,
    UnrollingRecord,
)
from deploy.report.tables import Emphasis, Row, Table, names, numbers, sentences


def layers_table(report: Report) -> Table:
    """Cycles of each layer in each mode, and how long the pipeline's population is idle."""
    modes = report["pe_array"]["estimates"]
    interval = report["pipeline"]["interval_ticks"]
    populations = {p["name"]: p for p in report["populations"]}
    rows = []
    for layers in zip(*(mode["layers"] for mode in modes), strict=True):
        target = populations[layers[0]["target"]]
        idle = 1 - target["timesteps"] / (interval * target["replicas"])
        rows.append(
            Row(
                [
                    layers[0]["name"],
                    target["timesteps"],
                    per_cent(idle),
                    *map(_cycles_in_use, layers),
                ]
            )
        )
    stalled = per_cent(report["pipeline"]["stall_share"])
    total = ["total", None, stalled, *map(_cycles_in_use, modes)]
    return Table(
        title="layer by layer: cycles per sample on the array, stalls included (share of elements in use)",
        columns=[
            names("Layer", "layer"),
            numbers("T", "T"),
            numbers("pipeline idle", "pipeline idle"),
            *(numbers(mode["mode"], mode["mode"]) for mode in modes),
        ],
        rows=[*rows, Row(total, Emphasis.STRONG)],
    )


def _cycles_in_use(part: LayerRecord | ModeRecord) -> str:
    return f"{part['total_cycles']:,} ({per_cent(part['utilisation'])})"


def waits_table(on_array: ArrayRecord) -> Table:
    """Cycles of each mode by what they go into."""
    shown = stalls_shown(on_array)
    causes = ["turns", *shown, "fill, drain", "total"]
    return Table(
        title="what the cycles go into: turns of the loop, and what the array waits for",
        columns=[names("Mode", "mode"), *(numbers(cause, cause) for cause in causes)],
        rows=[
            Row(
                [
                    mode["mode"],
                    mode["cycles"],
                    *(mode["stalls"][name] for name in shown),
                    mode["fill_and_drain_cycles"],
                    mode["total_cycles"],
                ]
            )
            for mode in on_array["estimates"]
        ],
    )


def stalls_shown(on_array: ArrayRecord) -> list[str]:
    """The stalls that some mode has."""
    return [name for name in STALLS if any(m["stalls"][name] for m in on_array["estimates"])]


def shown_mode(on_array: ArrayRecord) -> ModeRecord:
    """The mode that a terminal shows in full: bit planes where they are possible."""
    modes = {mode["mode"]: mode for mode in on_array["estimates"]}
    return modes.get("snn_bit_planes", on_array["estimates"][0])


def mode_table(mode: ModeRecord) -> Table:
    """Each layer in one mode: cycles, traffic and energy, and accumulations per cycle under two roofs."""
    rows = []
    for layer in mode["layers"]:
        roof = layer["roofline"]
        free = roof["stall_free_bytes_per_cycle"]
        waits = [f"{name} {cycles:,}" for name, cycles in layer["stalls"].items() if cycles]
        rows.append(
            Row(
                [
                    layer["name"],
                    layer["frames"],
                    layer["total_cycles"],
                    per_cent(layer["utilisation"]),
                    ", ".join(waits) or "nothing",
                    _kilobytes(_port_bytes(layer)),
                    _kilobytes(_off_chip_bytes(layer)),
                    roof["accumulations_per_byte"],
                    roof["compute_roof"],
                    roof["bandwidth_roof"],
                    roof["attained"],
                    "none" if free is None else free,
                    sum(layer["energy_pj"].values()) / 1000,
                ]
            )
        )
    total = [
        "total", None, mode["total_cycles"], per_cent(mode["utilisation"]), None,
        _kilobytes(mode["port_bytes"]), _kilobytes(mode["off_chip_bytes"]),
        None, None, None, None, None, sum(mode["energy_pj"].values()) / 1000,
    ]  # fmt: skip
    return Table(
        title=f"memory, {mode['mode']}: kB per sample, accumulations per cycle under both roofs",
        columns=[
            names("Layer", "layer"),
            numbers("frames"),
            numbers("cycles"),
            numbers("in use"),
            sentences("Waits for (cycles)"),
            numbers("ports, kB", "ports"),
            numbers("off chip, kB", "off chip"),
            numbers("accumulations/byte", "per byte"),
            numbers("compute roof", "roof"),
            numbers("memory roof", "memory"),
            numbers("accumulations/cycle", "attained"),
            numbers("stall-free at B/cycle", "stall-free at B/cycle"),
            numbers("energy, nJ"),
        ],
        rows=[*rows, Row(total, Emphasis.STRONG)],
    )


def energy_table(on_array: ArrayRecord) -> Table:
    """Energy of each mode by what takes it."""
    takers = list(on_array["estimates"][0]["energy_pj"])
    rows = []
    for mode in on_array["estimates"]:
        energy = Counter(mode["energy_pj"])
        parts = [*(energy[name] for name in takers), sum(energy.values())]
        rows.append(Row([mode["mode"], *(part / 1000 for part in parts)]))
    columns = [name.replace("_", " ") for name in (*takers, "total")]
    return Table(
        title="energy per sample, nJ (an estimate: counts of events times figures with a source)",
        columns=[names("Mode", "mode"), *(numbers(name, name) for name in columns)],
        rows=rows,
    )


def skipping_table(on_array: ArrayRecord) -> Table:
    """Each mode with no zero skipped and under each kind of skipping."""
    rows = []
    for mode in on_array["estimates"]:
        energy_pj = sum(mode["energy_pj"].values())
        cells = [
            f"{left['total_cycles']:,.0f} ({per_cent(left['total_cycles'] / mode['total_cycles'])}, "
            f"{per_cent(left['energy_pj'] / energy_pj)})"
            for left in mode["skipping"].values()
        ]
        rows.append(Row([mode["mode"], mode["total_cycles"], *cells]))
    kinds = [k.replace("_", " ") for k in ("none", *on_array["estimates"][0]["skipping"])]
    return Table(
        title=f"zeros skipped: cycles, mean of exact counts on {on_array['skipping_samples']} test samples "
        "(share of the cycles, and of the energy, with none skipped)",
        columns=[names("Mode", "mode"), *(numbers(kind, kind) for kind in kinds)],
        rows=rows,
    )


def sweep_table(sweep: SweepRecord) -> Table:
    """The unrollings that none beats in both cycles and buffer traffic, and the array's own."""
    headings = ("M", "N", "S", "V", "cycles", "in use", "ports kB", "off chip kB", "nJ")
    return Table(
        title=f"unrollings of {sweep['elements']:,} elements, {sweep['mode']}: the best of "
        f"{len(sweep['designs'])} in cycles and buffer traffic",
        columns=[*(numbers(heading, heading) for heading in headings), names("", "")],
        rows=[
            Row(
                [
                    *design["unrolling"].values(),
                    design["total_cycles"],
                    per_cent(design["utilisation"]),
                    _kilobytes(design["port_bytes"]),
                    _kilobytes(design["off_chip_bytes"]),
                    design["energy_pj"] / 1000,
                    "this array, ports widened" if design["is_own"] else "",
                ],
                Emphasis.STRONG if design["is_own"] else Emphasis.NONE,
            )
            for design in _shown(sweep)
        ],
    )


def _shown(sweep: SweepRecord) -> Iterable[UnrollingRecord]:
    shown = [d for d in sweep["designs"] if d["on_front"] or d["is_own"]]
    return sorted(shown, key=lambda d: (d["total_cycles"], d["port_bytes"]))


def _port_bytes(layer: LayerRecord) -> float:
    """Bytes that a layer reads and writes at the ports of its buffers."""
    return sum(layer["port_bytes_read"].values()) + sum(layer["port_bytes_written"].values())


def _off_chip_bytes(layer: LayerRecord) -> float:
    """Bytes that a layer loads from and stores to memory outside the chip."""
    loaded, stored = layer["off_chip_bytes_loaded"], layer["off_chip_bytes_stored"]
    return sum(loaded.values()) + sum(stored.values())


def _kilobytes(size: float) -> str:
    return number(round(size / 1000, 3))
