"""Write the tables and the plot of ``docs/post-training.md`` from the JSON files of the measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.post_training.float_networks import NETWORKS

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TIMESTEPS = (4, 8, 16, 32)
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
MISSING = "not measured"
NAMES = {
    "ours": "mixed T",
    "uniform": "uniform T",
    "fine-tuned": "mixed T and one epoch of `--finetune`",
}
"""What a part of the benchmark measures."""


def write_page(docs: Path) -> None:
    """Replace what lies between two marks of the page, and draw the plot."""
    folder = docs / "post-training"
    found = {file.stem: json.loads(file.read_text("utf-8")) for file in folder.glob("*.json")}
    parts = []
    for key in NETWORKS:
        if any(name.startswith(f"{key}-ours") for name in found):
            parts += [_accuracies(key, found), _steps(key, found)]
    _plot(found, folder / "accuracy.png")
    page = docs / "post-training.md"
    text = page.read_text("utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    versions = ", ".join(
        sorted({f"qac-deploy {of['qac-deploy']}" for of in found.values() if "qac-deploy" in of})
    )
    made_by = f"*Made by `python benchmarks/post_training`{versions and f' ({versions})'}.*"
    measured = "\n\n".join(f"{part}\n\n{made_by}" for part in parts)
    page.write_text(f"{before}{START}\n\n{measured}\n\n{END}{after}", "utf-8")


def _compared(result: dict[str, Any]) -> dict[str, Any]:
    """Accuracies on the images that all methods were measured on."""
    return result.get("compared") or {**result["test"], "integer": result["integer"]}


def _accuracies(key: str, found: dict[str, Any]) -> str:
    """One line per method, one column per budget."""
    first = _of(found, *(f"{key}-ours-{t}" for t in TIMESTEPS))
    test = _compared(first)
    lines = [
        f"### {NETWORKS[key].name}",
        "",
        f"Accuracy in percent on the first {test['samples']:,} test images. The float network has "
        f"{100 * test['float_network']:.2f}.",
        "",
        *_header("method", "mean T"),
    ]
    for part, name in NAMES.items():
        results = [found.get(f"{key}-{part}-{t}") for t in TIMESTEPS]
        if any(results):
            compared = [r and _compared(r) for r in results]
            lines.append(_row(f"{name}, in float", [r and 100 * r["converted"] for r in compared]))
            lines.append(
                _row(f"{name}, 8-bit integers", [r and 100 * r["integer"] for r in compared])
            )
    for part in ("ours", "uniform"):
        results = [found.get(f"{key}-{part}-{t}") for t in TIMESTEPS]
        tests = [r["test"] for r in results if r]
        if len(tests) == len(TIMESTEPS) and {t["samples"] for t in tests} == {test["samples"]}:
            percent = [100 * t["agreement"] for t in tests]
            lines.append(_row(f"{NAMES[part]}: same class as the float network", percent))
    peer = found.get(f"{key}-spikingjelly")
    for mode, by_steps in peer["accuracy"].items() if peer else ():
        lines.append(_row(f"SpikingJelly, {mode}", [100 * by_steps[str(t)] for t in TIMESTEPS]))
    if first["test"]["samples"] != test["samples"]:
        results = [found.get(f"{key}-ours-{t}") for t in TIMESTEPS]
        lines += [
            "",
            f"On all {first['test']['samples']:,} test images, where the float network has "
            f"{100 * first['test']['float_network']:.2f}:",
            "",
            *_header("method", "mean T"),
            _row("mixed T, in float", [r and 100 * r["test"]["converted"] for r in results]),
            _row("mixed T, 8-bit integers", [r and 100 * r["integer"] for r in results]),
        ]
    seconds = [
        found[f"{key}-ours-{t}"]["core_seconds"] for t in TIMESTEPS if f"{key}-ours-{t}" in found
    ]
    lines += [
        "",
        f"A conversion takes {min(seconds):.0f} to {max(seconds):.0f} seconds of one core, with the "
        "accuracy on test images.",
    ]
    return "\n".join(lines)


def _header(first: str, budget: str) -> list[str]:
    columns = " | ".join(f"{budget} = {t}" for t in TIMESTEPS)
    return [f"| {first} | {columns} |", "|---|" + "---|" * len(TIMESTEPS)]


def _row(name: str, values: list[float | None]) -> str:
    cells = [MISSING if value is None else f"{value:.2f}" for value in values]
    return f"| {name} | " + " | ".join(cells) + " |"


def _of(found: dict[str, Any], *names: str) -> Any:
    return next((found[name] for name in names if name in found), None)


def _steps(key: str, found: dict[str, Any]) -> str:
    """What each step gained, by budget."""
    lines = [
        f"What each step gained for the {NETWORKS[key].name}: error of the logits on held-out images, in "
        "thousandths of a bit. A step in brackets was undone.",
        "",
        *_header("step", "mean T"),
    ]
    runs = {t: found.get(f"{key}-ours-{t}") for t in TIMESTEPS}
    names = [s["name"] for s in _of(found, *(f"{key}-ours-{t}" for t in TIMESTEPS))["steps"]]
    for name in names[1:]:
        cells = []
        for run in runs.values():
            step = next((s for s in run["steps"] if s["name"] == name), None) if run else None
            value = MISSING if step is None else f"{1000 * step['logit_error']:.2f}"
            cells.append(value if step is None or step["kept"] else f"({value})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    uniform = [found.get(f"{key}-uniform-{t}") for t in TIMESTEPS]
    if any(uniform):
        errors = [
            r and 1000 * [s["logit_error"] for s in r["steps"] if s["kept"]][-1] for r in uniform
        ]
        lines.append(_row("in the end with uniform T", errors))
    return "\n".join(lines)


def _plot(found: dict[str, Any], path: Path) -> None:
    """Accuracy over mean T: the float network, ours with mixed and uniform T, and the best of the peer."""
    keys = [key for key in NETWORKS if any(name.startswith(f"{key}-ours") for name in found)]
    figure, panels = plt.subplots(1, len(keys), figsize=(5.4 * len(keys), 4.2), squeeze=False)
    for panel, key in zip(panels[0], keys, strict=True):
        for part, colour, marker, line, label in (
            ("ours", "#d55e00", "o", "-", "ours, mixed T"),
            ("uniform", "#d55e00", "o", ":", "ours, uniform T"),
        ):
            points = {
                t: 100 * _compared(found[f"{key}-{part}-{t}"])["converted"]
                for t in TIMESTEPS
                if f"{key}-{part}-{t}" in found
            }
            if points:
                panel.plot(
                    list(points),
                    list(points.values()),
                    color=colour,
                    marker=marker,
                    linestyle=line,
                    label=label,
                )
        peer = found.get(f"{key}-spikingjelly")
        if peer is not None:
            best = [100 * max(m[str(t)] for m in peer["accuracy"].values()) for t in TIMESTEPS]
            panel.plot(
                TIMESTEPS,
                best,
                color="#0072b2",
                marker="s",
                label="SpikingJelly, best mode at each T",
            )
        test = _compared(_of(found, *(f"{key}-ours-{t}" for t in TIMESTEPS)))
        panel.axhline(
            100 * test["float_network"], color="black", linestyle="--", label="float network"
        )
        panel.set_xscale("log", base=2)
        panel.set_xticks(TIMESTEPS, [str(t) for t in TIMESTEPS])
        panel.set_xlabel("mean timesteps T")
        panel.set_title(f"{NETWORKS[key].name}, Fashion-MNIST")
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right", frameon=False, fontsize=9)
    panels[0][0].set_ylabel("accuracy in percent")
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=130)
    plt.close(figure)
