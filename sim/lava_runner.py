"""Run an emitted Lava bundle in its own interpreter and read its result."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hw_models.multicore.pipeline import stage_name
from sim.simulation import Simulation
from toolchain.errors import LavaError

_ACTIVITIES = ("busy", "starved", "blocked", "drained")  # order of the bundle's counters
_NUM_REQUESTS, _REQUEST_INTERVAL_S = 20, 0.25
_TAIL_LINES = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class LavaRun:
    """Integers and ticks of a run over K samples.

    Attributes:
        step_ticks: per population the tick of each step, int64 of shape ``(K, T_l)``.
        stalls: per stage its busy, starved, blocked and drained ticks; they sum to the run.
    """

    simulation: Simulation
    step_ticks: Mapping[str, np.ndarray]
    stalls: Mapping[str, Mapping[str, int]]


def run_lava(
    bundle: Path,
    pixels: np.ndarray,
    *,
    num_ticks: int,
    python: Path,
    timeout_s: float | None = None,
) -> LavaRun:
    """Run samples through a bundle's ``run.py``.

    Args:
        pixels: integers of shape ``(K, C, H, W)``.
        num_ticks: length of the run, enough for all samples.
        python: an interpreter that has lava-nc.
        timeout_s: seconds after which the run is ended; unlimited by default.

    Raises:
        LavaError: the run failed or took too long; nothing of it is left behind.
    """
    with tempfile.TemporaryDirectory(prefix="qac-deploy-lava-") as folder:
        samples, result = Path(folder) / "samples.npz", Path(folder) / "result.npz"
        np.savez(samples, pixels=pixels)
        command = [
            str(python), "-I", str(Path(bundle).resolve() / "run.py"),
            "--samples", str(samples), "--ticks", str(num_ticks), "--out", str(result),
        ]  # fmt: skip
        status, said = _run_in_own_group(command, folder, timeout_s)
        tail = "\n".join(said.strip().splitlines()[-_TAIL_LINES:])
        if status is None:
            raise LavaError(
                f"{bundle}: the Lava run took more than {timeout_s:g} s and was ended; "
                f"use fewer samples or a longer time\n{tail}"
            )
        if status != 0 or not result.exists():
            raise LavaError(f"{bundle}: the Lava run failed with exit code {status}\n{tail}")
        return _read_result(result)


def _run_in_own_group(
    command: list[str], folder: str, timeout_s: float | None
) -> tuple[int | None, str]:
    """Exit code of a command (None after a timeout) and its stderr.

    No process of its group outlives this call. All of them inherit stderr, so its end is theirs.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise LavaError(f"{command[0]}: cannot be started ({error})") from error
    try:
        _, said = process.communicate(timeout=timeout_s)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        return None, _end_group(process)
    except BaseException:
        _end_group(process)
        raise


def _end_group(process: subprocess.Popen[str]) -> str:
    """End a process group and return its stderr.

    It is asked first, since its shared memory is freed only then, and more than once, since a process
    that is just being forked loses a signal.
    """
    for ending in (*[signal.SIGTERM] * _NUM_REQUESTS, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_REQUEST_INTERVAL_S)[1]
    return ""


def _read_result(path: Path) -> LavaRun:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}

    def group(field: str) -> dict[str, np.ndarray]:
        end = f"/{field}"  # an archive takes a name that ends in .npy for another's, so names come first
        return {n.removesuffix(end): a for n, a in arrays.items() if n.endswith(end)}

    return LavaRun(
        simulation=Simulation(
            logits=arrays["logits"], counts=group("counts"), trains=group("trains")
        ),
        step_ticks=group("step_ticks"),
        stalls={
            stage_name(name, replica, len(counters)): dict(zip(_ACTIVITIES, ticks, strict=True))
            for name, counters in group("stalls").items()
            for replica, ticks in enumerate(counters.tolist())
        },
    )
