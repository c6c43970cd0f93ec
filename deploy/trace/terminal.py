"""A trace in a terminal of 80 columns: spikes at a glance, then the sum of each step of each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from rich.console import Console

from deploy.report.markup import shape_text
from deploy.report.tables import MARKS, EachTick, Tag, names, print_table, sentences, tabulate
from deploy.report.terminal_text import escape
from deploy.trace.engines import EngineTrace, Found
from deploy.trace.neurons import neuron_text
from deploy.trace.state import StageState
from deploy.trace.trace import Trace
from toolchain.networks.integer_network import IntegerInput
from toolchain.networks.layer_graph import has_classes

if TYPE_CHECKING:
    from deploy.trace.sources import SourceShare

SPIKE, NO_SPIKE = "|", "."
RECENT_TICKS = 20

_MOST_ROWS = 24
_MOST_SAMPLES = 4
_RASTER_CHARACTERS = 32
_VERDICTS = {
    "equal": "[green]equal[/green]    ",
    "different": "[red]DIFFERENT[/red]",
    "skipped": "[yellow]skipped[/yellow]  ",
}

Cell: TypeAlias = "tuple[str, str | None]"
"""Text and its style."""


def print_trace(
    trace: Trace,
    console: Console,
    *,
    title: str,
    labels: np.ndarray | None,
    engines: Sequence[EngineTrace],
) -> None:
    """Print what was traced, a line per neuron, then each of their steps.

    Args:
        title: of the build and its samples.
        labels: of all samples of the run; None if they have none.
    """
    population = trace.population
    role = ", part of an exact maximum" if getattr(population, "role", "") == "maximum" else ""
    console.print(
        f"[bold]{escape(trace.name)}[/bold] of {escape(title)}: {shape_text(population.shape)} neurons, "
        f"T = {population.timesteps}{role}"
    )
    if not trace.samples:
        console.print(f"{escape(trace.name)} has fired no step yet")
        return
    for line in _sample_lines(trace, labels):
        console.print(escape(line))
    for line in _source_lines(trace):
        console.print(f"[dim]{escape(line)}[/dim]")
    shown = [engine for engine in engines if engine.found is not None]
    if trace.is_done.sum() > 1 and len(trace.neurons) > 1:
        console.print()
        _print_grid(_overview(trace), console)
    if trace.is_done.sum() == 1 and len(trace.neurons) > 1:
        console.print()
        _print_grid(_rows(trace, range(len(trace.neurons)), shown), console)
        return
    for neuron in range(len(trace.neurons)):
        console.print(f"\n{_heading(trace, neuron)}")
        _print_grid(_rows(trace, [neuron], shown), console)
    if trace.is_done.sum() > _MOST_ROWS:
        console.print(f"the last {_MOST_ROWS} of {trace.is_done.sum()} steps; --json has all")


def print_verdicts(engines: Sequence[EngineTrace], console: Console) -> None:
    """One line per other engine: equal to the stepped engine, or the first difference."""
    for engine in engines:
        console.print(
            f"{_VERDICTS[engine.status]}  [bold]{engine.engine}[/bold]: {escape(engine.detail)}"
        )


def print_stop(trace: Trace, state: Sequence[StageState], console: Console) -> None:
    """Where the run stopped, and what every stage does in that tick."""
    stop = trace.stop
    assert stop is not None
    first = max(0, stop.tick - RECENT_TICKS + 1)
    legend = ", ".join(f"{mark} {activity}" for activity, (mark, _) in MARKS.items())
    console.print(f"\n[bold]stopped in tick {stop.tick}[/bold]: {escape(stop.reason)}")
    ticks = f"ticks {first} to {stop.tick}"
    table = tabulate(
        "",
        state,
        names("stage", "stage", lambda s: s.stage),
        names(ticks, ticks, lambda s: EachTick(s.recent)),
        names("state", "state", lambda s: Tag(s.activity)),
        sentences("", "", lambda s: s.reason),
    )
    print_table(table, console)
    console.print(f"[dim]{legend}; the last character is tick {stop.tick}[/dim]")


def print_shares(
    trace: Trace, sample: int, shares: Sequence[Sequence[SourceShare]], console: Console
) -> None:
    """The source neurons that add most to each neuron."""
    for neuron, own in zip(trace.neurons, shares, strict=True):
        who = neuron_text(neuron, trace.population.shape)
        steps = trace.population.timesteps
        in_steps = f"{steps} steps" if steps > 1 else "step"
        console.print(
            f"\nwhat adds most to the input of neuron {who} in the {in_steps} of sample {sample}",
        )
        if not own:
            console.print("no spike of a source reaches it with a weight: the input is its bias")
            continue
        rows: list[list[Cell]] = [_plain("source", "neuron", "c:y:x", "read", "weight", "adds")]
        rows += [
            _plain(
                s.source, f"{s.neuron}", s.place, f"{s.value}", f"{s.weight:+,}", f"{s.amount:+,}"
            )
            for s in own
        ]
        _print_grid(rows, console)


def _sample_lines(trace: Trace, labels: np.ndarray | None) -> list[str]:
    shown = trace.samples[-_MOST_SAMPLES:]
    lines = []
    if len(shown) < len(trace.samples):
        lines.append(f"samples {trace.samples[0]} to {trace.samples[-1]}, the last of them:")
    for sample in shown:
        position = trace.samples.index(sample)
        facts = []
        if labels is not None and np.ndim(labels[sample]) == 0:
            facts.append(f"label {labels[sample]}")
        if has_classes(trace.run.network.readout):
            facts.append(f"predicted {trace.logits[position].argmax()}")
        about = f" ({', '.join(facts)})" if facts else ""
        ticks = trace.ticks[position]
        at = f"tick {ticks[0]}" if len(ticks) == 1 else f"ticks {ticks[0]} to {ticks[-1]}"
        lines.append(f"sample {sample}{about}: {trace.stage(sample)} works on it in {at}")
    return lines


def _source_lines(trace: Trace) -> list[str]:
    """A letter for each source, and what of it a step reads."""
    lines = []
    network = trace.run.network
    for letter, buffer in zip(
        _letters(trace), trace.run.schedule.pipeline.incoming(trace.name), strict=True
    ):
        if isinstance(network[buffer.source], IntegerInput):
            what = "its pixels, the same in every step"
        elif buffer.frames is None:
            what = "its spike counts, the same in every step (average)"
        else:
            frames = ", ".join("none" if frame is None else str(frame) for frame in buffer.frames)
            what = f"the spikes of its steps {frames}, one in each step"
        bias = "; and the bias" if letter == "input" else ""
        lines.append(f"{letter} = from {buffer.source}: {what}{bias}")
    if len(trace.steps.inputs) > 1:
        lines.append(f"input = {' + '.join(_letters(trace))} + bias")
    if trace.steps.threshold is None:
        return [*lines, "after = before + input"]
    return [
        *lines,
        f"reached = before + input; at or above the threshold it spikes: {SPIKE}",
        "after = reached, less the threshold if it spikes",
    ]


def _letters(trace: Trace) -> list[str]:
    """Names of the columns of each source."""
    count = len(trace.steps.inputs)
    return ["input"] if count == 1 else [_letter(index) for index in range(count)]


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else f"a{index}"


def _heading(trace: Trace, neuron: int) -> str:
    steps = trace.steps
    who = neuron_text(trace.neurons[neuron], trace.population.shape)
    facts = [f"bias {steps.bias[neuron]:+,} per step"]
    if steps.threshold is not None:
        facts = [
            f"threshold {steps.threshold[neuron]:,}",
            f"starts at {steps.initial[neuron]:,}",
            *facts,
        ]
    return f"[bold]neuron {who}[/bold]: {', '.join(facts)}"


def _overview(trace: Trace) -> list[list[Cell]]:
    steps = trace.steps
    is_spiking = steps.threshold is not None
    head = ["neuron", "c:y:x"]
    head += ["threshold", "spikes", "count"] if is_spiking else []
    rows = [_plain(*head, "potential" if is_spiking else "logit")]
    last = np.argwhere(trace.is_done)[-1]
    for position, neuron in enumerate(trace.neurons):
        cells = _plain(str(neuron), trace.place(neuron))
        if steps.threshold is not None:
            spikes = steps.spikes[..., position] & trace.is_done
            cells += _plain(f"{steps.threshold[position]:,}")
            cells += [(_raster(trace, spikes), "bold")]
            cells += _plain(str(int(spikes.sum())))
        rows.append([*cells, *_plain(f"{steps.potentials[last[0], last[1], position]:,}")])
    return rows


def _raster(trace: Trace, spikes: np.ndarray) -> str:
    """Spikes of a neuron, a character per step, the samples apart; the last ones if they are many."""
    windows = [
        "".join(SPIKE if spike else NO_SPIKE for spike in own[done])
        for own, done in zip(spikes, trace.is_done, strict=True)
    ]
    text = " ".join(windows)
    if len(text) <= _RASTER_CHARACTERS:
        return text
    return f"..{text[2 - _RASTER_CHARACTERS :]}"


def _rows(trace: Trace, neurons: Sequence[int], engines: Sequence[EngineTrace]) -> list[list[Cell]]:
    """A row per step: where it is, then before + input = reached, spike, and what is left.

    Several sources have a column each, next to the bias.
    """
    steps = trace.steps
    done = np.argwhere(trace.is_done).tolist()[-_MOST_ROWS:]
    several_samples, several_neurons = len(trace.samples) > 1, len(neurons) > 1
    apart = len(steps.inputs) > 1
    is_spiking = steps.threshold is not None
    head = [*(["neuron"] if several_neurons else []), *(["sample"] if several_samples else [])]
    head += ["step", "tick"] + (["threshold"] if several_neurons and is_spiking else [])
    head += ["before", *(_letters(trace) if apart else ["input"])]
    head += ["bias"] if several_neurons and apart else []
    head += ["reached", " ", "after"] if is_spiking else ["after"]
    rows = [_plain(*head, *(engine.engine for engine in engines))]
    before, reached, currents = steps.before, steps.reached, steps.currents
    for neuron in neurons:
        for sample, step in done:
            at = (sample, step, neuron)
            cells = [str(trace.neurons[neuron])] if several_neurons else []
            cells += [str(trace.samples[sample])] if several_samples else []
            cells += [str(step), str(trace.ticks[sample, step])]
            if several_neurons and steps.threshold is not None:
                cells.append(f"{steps.threshold[neuron]:,}")
            cells.append(f"{before[at]:,}")
            if apart:
                cells += [f"{values[at]:+,}" for values in steps.inputs.values()]
                cells += [f"{steps.bias[neuron]:+,}"] if several_neurons else []
            else:
                cells.append(f"{currents[at]:+,}")
            row = _plain(*cells)
            if is_spiking:
                row += [(f"{reached[at]:,}", None), _spike(bool(steps.spikes[at]))]
            row.append((f"{steps.potentials[at]:,}", None))
            row += [_in_engine(trace, e.found, at) for e in engines if e.found is not None]
            rows.append(row)
    return rows


def _spike(spike: bool) -> Cell:
    return (SPIKE, "bold") if spike else (NO_SPIKE, "dim")


def _in_engine(trace: Trace, found: Found, at: tuple[int, int, int]) -> Cell:
    """Spike and potential in another engine, in red if they differ."""
    spike, potential = bool(found.spikes[at]), int(found.potentials[at])
    steps = trace.steps
    same = spike == steps.spikes[at] and potential == steps.potentials[at]
    if found.currents is not None:
        same = same and found.currents[at] == steps.currents[at]
    mark = f" {SPIKE if spike else NO_SPIKE}" if steps.threshold is not None else ""
    return f"{potential:,}{mark}", "green" if same else "bold red"


def _plain(*texts: str) -> list[Cell]:
    return [(text, None) for text in texts]


_LEFT = {"c:y:x", "spikes", "source"}


def _width(rows: Sequence[Sequence[Cell]]) -> int:
    """Characters of a line, with one space between two columns."""
    return sum(max(len(text) for text, _ in column) + 1 for column in zip(*rows, strict=True)) - 1


def _print_grid(rows: Sequence[Sequence[Cell]], console: Console) -> None:
    """Columns as wide as their texts, two spaces apart if there is room; the first row is the heading.

    Where a terminal is too narrow for them, each row becomes a sentence.
    """
    if console.is_terminal and _width(rows) > console.width:
        for row in rows[1:]:
            named = zip(rows[0], row, strict=True)
            parts = (
                _styled(f"{heading} {text}".strip(), style) for (heading, _), (text, style) in named
            )
            console.print(", ".join(parts))
        return
    widths = [max(len(text) for text, _ in column) for column in zip(*rows, strict=True)]
    space = "  " if _width(rows) + len(widths) - 1 <= console.width else " "
    for number, row in enumerate(rows):
        cells = []
        for (text, style), (heading, _), width in zip(row, rows[0], widths, strict=True):
            padded = text.ljust(width) if heading in _LEFT else text.rjust(width)
            cells.append(_styled(padded, "italic" if number == 0 else style))
        console.print(space.join(cells).rstrip())


def _styled(text: str, style: str | None) -> str:
    return f"[{style}]{escape(text)}[/]" if style else escape(text)
