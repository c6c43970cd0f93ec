"""Seconds and peak memory of commands on large networks: ``python tests/measure_bounds.py [CASE...]``."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

from installed_command import COMMAND
from large_networks import NETWORKS, write_model

MOST_SECONDS = 60


def measure(arguments: list[str], cwd: Path) -> tuple[int, float, float, float, str]:
    """(exit code, processor seconds, elapsed seconds, peak MB, last line of standard error)."""
    start = time.monotonic()
    process = subprocess.Popen(
        [COMMAND, *arguments],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS)),
        env={**os.environ, "NO_COLOR": "1"},
    )
    error = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    last = error.strip().splitlines()[-1:] or [""]
    return (
        code,
        used.ru_utime + used.ru_stime,
        time.monotonic() - start,
        used.ru_maxrss / 1024,
        last[0],
    )


def main(names: list[str]) -> None:
    folder = Path(os.environ.get("FOLDER", "/tmp/bounds"))
    folder.mkdir(exist_ok=True)
    for text in names or NETWORKS:
        name, *options = shlex.split(text)
        model = folder / f"{name}.pt"
        if not model.exists():
            process = os.fork()
            if not process:
                write_model(name, model)
                os._exit(0)
            os.waitpid(process, 0)
        options = options or ["compile", "MODEL", "--out", f"{name}.build"]
        arguments = [model.name if part == "MODEL" else part for part in options]
        code, cpu, elapsed, peak, error = measure(arguments, folder)
        page = folder / f"{name}.build"
        sizes = (
            sorted(
                ((f.stat().st_size, f.name) for f in page.rglob("*") if f.is_file()), reverse=True
            )
            if page.is_dir()
            else []
        )
        largest = f"{sizes[0][1]} {sizes[0][0] / 1e6:.1f} MB" if sizes else ""
        print(
            f"{text:32} rc {code:4} {cpu:7.1f} s cpu {elapsed:7.1f} s {peak:7.0f} MB  {largest}  "
            f"{'' if code == 0 else error[:300]}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
