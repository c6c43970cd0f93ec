"""What ``compare`` prints of the PE array: layers, stalls, memory, zero skipping, energy, sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.report.array_document import STALLS
from deploy.report.array_findings import (
    findings,
    headline,
    off_chip_bytes,
    port_bytes,
    silicon,
    skipping_rows,
)
from deploy.report.markup import number, per_cent
from deploy.report.records import ArrayRecord, ModeRecord, Report
from deploy.report.tables import comparison_table

_PIPE_WIDTH = 140


def print_array(report: Report, console: Console) -> None:
    """The array of a report, layer by layer and as a whole."""
    on_array = report["pe_array"]
    console.print(escape(headline(on_array)))
    tables = [_layers(report), _waiting(on_array), _memory(on_array), _energy(on_array)]
    if on_array["skipping_samples"]:
        tables.append(_skipping(on_array))
    for table in tables:
        _print(table, console)
    console.print()
    for sentence in (*findings(on_array), silicon(on_array)):
        console.print(sentence)


def _layers(report: Report) -> Table:
    """Cycles of each pass in each mode, beside what the pipeline does in that layer."""
    modes = report["pe_array"]["estimates"]
    interval = report["pipeline"]["interval_ticks"]
    populations = {p["name"]: p for p in report["populations"]}
    table = _table(
        "layer by layer: cycles on the array, stalls included (share of elements in use)"
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("T", justify="right")
    table.add_column("pipeline idle", justify="right")
    for mode in modes:
        table.add_column(mode["mode"], justify="right")
    for layers in zip(*(mode["layers"] for mode in modes), strict=True):
        target = populations[layers[0]["target"]]
        table.add_row(
            escape(layers[0]["name"]),
            str(target["timesteps"]),
            per_cent(1 - target["timesteps"] / (interval * target["replicas"])),
            *(f"{layer['total_cycles']:,} ({per_cent(layer['utilisation'])})" for layer in layers),
        )
    totals = (f"{mode['total_cycles']:,} ({per_cent(mode['utilisation'])})" for mode in modes)
    table.add_row("total", "", per_cent(report["pipeline"]["stall_share"]), *totals, style="bold")
    return table


def _waiting(on_array: ArrayRecord) -> Table:
    table = _table("what the cycles go into: iterations of the loop, and what the array waits for")
    table.add_column("mode")
    shown = [name for name in STALLS if any(m["stalls"][name] for m in on_array["estimates"])]
    for name in ("iterations", *shown, "fill, drain", "total"):
        table.add_column(name, justify="right")
    for mode in on_array["estimates"]:
        cells = [mode["cycles"], *(mode["stalls"][name] for name in shown)]
        cells += [mode["fill_and_drain_cycles"], mode["total_cycles"]]
        table.add_row(mode["mode"], *(f"{cell:,}" for cell in cells))
    return table


def _memory(on_array: ArrayRecord) -> Table:
    """Each pass of one mode under the two roofs."""
    mode = _shown_mode(on_array)
    table = _table(f"memory, {mode['mode']}: traffic in kB, accumulations a cycle under both roofs")
    table.add_column("layer", no_wrap=True)
    headings = (
        "ports",
        "off chip",
        "per byte",
        "roof",
        "memory",
        "attained",
        "stall-free at B/cycle",
    )
    for name in headings:
        table.add_column(name, justify="right")
    for layer in mode["layers"]:
        roof = layer["roofline"]
        free = roof["stall_free_bytes_per_cycle"]
        table.add_row(
            escape(layer["name"]),
            _kilobytes(port_bytes(layer)),
            _kilobytes(off_chip_bytes(layer)),
            number(roof["accumulations_per_byte"]),
            number(roof["compute_roof"]),
            number(roof["bandwidth_roof"]),
            number(roof["attained"]),
            "none" if free is None else f"{free:,}",
        )
    ports, off_chip = _kilobytes(mode["port_bytes"]), _kilobytes(mode["off_chip_bytes"])
    table.add_row("total", ports, off_chip, style="bold")
    return table


def _shown_mode(on_array: ArrayRecord) -> ModeRecord:
    """Bit planes where they are possible; the others are in the JSON."""
    modes = {mode["mode"]: mode for mode in on_array["estimates"]}
    return modes.get("snn_bit_planes", on_array["estimates"][0])


def _energy(on_array: ArrayRecord) -> Table:
    names = list(on_array["estimates"][0]["energy_pj"])
    table = _table(
        "energy a sample, nJ (an estimate: counts of events times figures with a source)"
    )
    table.add_column("mode")
    for name in (*names, "total"):
        table.add_column(name.replace("_", " "), justify="right")
    for mode in on_array["estimates"]:
        energy = Counter(mode["energy_pj"])
        cells = [*(energy[name] for name in names), sum(energy.values())]
        table.add_row(mode["mode"], *(number(cell / 1000) for cell in cells))
    return table


def _skipping(on_array: ArrayRecord) -> Table:
    samples = on_array["skipping_samples"]
    table = _table(
        f"zeros skipped: cycles, mean of exact counts on {samples} test samples (share of the cycles, and of "
        "the energy, with none skipped)"
    )
    table.add_column("mode")
    kinds = list(on_array["estimates"][0]["skipping"])
    for name in ("none", *kinds):
        table.add_column(name.replace("_", " "), justify="right")
    for row in skipping_rows(on_array):
        table.add_row(*row)
    return table


def print_designs(report: Report, console: Console) -> None:
    """The pipeline under each cost profile, and the array in each mode."""
    _print(comparison_table(report["comparison"]).for_terminal(), console)
    console.print(
        "[dim]seconds and joules are estimates, from coefficients of different processes and scopes: their "
        "sources are in the report[/dim]"
    )


def print_sweep(sweeps: Sequence[dict[str, Any]], console: Console) -> None:
    """The unrollings that none beats in both cycles and buffer traffic, and the array's own."""
    for sweep in sweeps:
        table = _table(
            f"unrollings of {sweep['elements']:,} elements, {sweep['mode']}: the best of "
            f"{len(sweep['designs'])} in cycles and buffer traffic"
        )
        for name in ("M", "N", "S", "V", "cycles", "in use", "ports kB", "off chip kB", "nJ"):
            table.add_column(name, justify="right")
        table.add_column("")
        for design in _shown(sweep):
            table.add_row(
                *(str(size) for size in design["unrolling"].values()),
                f"{design['total_cycles']:,}",
                per_cent(design["utilisation"]),
                _kilobytes(design["port_bytes"]),
                _kilobytes(design["off_chip_bytes"]),
                number(design["energy_pj"] / 1000),
                "this array, ports widened" if design["is_own"] else "",
                style="bold" if design["is_own"] else None,
            )
        _print(table, console)
        if sweep["left_out"]:
            console.print(f"[dim]{sweep['left_out']} more need larger buffers[/dim]")


def _shown(sweep: dict[str, Any]) -> Iterable[dict[str, Any]]:
    shown = [d for d in sweep["designs"] if d["on_front"] or d["is_own"]]
    return sorted(shown, key=lambda d: (d["total_cycles"], d["port_bytes"]))


def _kilobytes(size: float) -> str:
    return number(round(size / 1000, 3))


def _print(table: Table, console: Console) -> None:
    """A table under its title; where the output is no terminal, as wide as it needs to be."""
    title, table.title = table.title, None
    console.print(f"\n[italic]{title}[/italic]")
    if not console.is_terminal:
        console = Console(file=console.file, width=_PIPE_WIDTH)
    console.print(table)


def _table(title: str) -> Table:
    return Table(title=title, box=None, padding=(0, 2, 0, 0))
