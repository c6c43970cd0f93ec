"""Seconds and peak memory of commands on large networks.

``python tests/measure_bounds.py FOLDER [CASE...]``, where a case is the name of a network, or that name and
the command in which ``MODEL`` stands for its file: ``"chain-200 compile MODEL --optimize stalls"``.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from installed_command import COMMAND
from large_networks import NETWORKS, write_model


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a command used, and how it ended."""

    returncode: int
    processor_s: float
    elapsed_s: float
    peak_mb: float
    stderr: str


def measure(
    *arguments: object, cwd: Path, most_processor_s: int, most_memory: int | None = None
) -> Used:
    """Run the installed command; it is killed if it computes for longer, and has as many bytes of memory."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (most_processor_s,) * 2)
        if most_memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (most_memory,) * 2)

    start = time.monotonic()
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
        # threads that wait for each other would count as work
        env={**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )
    peak = [0.0]
    watching = threading.Thread(target=_watch_peak, args=(process.pid, peak))
    watching.start()
    with process.stderr:
        stderr = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Used(
        returncode=process.returncode,
        processor_s=used.ru_utime + used.ru_stime,
        elapsed_s=time.monotonic() - start,
        peak_mb=_joined_peak(watching, peak),
        stderr=stderr,
    )


def _watch_peak(pid: int, peak: list[float]) -> None:
    """Note the largest resident memory in MiB while a process runs.

    ``ru_maxrss`` would count that of the process it was forked from, too.
    """
    with suppress(OSError):
        while found := re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()):
            peak[0] = int(found[1]) / 1024
            time.sleep(0.02)


def _joined_peak(watching: threading.Thread, peak: list[float]) -> float:
    watching.join()
    return peak[0]


def main(folder: Path, cases: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for case in cases or NETWORKS:
        name, *command = shlex.split(case)
        model = folder / f"{name}.pt"
        if not model.exists():
            write_model(name, model)
        command = command or ["compile", "MODEL", "--out", f"{name}.build"]
        arguments = [model.name if part == "MODEL" else part for part in command]
        used = measure(*arguments, cwd=folder, most_processor_s=300)
        last = used.stderr.strip().splitlines()[-1:] if used.returncode else []
        print(
            f"{case:50} {used.returncode:4} {used.processor_s:6.1f} s of processor time "
            f"{used.elapsed_s:6.1f} s {used.peak_mb:5.0f} MB {' '.join(last)[:200]}",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
