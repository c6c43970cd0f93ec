"""``qac-deploy verify``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from deploy.cli.console import (
    BuildArgument,
    JsonOption,
    LavaPythonOption,
    console,
    status,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.design.limits import MOST_SHOWN
from deploy.report.terminal_text import escape

_MARKS = {
    "equal": "[green]equal[/green]    ",
    "different": "[red]DIFFERENT[/red]",
    "skipped": "[yellow]skipped[/yellow]  ",
}


def verify_command(
    build: BuildArgument,
    samples: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="Test samples per rung.")] = 4,
    lava_python: LavaPythonOption = None,
    rtl: Annotated[
        bool,
        typer.Option(
            "--rtl",
            help="Also simulate the PE array's SystemVerilog in Verilator or Icarus. The first compilation "
            "takes about a minute.",
        ),
    ] = False,
    rtl_cycles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most RTL cycles to simulate, shortest kernels first (default: about 20 s of simulation).",
        ),
    ] = None,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every step from the model file to each engine, integer by integer.

    The rungs: every file of the build is compared with its digest; the model is lowered again; every core
    computes from its own axons, synapse lists and buffer slots; the Lava bundle is read back and run; the
    PE array computes in its own loop order, and with --rtl in SystemVerilog, cycle by cycle; the figures of
    the report are computed again, but not those of other designs.

    If a rung differs, the first difference is printed (the file, or population, neuron, timestep and both
    values) and the exit code is 1.

    Example: qac-deploy verify build/ --rtl
    """
    from deploy.backends.lava.environment import find_lava_python
    from deploy.build.load import read_build
    from deploy.build.one_folder import of_one_folder
    from deploy.check.judged_build import judge
    from deploy.check.verify import RtlLimit, Rung, compare_files, verify
    from hw_models.pe_array.rtl.driver.simulator import RTL_CYCLES, preferred_simulator

    limit = None
    if rtl or rtl_cycles is not None:
        simulator = preferred_simulator()  # or refuse before all other rungs have run
        limit = RtlLimit(simulator=simulator, cycles=rtl_cycles or RTL_CYCLES[simulator])
    rungs: list[Rung] = []

    def show(rung: Rung) -> None:
        rungs.append(rung)
        if not as_json:
            console.print(f"{_MARKS[rung.status]}  [bold]{rung.name}[/bold]: {escape(rung.detail)}")

    with status("reading the build", hidden=as_json) as on_stage:
        files, contents = of_one_folder(build, lambda: (compare_files(build), read_build(build)))
        show(files)
        loaded = judge(contents, samples)
        if loaded.samples.note is not None and not as_json:
            console.print(f"[yellow]{escape(loaded.samples.note)}[/yellow]")
        for rung in verify(
            loaded,
            lambda: find_lava_python(lava_python),
            on_stage,
            limit,
        ):
            show(rung)
    if as_json:
        print_json(
            {
                "samples": len(loaded.pixels),
                "data_note": loaded.samples.note,
                "rungs": [asdict(rung) for rung in rungs],
            }
        )
    if any(rung.status == "different" for rung in rungs):
        raise typer.Exit(1)
