"""Time of whole commands: the help, and compiling ResNet-18."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.performance.machine import this_machine
from benchmarks.performance.networks import CLASSES, MIXED, MODEL, random_pixels, write_network
from toolchain.files.whole_files import scratch_folder

HELP_ROUNDS, COMPILE_ROUNDS = 11, 3
TEST_IMAGES = 1000

WATCH = """\
import resource, subprocess, sys, time
start = time.perf_counter()
process = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(process.returncode)
"""
"""Run in a small process, as the peak memory of a child includes what its parent held at the fork."""


def time_start_up(on_progress: Callable[[str], None]) -> dict[str, Any]:
    """Time whole commands; returns a document for JSON."""
    command = str(Path(sys.executable).with_name("qac-deploy"))
    with scratch_folder() as folder:
        write_network("resnet-18", MIXED, folder / "network")
        _write_images(folder / "images.npz")
        compiling = [
            command, "compile", str(folder / "network" / MODEL), "--target", "loihi-sim",
            "--data", str(folder / "images.npz"), "--out", str(folder / "build"),
        ]  # fmt: skip
        lines = {
            "qac-deploy --help": ([command, "--help"], HELP_ROUNDS),
            "qac-deploy compile resnet-18.pt": (compiling, COMPILE_ROUNDS),
        }
        taken: dict[str, list[tuple[float, int]]] = {name: [] for name in lines}
        for number in range(HELP_ROUNDS):
            for name, (arguments, rounds) in lines.items():
                if number < rounds:
                    on_progress(f"start-up, round {number + 1}: {name}")
                    taken[name].append(_time(arguments))
    rows = [
        {
            "command": name,
            "seconds": [seconds for seconds, _ in runs],
            "memory_bytes": max(held for _, held in runs),
        }
        for name, runs in taken.items()
    ]
    return {"machine": this_machine(), "test_images": TEST_IMAGES, "rows": rows}


def _write_images(path: Path) -> None:
    """Write random images, which are enough to count events and compare classes."""
    images = random_pixels(TEST_IMAGES).astype(np.uint8)
    labels = np.arange(TEST_IMAGES) % CLASSES
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)


def _time(arguments: list[str]) -> tuple[float, int]:
    """Seconds of a whole process, and its peak memory in bytes."""
    watched = subprocess.run(
        [sys.executable, "-S", "-c", WATCH, *arguments], capture_output=True, text=True
    )
    if watched.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{watched.stderr}")
    seconds, kilobytes = watched.stdout.split()
    return float(seconds), int(kilobytes) * 1024
