"""End commands by signals at random moments, and look at what they leave."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from installed_command import ForkedCommand, run_command
from kills.commands import Command

from deploy.cli.signals import INTERRUPTED
from toolchain.files.whole_files import PREFIX

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SHARED_MEMORY = Path("/dev/shm")
_END_S = 60
_OF_OTHERS = (".ses",)  # a file of ONNX Runtime, which keeps it from run to run
_MARK = "QAC_DEPLOY_KILLED_RUN"


@dataclass(frozen=True, kw_only=True)
class Whole:
    """An uninterrupted run.

    Attributes:
        seconds: its duration.
        digests: of its outputs, and of its standard output if that is one document.
        names: of all that is in the folder afterwards.
    """

    seconds: float
    digests: dict[str, str | None]
    names: set[str]


@dataclass(kw_only=True)
class Tally:
    """Counts of (command, signal, how it ended), and faults in words."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def digest(path: Path) -> str | None:
    """SHA-256 of a file, or of all names and contents of a folder."""
    if not path.exists():
        return None
    found = hashlib.sha256()
    for part in sorted([path, *path.rglob("*")]):
        found.update(str(part.relative_to(path)).encode())
        if part.is_file() and part.suffix != ".training":  # its duration is in it
            found.update(part.read_bytes())
    return found.hexdigest()


def environment(folder: Path, mark: str) -> dict[str, str]:
    """Variables of a command whose temporary files are beside its folder."""
    temporary = folder.with_name(f"{folder.name}-tmp")
    temporary.mkdir(exist_ok=True)
    return {"TMPDIR": str(temporary), _MARK: mark, "NO_COLOR": "1", "COLUMNS": "140"}


def prepare(command: Command, inputs: Path, folder: Path) -> None:
    """A folder with the inputs and an earlier output."""
    shutil.copytree(inputs, folder)
    if command.earlier is not None:
        process = run_command(*command.earlier, cwd=folder)
        assert process.returncode == 0, process.stderr


def run_whole(command: Command, prepared: Path, folder: Path) -> Whole:
    """Run a command to its end, in a copy of a folder."""
    shutil.copytree(prepared, folder)
    with ForkedCommand(*command.arguments, cwd=folder, **environment(folder, "whole")) as run:
        start = time.monotonic()
        process = run.finished(300)
    assert process.returncode == 0, (command.name, process.stderr)
    seconds = time.monotonic() - start
    return Whole(
        seconds=seconds,
        digests=_digests(command, folder, process.stdout),
        names={path.name for path in folder.iterdir()},
    )


def kill_once(
    command: Command,
    prepared: Path,
    whole: Whole,
    folder: Path,
    number: signal.Signals,
    random: Random,
    tally: Tally,
) -> None:
    """End a run at a random moment, check what it leaves, and run the command to its end."""
    shutil.copytree(prepared, folder)
    variables = environment(folder, folder.name)
    temporary = Path(variables["TMPDIR"])
    before = {name: digest(folder / name) for name in command.outputs}
    moment = random.random() * whole.seconds
    with ForkedCommand(*command.arguments, cwd=folder, **variables) as run:
        time.sleep(moment)
        run.send(number)
        if number == signal.SIGINT and random.random() < 0.5:  # an impatient user
            time.sleep(random.random() / 5)
            run.send(number)
        process = run.finished(_END_S)
    code, said = process.returncode, process.stderr
    where = f"{command.name}, {number.name} after {moment:.2f} of {whole.seconds:.2f} s"

    def fault(text: str) -> None:
        tally.faults.append(f"{where}: {text}")
        print(f"FAULT {tally.faults[-1]}", file=sys.stderr, flush=True)

    ended = {0: "had ended", INTERRUPTED: "interrupted", -number: "by the system"}.get(code)
    tally.counts[command.name, number.name, ended or "other"] += 1
    if ended is None or (ended == "by the system" and number != signal.SIGKILL and moment > 0.3):
        fault(f"exit code {code}: {said[-500:]}")
    if "Traceback" in said:
        fault(said[-1500:])
    for name in command.outputs:
        if name not in ("results", "demo"):  # folders of several outputs
            found = digest(folder / name)
            if found not in (before[name], whole.digests.get(name)):
                fault(f"{name} is neither the old nor the new one")
    _wait_for_the_end_of_processes(folder.name, fault)
    if number != signal.SIGKILL:
        for left in (*_left(temporary), *folder.glob(f"{PREFIX}*"), *SHARED_MEMORY.iterdir()):
            fault(f"left {left}")
    more = ["--resume"] if command.resumes else []
    with ForkedCommand(*command.arguments, *more, cwd=folder, **variables) as run:
        again = run.finished(300)
    if again.returncode != 0:
        fault(f"the next run ended with {again.returncode}: {again.stderr[-1500:]}")
        return
    for name, found in _digests(command, folder, again.stdout).items():
        if found != whole.digests[name]:
            fault(f"the next run gives another {name}")
    for left in (*_left(temporary), *SHARED_MEMORY.iterdir()):
        fault(f"after the next run is left {left}")
    if names := {path.name for path in folder.iterdir()} ^ whole.names:
        fault(f"after the next run differ {names}")
    _wait_for_the_end_of_processes(folder.name, fault)
    shutil.rmtree(folder)
    shutil.rmtree(temporary)


def _digests(command: Command, folder: Path, stdout: str) -> dict[str, str | None]:
    found = {name: digest(folder / name) for name in command.outputs}
    if "--json" in command.arguments:
        found["standard output"] = hashlib.sha256(stdout.encode()).hexdigest()
    return found


def _left(temporary: Path) -> Iterator[Path]:
    yield from (path for path in temporary.iterdir() if path.name not in _OF_OTHERS)


def _wait_for_the_end_of_processes(mark: str, fault) -> None:
    """All that a run has started ends within seconds."""
    deadline = time.monotonic() + _END_S
    while found := _processes(mark):
        if time.monotonic() > deadline:
            fault(f"processes that live on: {found}")
            for process in found:
                os.kill(process, signal.SIGKILL)
            return
        time.sleep(0.05)


def _processes(mark: str) -> dict[int, str]:
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}\0".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has ended meanwhile
            continue
    return found
