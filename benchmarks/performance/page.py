"""Write ``docs/performance.md`` and its plots from JSON files; no figure is written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from benchmarks.performance.engines import EXACT, FLAT, FLOAT, PEERS_AT
from benchmarks.performance.plot import plot_engines

Row: TypeAlias = Mapping[str, Any]
Document: TypeAlias = Mapping[str, Any]

HEAD = """\
# Performance

`make benchmark` writes this page; the figures are in `performance/`. Each line was measured in a process of
its own. The processes take turns: in each round, one run warms up and one run is timed, so a slow minute of
the machine affects all of them. The tables give the median and, in brackets, the extremes. Every engine and
peer first runs the same samples, and the benchmark stops unless all its spike counts and logits equal those
of the exact engine. Memory is the peak of a run minus what the process held after its imports.

The line below each figure names the command that made it.
"""

MADE_BY = {
    "cpu": "make benchmark",
    "cuda": "python benchmarks/performance --only engines --device cuda",
}
"""The command of the figures of each device."""

PEERS = """\
SpikingJelly and snnTorch run the same integers in their own layers and neurons
(`benchmarks/performance/peers.py`), and pass the spikes of each step through the convolution, as both are
normally used. *Told of averaging*, they sum the spikes of a window before the convolution, which only
averaging alignment allows. The linear work is then done once, as in the exact engine, and the rest is the
cost of their neurons step by step.
"""

ON_GPU = """\
64 samples are too few to keep
the device busy: most of the time of a layer goes into starting its kernels. *All counts* copies them to the
host's memory, which takes longer than computing them. Peers leave theirs on the device, so they are
compared with the exact engine's logits alone.
"""

DEVICES = {"cpu": ("the CPU", PEERS), "cuda": ("a GPU", ON_GPU)}


def write_page(folder: Path) -> Path:
    """Write ``performance.md`` into the parent folder, and a plot for each file of engines into the folder.

    Raises:
        FileNotFoundError: the folder holds no measurement.
    """
    documents = {f.stem: json.loads(f.read_text()) for f in sorted(folder.glob("*.json"))}
    if not documents:
        raise FileNotFoundError(f"{folder} holds no measurement: run a part of the benchmark first")
    sections = [HEAD]
    for device in DEVICES:
        name = f"engines-{device}"
        if name in documents:
            plot_engines(documents[name], folder / f"{name}.png")
            picture = (
                f"![Time per sample against T]({folder.name}/{name}.png)\n\n{_made_by(device)}"
            )
            sections.append(_engines(documents[name], device, picture))
    if "dataset" in documents:
        sections.append(_dataset(documents["dataset"]))
    if "start-up" in documents:
        sections.append(_start_up(documents["start-up"]))
    page = folder.parent / "performance.md"
    page.write_text("\n".join(sections), encoding="utf-8")
    return page


def _engines(document: Document, device: str, picture: str) -> str:
    place, remark = DEVICES[device]
    lines = [f"## Engines and peers on {place}\n", _machine(document), picture, remark]
    for network in dict.fromkeys(row["network"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["network"] == network]
        lines += [
            f"### {network}, 32x32, random weights\n",
            _findings(rows, device == "cpu"),
            _table(rows),
            _made_by(device),
        ]
    return "\n".join(lines)


def _made_by(device: str = "cpu") -> str:
    return f"*Made by `{MADE_BY[device]}`.*\n"


def _findings(rows: Sequence[Row], on_host: bool) -> str:
    """The results of the table as ratios of medians. Peers leave their counts on the device."""
    batch = max(row["samples"] for row in rows)

    def seconds(subject: str, timesteps: str = "mixed", samples: int = batch) -> float:
        return _median(_row(rows, subject, timesteps, samples))

    exact, ann = seconds(EXACT), seconds(FLOAT)
    flat = [seconds(EXACT, str(t)) for t in FLAT]
    memory = [_row(rows, subject, "mixed", batch)["memory_bytes"] for subject in (EXACT, FLOAT)]
    mean = _row(rows, EXACT, "mixed", batch)["mean_timesteps"]
    lines = [
        f"- exact engine, all counts, mean T {mean:.2f}: **{exact / ann:.2f}** x the float ANN's time "
        f"(logits alone: {seconds(f'{EXACT}, logits alone') / ann:.2f} x), "
        f"**{memory[0] / memory[1]:.2f}** x its memory",
        f"- from T = {FLAT[0]} to T = {FLAT[-1]}: between {min(flat) / median(flat) - 1:+.0%} and "
        f"{max(flat) / median(flat) - 1:+.0%} of the median",
    ]
    for result, subject in (
        ("every spike train", f"{EXACT}, spike trains"),
        ("trains and the events of every core in every tick", f"{EXACT}, trains and events"),
    ):
        if any(row["subject"] == subject for row in rows):
            lines.append(f"- with {result}: {seconds(subject) / exact:.1f} x the counts alone")
    for peer in ("SpikingJelly", "snnTorch"):
        for label in map(str, PEERS_AT):
            ours = seconds(EXACT, label) if on_host else seconds(f"{EXACT}, logits alone")
            ratio = seconds(peer, label) / ours
            told = seconds(f"{peer}, told of averaging", label) / ours
            lines.append(
                f"- T = {label}: **{_times(ratio)}** times as fast as {peer} ({ratio / int(label):.1f} T), "
                f"{_times(told)} times when it is told of averaging"
            )
    for row in rows:
        if row["subject"] in ("stepped engine", "Lava on the CPU"):
            ours = seconds(EXACT, row["timesteps"], row["samples"])
            lines.append(
                f"- T = {row['timesteps']}, {row['samples']} samples: **{_median(row) / ours:,.0f}** times "
                f"as fast as the {row['subject']}".replace("the Lava", "Lava")
            )
    return "\n".join(lines) + "\n"


def _table(rows: Iterable[Row]) -> str:
    return _markdown(
        ("what", "T", "samples", "ms per sample", "memory, MB", "same integers"),
        (
            (
                row["subject"],
                "" if row["same"] is None else row["timesteps"],
                row["samples"],
                _spread([1000 * s / row["samples"] for s in row["seconds"]]),
                f"{row['memory_bytes'] / 1e6:,.0f}",
                {None: "", True: "yes"}[row["same"]],
            )
            for row in rows
        ),
    )


def _dataset(document: Document) -> str:
    return "\n".join(
        (
            "## A trained network on a whole test set\n",
            _machine(document),
            f"- {document['model']} (mean T {document['mean_timesteps']:.2f}) on {document['samples']:,} "
            f"images of {document['data']}, {document['accuracy']:.2%} of them correct: "
            f"**{document['seconds_per_1000']:.3f} s** for 1,000 images "
            f"({_spread(document['seconds'])} s in all)",
            f"- **{document['share_outside_convolutions']:.0%}** of that outside convolutions\n",
            _made_by(),
        )
    )


def _start_up(document: Document) -> str:
    rows = (
        (f"`{row['command']}`", _spread(row["seconds"]), f"{row['memory_bytes'] / 1e6:,.0f}")
        for row in document["rows"]
    )
    return "\n".join(
        (
            "## At the command line\n",
            _machine(document),
            f"Whole commands, from start to exit; compiling with a data set of {document['test_images']:,} "
            f"test images, on which it measures accuracy, alignments and events.\n",
            _markdown(("command", "seconds", "memory, MB"), rows),
            _made_by(),
        )
    )


def _machine(document: Document) -> str:
    machine = document["machine"]
    packages = ", ".join(f"{name} {release}" for name, release in machine["packages"].items())
    return (
        f"{machine['device']}, {machine['cores']} cores, {machine['threads']} threads"
        f"{', 8-bit instructions (VNNI)' if machine['vnni'] else ''}; Python {machine['python']}, "
        f"{packages}; batches of {document['batch']}.\n"
        if "batch" in document
        else f"{machine['device']}, {machine['cores']} cores; Python {machine['python']}, {packages}.\n"
    )


def _row(rows: Iterable[Row], subject: str, timesteps: str, samples: int) -> Row:
    wanted = (subject, timesteps, samples)
    return next(r for r in rows if (r["subject"], r["timesteps"], r["samples"]) == wanted)


def _median(row: Row) -> float:
    return median(row["seconds"])


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def _spread(values: Sequence[float]) -> str:
    """The median with three digits, and the extremes."""
    low, high = min(values), max(values)
    return f"{median(values):.3g} [{low:.3g}, {high:.3g}]"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"
