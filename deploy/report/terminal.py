"""The report in a terminal: the summary of a build, and the PE array in full."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from deploy.design.pace import every_ticks
from deploy.report.array_findings import findings, headline, refusal_line, silicon
from deploy.report.array_records import SweepRecord
from deploy.report.array_tables import (
    energy_table,
    layers_table,
    mode_table,
    shown_mode,
    skipping_table,
    sweep_table,
    waits_table,
)
from deploy.report.lowering import lowering_sentences, lowering_table
from deploy.report.max_pooling import max_pooling_sentence
from deploy.report.outputs import NO_ACCURACY, accuracy_sentence, output_sentences
from deploy.report.pipeline_tables import (
    IN_SUMMARY,
    comparison_table,
    designs_table,
    stages_table,
)
from deploy.report.records import CostRecord, MappingRecord, Report
from deploy.report.suggestions import effects
from deploy.report.tables import MARKS, print_table
from deploy.report.terminal_text import escape
from hw_models.multicore.cost.tick_cost import TIMES

MOST_SUGGESTED = 3
"""Suggestions in the terminal; the report has all of them."""

_ESTIMATES = (
    "[dim]estimates, from coefficients of different processes and scopes: their sources are in the "
    "report[/dim]"
)


def print_summary(report: Report, console: Console) -> None:
    """Populations with T_l, cores and stalls, then the interval and what would change it."""
    pipeline = report["pipeline"]
    console.print(
        f"[bold]{escape(report['model']['file'])}[/bold] on [bold]{escape(report['target']['name'])}[/bold]: "
        f"{_timesteps(report)}, {_cores(report['mapping'])}"
    )
    if fidelity := report["fidelity"]:
        data = report["data"] or ""
        sentence = accuracy_sentence(fidelity, data)
        if sentence is None:
            sentence = f"no accuracy on {fidelity['samples']} test samples of {data}: {NO_ACCURACY}"
        for line in (sentence, *output_sentences(fidelity)):
            console.print(escape(line))
    if report["lowering"]["steps"]:
        print_table(lowering_table(report), console)
    for line in lowering_sentences(report):
        console.print(f"[dim]{escape(line)}[/dim]")
    for line in report["data_contents"]:
        console.print(f"  [dim]data: {escape(line)}[/dim]")
    if note := report["data_note"]:
        console.print(f"[yellow]{escape(note)}[/yellow]")
    print_table(stages_table(report), console)
    legend = ", ".join(
        f"[{colour}]{mark}[/{colour}] {name}" for name, (mark, colour) in MARKS.items()
    )
    console.print(f"run shown: {pipeline['samples']} samples; {legend}")
    if max_pooling := max_pooling_sentence(report):
        console.print(escape(max_pooling))
    console.print(
        f"\nfirst result after [bold]{pipeline['first_latency_ticks']}[/bold] ticks, then one "
        f"[bold]{every_ticks(pipeline['interval_exact'])}[/bold] (longest firing window: "
        f"{pipeline['ideal_interval_ticks']:g})"
    )
    console.print(f"limit: {escape(pipeline['explanation'])}")
    console.print(
        f"in the steady state a stage stalls {pipeline['stall_share']:.0%} of the time; with these firing "
        f"windows no buffers bring it below {pipeline['least_stall_share']:.0%}"
    )
    for profile, cost in report["costs"].items():
        console.print(_pace(profile, cost))
        without = report["asynchronous"][profile]["interval_s"]
        console.print(
            f"  without a barrier, if each core waits for its neighbours only: a result every "
            f"{without * 1e6:,.1f} us instead of {cost['interval_s'] * 1e6:,.1f}"
        )
    if report["design_points"]:
        print_table(designs_table(report), console)
    _print_suggestions(report, console)
    if refusal := refusal_line(report["pe_array"]):
        console.print(f"[yellow]{escape(refusal)}[/yellow]")
    if report["comparison"]:
        print_table(comparison_table(report["comparison"]).only(*IN_SUMMARY), console)
        console.print(_ESTIMATES)


def _print_suggestions(report: Report, console: Console) -> None:
    """The changes that help most, each with its command and what that gives."""
    suggestions, left_out = report["suggestions"], report["suggestions_left_out"]
    if not suggestions:
        nothing = "no single change makes it faster, smaller or more efficient"
        console.print(nothing if left_out is None else escape(left_out))
        return
    profiles = ", ".join(report["costs"])
    order = f" (us and nJ: {escape(profiles)})" * bool(profiles)
    console.print(f"\n[bold]what to change[/bold]{order}")
    for suggestion in suggestions[:MOST_SUGGESTED]:
        effect = "; ".join(effects(report, suggestion))
        console.print(f"  {escape(suggestion['change'])}: {effect}")
        console.print(f"    [bold]{escape(suggestion['command'])}[/bold]", soft_wrap=True)
    more = len(suggestions) - MOST_SUGGESTED
    if more > 0:
        console.print(f"  {more} more in the report")
    if left_out:
        console.print(f"  {escape(left_out)}")


def print_array(report: Report, sweeps: Sequence[SweepRecord], console: Console) -> None:
    """The array of a report layer by layer and as a whole, its sweeps, and the pipeline next to it."""
    on_array = report["pe_array"]
    console.print(escape(headline(on_array)))
    tables = [
        layers_table(report),
        waits_table(on_array),
        mode_table(shown_mode(on_array)),
        energy_table(on_array),
    ]
    if on_array["skipping_samples"]:
        tables.append(skipping_table(on_array))
    for table in tables:
        print_table(table, console)
    console.print()
    for sentence in (*findings(on_array), silicon(on_array)):
        console.print(sentence)
    for sweep in sweeps:
        print_table(sweep_table(sweep), console)
        if sweep["left_out"]:
            console.print(f"[dim]{sweep['left_out']} more need larger buffers[/dim]")
    print_table(comparison_table(report["comparison"]), console)
    console.print(_ESTIMATES)


def _pace(profile: str, cost: CostRecord) -> str:
    """The shares of the cores' time, and the population whose cores are slowest most of the time."""
    times = cost["times"]
    slowest = max(times, key=lambda name: times[name]["pace_s"])
    cores = cost["core_times"]
    computing, imbalance, mesh = (
        sum(c[TIMES.index(kind)] for c in cores) / len(cores)
        for kind in ("computing", "imbalance", "mesh")
    )
    pace = times[slowest]["pace_s"] / (cost["interval_s"] * (1 - cost["barrier_share"]))
    return (
        f"time ({profile}): a core computes {computing / cost['interval_s']:.0%}, waits "
        f"{imbalance / cost['interval_s']:.0%} for slower cores while it fires and "
        f"{mesh / cost['interval_s']:.0%} for spikes in the mesh, barriers take "
        f"{cost['barrier_share']:.0%}; {escape(slowest)} sets the pace {pace:.0%} of the time"
    )


def _timesteps(report: Report) -> str:
    if not any(population["kind"] == "spiking" for population in report["populations"]):
        return "no spiking population: the readout adds up the pixels' integers"
    return f"mean T {report['mean_timesteps']:.2f}"


def _cores(mapping: MappingRecord) -> str:
    chips = mapping["num_chips"]
    return f"{mapping['num_cores']:,} cores" + (f" on {chips} chips" if chips > 1 else "")
