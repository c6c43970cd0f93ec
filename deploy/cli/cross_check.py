"""``qac-deploy cross-check``."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.console import BuildArgument, JsonOption, console, status
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.design.limits import MOST_SHOWN
from deploy.report.tables import Table, names, numbers, print_table, sentences, tabulate
from deploy.report.terminal_text import escape

if TYPE_CHECKING:
    from deploy.check.cross_check import CrossCheck
    from deploy.check.sanafe_quantities import Quantity


def cross_check_command(
    build: BuildArgument,
    samples: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="Test samples to run.")] = 4,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the mapped network in SANA-FE, an independent simulator, and compare all numbers.

    SANA-FE gets only the mapping and the pixels. Its spikes and logits must be equal in every tick. Its event
    counts and energies must be equal apart from differences that are named and recounted. Total time and
    energy must agree within SANA-FE's own reported error on a Loihi board. If not, the exit code is 1.

    Needs the package sanafe: pip install 'qac-deploy[sanafe]'.

    Example: qac-deploy cross-check build/ --samples 4
    """
    from deploy.build.load import load_build
    from deploy.check.cross_check import ENERGY_TOLERANCE, TIME_TOLERANCE, cross_check
    from deploy.check.judged_build import judge

    with status("reading the build", hidden=as_json) as on_stage:
        judged = judge(load_build(build), samples)
        check = cross_check(judged, on_stage)
    note = judged.samples.note
    if as_json:
        print_json(
            {
                **asdict(check),
                "data_note": note,
                "time_error": check.time_error,
                "time_tolerance": TIME_TOLERANCE,
                "energy_error": check.energy_error,
                "energy_tolerance": ENERGY_TOLERANCE,
                "disagreements": check.disagreements,
            }
        )
    else:
        if note is not None:
            console.print(f"[yellow]{escape(note)}[/yellow]")
        _print(check)
    if check.disagreements:
        raise typer.Exit(1)


def _print(check: CrossCheck) -> None:
    from deploy.check.cross_check import ENERGY_TOLERANCE, TIME_TOLERANCE

    console.print(
        f"SANA-FE {version('sanafe')}, its Loihi: {check.samples} samples in {check.num_ticks} ticks; "
        f"{check.copies} copies of each neuron for the samples in flight"
    )
    if check.spike_difference is None:
        console.print(
            f"[green]equal[/green]   {check.num_spikes:,} spikes of every neuron in every tick, all logits"
        )
    if not check.disagreements:
        console.print(
            "[green]agrees[/green]  everything else to the last digit, apart from the differences named below"
        )
    for difference in check.disagreements:
        console.print(f"[red]DIFFERENT[/red]  {escape(difference)}")
    print_table(_quantities("events of the run", check.events, 1, "{:,.0f}"), console)
    energy = [quantity for quantity in check.energy if quantity.ours or quantity.theirs]
    print_table(
        _quantities("energy, nJ per sample", energy, 1e9 / check.samples, "{:,.1f}"), console
    )
    print_table(_times(check), console)
    low, high = check.tick_errors
    console.print(
        f"\nour time {check.time_error:+.1%} of SANA-FE's detailed timing (tolerance "
        f"{TIME_TOLERANCE:.1%}; single ticks {low:+.0%} to {high:+.0%}), our energy "
        f"{check.energy_error:+.1%} (tolerance {ENERGY_TOLERANCE:.1%})"
    )


def _quantities(title: str, quantities: list[Quantity], scale: float, shown: str) -> Table:
    def more(quantity: Quantity) -> str:
        if not quantity.reason:
            return ""
        return f"{quantity.theirs / quantity.ours - 1:+.1%}" if quantity.ours else "more"

    return tabulate(
        title,
        quantities,
        names("", "", lambda q: q.name),
        numbers("here", "here", lambda q: shown.format(q.ours * scale)),
        numbers("SANA-FE", "SANA-FE", lambda q: shown.format(q.theirs * scale)),
        numbers("", "", more),
        sentences("why", "why", lambda q: q.reason),
    )


def _times(check: CrossCheck) -> Table:
    totals = {name: f"{sum(ticks):,.1f}" for name, ticks in check.tick_us.items()}
    *to_simple, to_detailed = (
        (f"  {step.reason}", f"{step.difference_us:+,.1f}") for step in check.time_steps
    )
    rows = [
        ("here", totals["ours"]),
        *to_simple,
        ("SANA-FE, simple timing", totals["simple"]),
        to_detailed,
        ("SANA-FE, detailed timing", totals["detailed"]),
    ]
    return tabulate(
        "time of the run, us",
        rows,
        sentences("", "", lambda row: row[0]),
        numbers("", "", lambda row: row[1]),
    )
