"""Run an emitted Lava bundle in its own interpreter, and read the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired

import numpy as np

from hw_models.multicore.pipeline.pipeline import stage_name
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES
from sim.results import Simulation
from toolchain.child_process import last_lines, run_child
from toolchain.errors import LavaError
from toolchain.files.whole_files import scratch_folder, shared_memory_name


@dataclass(frozen=True, kw_only=True, eq=False)
class LavaRun:
    """Integers and ticks of a run over K samples.

    Attributes:
        step_ticks: per population the tick of each step, int64 of shape ``(K, T_l)``.
        stalls: per stage its busy, starved, blocked and drained ticks; they sum to the run.
        currents, potentials: of probed neurons, input of each step and potential after it, by population,
            int64 ``(K, T_l, neurons)``.
    """

    simulation: Simulation
    step_ticks: Mapping[str, np.ndarray]
    stalls: Mapping[str, Mapping[str, int]]
    currents: Mapping[str, np.ndarray] = field(default_factory=dict)
    potentials: Mapping[str, np.ndarray] = field(default_factory=dict)


def run_lava(
    bundle: Path,
    pixels: np.ndarray,
    *,
    num_ticks: int,
    python: Path,
    sources: Path | None = None,
    network: Path | None = None,
    timeout_s: float | None = None,
    probes: Mapping[str, Sequence[int]] | None = None,
) -> LavaRun:
    """Run samples through the network of a bundle.

    Args:
        pixels: integers of shape ``(K, C, H, W)``.
        num_ticks: length of the run, enough for all samples.
        python: an interpreter that has lava-nc.
        sources: folder of ``run.py`` and of all that it imports, the bundle by default. If it is given,
            nothing in the bundle is executed.
        network: folder of its ``network.json`` and ``weights.npz``, the bundle by default.
        timeout_s: seconds after which the run is ended; unlimited by default.
        probes: neurons to record, by name of their population.

    Raises:
        LavaError: the run failed or took too long; it leaves no process and no file.
    """
    bundle = Path(bundle).resolve()
    with scratch_folder() as folder:
        samples, result = folder / "samples.npz", folder / "result.npz"
        np.savez(samples, pixels=pixels)
        command = [
            str(python), "-I", str((sources or bundle) / "run.py"), "--network", str(network or bundle),
            "--samples", str(samples), "--ticks", str(num_ticks), "--out", str(result),
            "--memory-name", shared_memory_name(folder),
        ]  # fmt: skip
        for name, neurons in (probes or {}).items():
            command.append(f"--probe={name}:{','.join(str(neuron) for neuron in neurons)}")
        try:
            run = run_child(command, folder=folder, timeout_s=timeout_s)
        except OSError as error:
            raise LavaError(f"{command[0]}: cannot be started ({error})") from error
        except TimeoutExpired as late:
            raise LavaError(
                f"{bundle}: the Lava run took more than {timeout_s:g} s and was ended; "
                f"use fewer samples or a longer time",
                further=last_lines(late.stderr),
            ) from None
        if run.returncode != 0 or not result.exists():
            raise LavaError(
                f"{bundle}: the Lava run failed with exit code {run.returncode}",
                further=last_lines(run.stderr),
            )
        return _read_result(result)


def _read_result(path: Path) -> LavaRun:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}

    def group(field: str) -> dict[str, np.ndarray]:
        end = f"/{field}"  # at the end, as an archive drops .npy there, even that of a population's name
        return {n.removesuffix(end): a for n, a in arrays.items() if n.endswith(end)}

    return LavaRun(
        simulation=Simulation(
            logits=arrays["logits"], counts=group("counts"), trains=group("trains")
        ),
        step_ticks=group("step_ticks"),
        stalls={
            stage_name(name, replica, len(counters)): dict(zip(ACTIVITIES, ticks, strict=True))
            for name, counters in group("stalls").items()
            for replica, ticks in enumerate(counters.tolist())
        },
        currents=group("currents"),
        potentials=group("potentials"),
    )
