"""``qac-deploy verify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, console, print_json, show_stage

_MARKS = {
    "equal": "[green]equal[/green]    ",
    "different": "[red]DIFFERENT[/red]",
    "skipped": "[yellow]skipped[/yellow]  ",
}


def verify_command(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    samples: Annotated[int, typer.Option(min=1, help="Test samples on every rung.")] = 4,
    lava_python: Annotated[
        Path | None, typer.Option(help="Python 3.10 interpreter that has lava-nc.")
    ] = None,
    rtl: Annotated[
        bool,
        typer.Option(
            "--rtl",
            help="Also simulate the PE array's SystemVerilog in Verilator or Icarus; its first compilation "
            "takes about a minute.",
        ),
    ] = False,
    rtl_cycles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cycles of the RTL to simulate, the shortest passes first; about 20 s by default.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every step from the model file to each engine, integer by integer.

    Every file of the build is compared with its digest; the model is lowered again; every core computes from
    its own axons, synapse lists and buffer slots; the Lava bundle is read back and run; the PE array
    computes in its own loop order, and with --rtl in its SystemVerilog, cycle by cycle. Exit code 1 where a
    rung differs, with the first difference: file, or population, neuron, timestep and both values.

    Example: [bold]qac-deploy verify build/ --rtl[/bold]
    """
    from deploy.backends.lava.environment import find_lava_python
    from deploy.build.load import read_build
    from deploy.check.judged_build import judge
    from deploy.check.verify import RTL_CYCLES, RtlLimit, Rung, compare_files, verify
    from hw_models.pe_array.rtl.driver.simulator import preferred_simulator

    limit = None
    if rtl or rtl_cycles is not None:
        simulator = preferred_simulator()  # or refuse before all other rungs have run
        limit = RtlLimit(simulator=simulator, cycles=rtl_cycles or RTL_CYCLES[simulator])
    rungs: list[Rung] = []

    def show(rung: Rung) -> None:
        rungs.append(rung)
        if not as_json:
            console.print(f"{_MARKS[rung.status]}  [bold]{rung.name}[/bold]: {escape(rung.detail)}")

    with console.status("reading the build") as status:
        if as_json:
            status.stop()
        show(compare_files(build))
        loaded = judge(read_build(build), samples)
        for rung in verify(
            loaded,
            lambda: find_lava_python(lava_python),
            show_stage(status),
            limit,
        ):
            show(rung)
    if as_json:
        print_json({"samples": len(loaded.pixels), "rungs": [asdict(rung) for rung in rungs]})
    if any(rung.status == "different" for rung in rungs):
        raise typer.Exit(1)
