"""``python tests/kills``: end commands by signals at random moments, and print what was found.

As root on Linux it runs in a namespace with its own /dev/shm, so that no other program's memory is there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path[0] = str(Path(__file__).resolve().parent.parent)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COMMAND_SERVER_IMPORTS"] = "toolchain hw_models sim deploy"  # so that runs are short

from kills.commands import commands, make_inputs
from kills.killed_runs import SIGNALS, Tally, kill_once, prepare, run_whole

_ENTERED = "QAC_DEPLOY_KILLS_ENTERED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200, help="kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="parts of the names of commands, with commas")
    arguments = parser.parse_args()
    if _ENTERED not in os.environ and os.geteuid() == 0 and shutil.which("unshare"):
        mounted = 'mount -t tmpfs tmpfs /dev/shm && exec "$@"'
        command = [sys.executable, str(Path(__file__).parent), *sys.argv[1:]]
        os.environ[_ENTERED] = "1"
        os.execvp("unshare", ["unshare", "-m", "sh", "-c", mounted, "sh", *command])
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        tally = kill_many(folder, arguments.number, arguments.seed, arguments.only.split(","))
    finally:
        shutil.rmtree(folder)
    print(f"{tally.counts.total()} kills, {len(tally.faults)} faults")
    sys.exit(1 if tally.faults else 0)


def kill_many(folder: Path, number: int, seed: int, only: list[str]) -> Tally:
    """Kill each command in turn, more often those of a higher weight."""
    tally, random, start = Tally(), Random(seed), time.monotonic()
    (folder / "inputs").mkdir()
    make_inputs(folder / "inputs")
    chosen = [c for c in commands() if any(part in c.name for part in only)]
    order = [c for c in chosen for _ in range(c.weight)]
    random.shuffle(order)
    order = [*chosen, *order][:number] if number < len(order) else order
    while len(order) < number:
        order += order[: number - len(order)]
    times = Counter(command.name for command in order)
    done = 0
    print(f"| command | signal | kills | {' | '.join(ENDS)} |\n|{'---|' * (3 + len(ENDS))}")
    for command in chosen:
        if not times[command.name]:
            continue
        place = folder / command.name.replace(" ", "")
        place.mkdir()
        prepare(command, folder / "inputs", place / "prepared")
        if "rtl" in command.name:  # compiled once, for all runs
            run_whole(command, place / "prepared", place / "compiled")
        whole = run_whole(command, place / "prepared", place / "whole")
        for index in range(times[command.name]):
            signal_ = SIGNALS[(done + index) % len(SIGNALS)]
            kill_once(
                command, place / "prepared", whole, place / f"run{index}", signal_, random, tally
            )
        done += times[command.name]
        shutil.rmtree(place, ignore_errors=True)
        print_counts(tally, command.name)
        print(
            f"{time.monotonic() - start:6.0f} s  {done:4} kills, {len(tally.faults)} faults: {command.name} "
            f"({whole.seconds:.1f} s)",
            file=sys.stderr,
            flush=True,
        )
    return tally


ENDS = ("interrupted", "had ended", "by the system", "other")


def print_counts(tally: Tally, name: str) -> None:
    """A row of a table for each signal."""
    for number in SIGNALS:
        ends = [tally.counts[name, number.name, end] for end in ENDS]
        print(
            f"| {name} | {number.name} | {sum(ends)} | {' | '.join(map(str, ends))} |", flush=True
        )


if __name__ == "__main__":
    main()
