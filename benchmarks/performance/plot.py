"""Plot the time per sample over T, for each network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

from benchmarks.performance.engines import EXACT, FLAT, FLOAT

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

STYLES = {
    EXACT: ("#d55e00", "o", "-"),
    FLOAT: ("#000000", None, "--"),
    "SpikingJelly": ("#0072b2", "s", "-"),
    "SpikingJelly, told of averaging": ("#0072b2", "s", ":"),
    "snnTorch": ("#009e73", "^", "-"),
    "snnTorch, told of averaging": ("#009e73", "^", ":"),
    "stepped engine": ("#777777", "D", "-"),
    "Lava on the CPU": ("#cc79a7", "*", "-"),
}


def plot_engines(document: Mapping[str, Any], path: Path) -> None:
    """One panel per network; both axes are logarithmic, so a slope of one is time in proportion to T."""
    networks = list(dict.fromkeys(row["network"] for row in document["rows"]))
    figure, panels = plt.subplots(1, len(networks), figsize=(11, 4.6), sharey=True, squeeze=False)
    for panel, network in zip(panels[0], networks, strict=True):
        _panel(panel, [row for row in document["rows"] if row["network"] == network], document)
        panel.set_title(f"{network}, 32x32")
    panels[0][0].set_ylabel("ms per sample")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(panel: Axes, rows: list[Mapping[str, Any]], document: Mapping[str, Any]) -> None:
    for subject, (colour, marker, line) in STYLES.items():
        points = {
            int(row["timesteps"]): 1000 * median(row["seconds"]) / row["samples"]
            for row in rows
            if row["subject"] == subject and row["timesteps"] != "mixed"
            if subject != EXACT or row["samples"] == document["batch"]
        }
        if subject == FLOAT:
            (ann,) = (row for row in rows if row["subject"] == FLOAT)
            level = 1000 * median(ann["seconds"]) / ann["samples"]
            points = dict.fromkeys((FLAT[0], FLAT[-1]), level)
        if points:
            panel.plot(
                list(points), list(points.values()), color=colour, marker=marker, linestyle=line,
                label=subject,
            )  # fmt: skip
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xticks(FLAT, map(str, FLAT))
    panel.set_xlabel("timesteps T of every population")
    panel.grid(True, which="major", alpha=0.3)
