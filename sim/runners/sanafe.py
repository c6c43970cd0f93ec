"""Run an export to SANA-FE in its own process, and read the result."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.child_process import last_lines, run_child
from toolchain.errors import SanafeError
from toolchain.files.whole_files import scratch_folder

TIMING_MODELS = ("simple", "detailed")


@dataclass(frozen=True, kw_only=True, eq=False)
class SanafeRun:
    """SANA-FE's results and estimates for each of R ticks.

    Attributes:
        spikes: spikes of each population, rows (tick, copy, neuron), int64.
        pixel_spikes: number of spikes that the host sends in each tick, shape ``(R,)``.
        logits: shape ``(K, classes)``.
        messages: rows (tick, source tile, core in it, target tile, core in it, synapses, hops east-west,
            hops north-south), int64.
        counts: ``fired``, ``updated``, ``spikes`` (synaptic events), ``hops``; each of shape ``(R,)``.
        energy_j: ``synapse``, ``dendrite``, ``soma``, ``network``, ``total``; each of shape ``(R,)``.
        tick_s: duration of each tick under each timing model, shape ``(R,)``.
    """

    spikes: Mapping[str, np.ndarray]
    pixel_spikes: np.ndarray
    logits: np.ndarray
    messages: np.ndarray
    counts: Mapping[str, np.ndarray]
    energy_j: Mapping[str, np.ndarray]
    tick_s: Mapping[str, np.ndarray]


def run_sanafe(folder: Path) -> SanafeRun:
    """Run an exported folder's ``run.py`` under all of ``TIMING_MODELS``.

    Raises:
        SanafeError: the run failed; the message includes SANA-FE's own.
    """
    with scratch_folder() as scratch:
        result = scratch / "result.npz"
        script = Path(folder).resolve() / "run.py"
        command = [sys.executable, "-I", str(script), "--out", str(result)]
        run = run_child([*command, "--timing", *TIMING_MODELS], folder=scratch)
        if run.returncode != 0 or not result.exists():
            raise SanafeError(
                f"{folder}: the run in SANA-FE failed with exit code {run.returncode}",
                further=last_lines(run.stderr),
            )
        with np.load(result, allow_pickle=False) as archive:
            return sanafe_run({name: archive[name] for name in archive.files})


def sanafe_run(arrays: Mapping[str, np.ndarray]) -> SanafeRun:
    """The result in the arrays that ``run.py`` wrote under all of ``TIMING_MODELS``."""
    first = TIMING_MODELS[0]  # counts and energies are the same under all

    def group(prefix: str) -> dict[str, np.ndarray]:
        return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}

    return SanafeRun(
        spikes={
            name.removesuffix("/spike_ticks"): rows
            for name, rows in arrays.items()
            if name.endswith("/spike_ticks")
        },
        pixel_spikes=arrays["pixel_spikes"],
        logits=arrays["logits"],
        messages=arrays["messages"],
        counts={name: arrays[f"{first}/{name}"] for name in ("fired", "updated", "spikes", "hops")},
        energy_j={
            name.removesuffix("_energy"): values
            for name, values in group(f"{first}/").items()
            if name.endswith("_energy")
        },
        tick_s={timing: arrays[f"{timing}/sim_time"] for timing in TIMING_MODELS},
    )
