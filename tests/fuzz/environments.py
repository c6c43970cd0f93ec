"""Run commands in environments that are wrong, narrow or odd, and judge how each ends.

    python tests/fuzz/environments.py --seconds 60 --seed 1
    python tests/fuzz/environments.py --only "HOME is a file"

First comes each oddity alone, then random sets of them. A command that succeeds must give the integers that
it gives in a plain environment. Prints one JSON document: counts by exit code, and findings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path[0:1] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from fuzz.judged_commands import Ending, Totals, changed, contents, faults_of, wait_for
from fuzz.small_files import COMMAND, write_small_files


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """What is unusual.

    Attributes:
        variables: of the environment; None takes one away. "{place}" is a folder of the case.
        prepare: called with that folder before the command is started.
        limits: of the process, (soft, hard) as ``resource`` takes them.
        streams: by file descriptor, "closed" or a path to open.
        umask: of the process.
        cwd: folder, made below that of the case; "deleted" is one that is gone.
    """

    variables: dict[str, str | None] = field(default_factory=dict)
    prepare: Callable[[Path], object] = lambda place: None
    limits: dict[int, int] = field(default_factory=dict)
    streams: dict[int, str] = field(default_factory=dict)
    umask: int | None = None
    cwd: str | None = None


def _variables(**variables: str | None) -> Oddity:
    return Oddity(variables=variables)


def _read_only(place: Path) -> None:
    (place / "locked").mkdir(mode=0o500)


def _file(place: Path) -> None:
    (place / "file").write_text("mine")


ODDITIES: dict[str, Oddity] = {
    "LC_ALL=C": _variables(LC_ALL="C", LANG=None),
    "LC_ALL=POSIX": _variables(LC_ALL="POSIX"),
    "no locale": _variables(LC_ALL=None, LANG=None, LC_CTYPE=None),
    "LC_ALL is no locale": _variables(LC_ALL="xx_YY.nonsense", LANG="[/x]"),
    "output in ASCII": _variables(PYTHONIOENCODING="ascii"),
    "output in UTF-16": _variables(PYTHONIOENCODING="utf-16"),
    "PYTHONUTF8=0": _variables(PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0"),
    "COLUMNS=0": _variables(COLUMNS="0", LINES="0"),
    "COLUMNS=1": _variables(COLUMNS="1", LINES="1"),
    "COLUMNS=-1": _variables(COLUMNS="-1", LINES="-1"),
    "COLUMNS is no number": _variables(COLUMNS="abc", LINES=""),
    "COLUMNS is huge": _variables(COLUMNS="1000000000", LINES="1000000000"),
    "TERM=dumb": _variables(TERM="dumb"),
    "TERM is unknown": _variables(TERM="[/x]", COLORTERM="truecolor", FORCE_COLOR="1"),
    "no colours": _variables(NO_COLOR="1"),
    "no HOME": _variables(HOME=None),
    "HOME is empty": _variables(HOME=""),
    "HOME is missing": _variables(HOME="{place}/none"),
    "HOME is relative": _variables(HOME="none"),
    "HOME is a file": Oddity(variables={"HOME": "{place}/file"}, prepare=_file),
    "HOME is read-only": Oddity(variables={"HOME": "{place}/locked"}, prepare=_read_only),
    "HOME is under /proc": _variables(HOME="/proc/none"),
    "TMPDIR is missing": _variables(TMPDIR="{place}/none"),
    "TMPDIR is a file": Oddity(variables={"TMPDIR": "{place}/file"}, prepare=_file),
    "XDG folders are missing": _variables(XDG_DATA_HOME="/proc/none", XDG_CACHE_HOME="/proc/none"),
    "XDG folders are relative": _variables(XDG_DATA_HOME="[/x]", XDG_CACHE_HOME=""),
    "OMP_NUM_THREADS=0": _variables(OMP_NUM_THREADS="0"),
    "OMP_NUM_THREADS is no number": _variables(OMP_NUM_THREADS="abc", MKL_NUM_THREADS="-1"),
    "MPLBACKEND is unknown": _variables(MPLBACKEND="nonsense"),
    "MPLBACKEND needs a display": _variables(MPLBACKEND="tkagg", DISPLAY=":99"),
    "MPLCONFIGDIR is read-only": _variables(MPLCONFIGDIR="/proc"),
    "MPLCONFIGDIR is a file": Oddity(variables={"MPLCONFIGDIR": "{place}/file"}, prepare=_file),
    "no bytecode": _variables(PYTHONDONTWRITEBYTECODE="1"),
    "warnings are errors": _variables(PYTHONWARNINGS="error"),
    "no assertions": _variables(PYTHONOPTIMIZE="2"),
    "another hash seed": _variables(PYTHONHASHSEED="4294967295"),
    "development mode": _variables(PYTHONDEVMODE="1"),
    "limit of bytes is no number": _variables(QAC_DEPLOY_LIMIT_BYTES="-1"),
    "data folder is a file": Oddity(variables={"QAC_DEPLOY_DATA": "{place}/file"}, prepare=_file),
    "input is closed": Oddity(streams={0: "closed"}),
    "output is closed": Oddity(streams={1: "closed"}),
    "output is full": Oddity(streams={1: "/dev/full"}),
    "errors are closed": Oddity(streams={2: "closed"}),
    "errors are full": Oddity(streams={2: "/dev/full"}),
    "all are closed": Oddity(streams={0: "closed", 1: "closed", 2: "closed"}),
    "few open files": Oddity(limits={resource.RLIMIT_NOFILE: 16}),
    "very few open files": Oddity(limits={resource.RLIMIT_NOFILE: 6}),
    "no file may grow": Oddity(limits={resource.RLIMIT_FSIZE: 0}),
    "small files alone": Oddity(limits={resource.RLIMIT_FSIZE: 4096}),
    "little memory": Oddity(limits={resource.RLIMIT_AS: 3 * 2**28}),
    "a small stack": Oddity(limits={resource.RLIMIT_STACK: 2**17}),
    "no processes": Oddity(limits={resource.RLIMIT_NPROC: 1}),
    "umask 777": Oddity(umask=0o777),
    "folder is deleted": Oddity(cwd="deleted"),
    "folder with spaces": Oddity(cwd="a  b\n\tc"),
    "folder with markup": Oddity(cwd="[red]/[x]"),
    "folder in another encoding": Oddity(cwd="\udcff\udc80"),
}
FREE = {"output is closed", "output is full", "errors are closed", "errors are full", "all are closed",
        "output in UTF-16"}  # fmt: skip
"""Messages and documents have no place to go, or are in another encoding: exit codes alone are judged."""
MAY_FAIL = {"little memory", "very few open files", "a small stack", "warnings are errors", "few open files",
            "no processes"}  # fmt: skip
"""Python or PyTorch itself may not start: neither its traceback nor its exit code is ours."""
COMMANDS: dict[str, list[str]] = {
    "report": ["report", "{given}/build", "--json"],
    "shown": ["report", "{given}/build"],
    "simulate": ["simulate", "{given}/build", "--json"],
    "compile": ["compile", "{given}/model.pt", "--samples", "2", "--out", "{place}/out"],
    "export": ["export", "{given}/build", "--format", "onnx", "--out", "{place}/out.onnx"],
    "plot": ["compare", "{given}/build", "--plot", "{place}/array.png"],
    "refused": ["compile", "{given}/none.pt"],
    "doctor": ["doctor"],
}


class Runner:
    """Runs a command in one environment after another, each with a folder of its own."""

    def __init__(self, root: Path) -> None:
        self._root, self._given = root, root / "given"
        self._given.mkdir()
        write_small_files(self._given)
        self._plain: dict[str, str] = {}

    def judge(self, command: str, names: list[str]) -> tuple[Ending, list[str]]:
        """Run a command with some oddities; returns how it ended, and what was wrong."""
        if command not in self._plain:
            self._plain[command] = ""
            ending, _ = self.judge(command, [])
            self._plain[command] = self._result(command, ending)
            assert ending.code == (2 if command == "refused" else 0), ending
        before = contents(self._given)
        place = self._root / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        ending = self._run(command, [ODDITIES[name] for name in names], place)
        faults = faults_of(ending, with_json="--json" in COMMANDS[command])
        if FREE & {*names}:
            faults = [f for f in faults if f.startswith(("exit", "a traceback", "more than"))]
        if MAY_FAIL & {*names}:
            faults = [f for f in faults if f.startswith("more than")]
        faults += [
            f"changed {n}" for n in changed(before, contents(self._given)) if "build." not in n
        ]
        if (
            names
            and not ending.code
            and not FREE & {*names}
            and not {"no file may grow"} & {*names}
        ):
            result = self._result(command, ending)
            faults += (
                [] if result == self._plain[command] else ["another result than in a plain one"]
            )
        for path in self._given.glob("build.*"):
            path.unlink()
        return ending, faults

    def _result(self, command: str, ending: Ending) -> str:
        """What a command computed, without what depends on the terminal."""
        place = self._root / "place"
        match command:
            case "report" | "simulate":
                document = json.loads(ending.stdout)
                return json.dumps({n: v for n, v in document.items() if "seconds" not in n})
            case "compile":
                (place / "out").chmod(0o700)
                names = ("network.json", "network.safetensors", "mapping.json", "pe_array.json")
                for name in names:
                    (place / "out" / name).chmod(0o600)
                return str([_sha256(place / "out" / name) for name in names])
            case "export":
                (place / "out.onnx").chmod(0o600)
                return _sha256(place / "out.onnx")
        return ""

    def _run(self, command: str, oddities: list[Oddity], place: Path) -> Ending:
        variables: dict[str, str | None] = {
            "PATH": os.environ["PATH"], "HOME": str(place), "OMP_NUM_THREADS": "1", "COLUMNS": "140",
            "XDG_DATA_HOME": str(place / "data"), "LANG": "C.UTF-8",
        }  # fmt: skip
        cwd, streams = place, {0: os.devnull}
        limits: dict[int, int] = {}
        umask = None
        for oddity in oddities:
            oddity.prepare(place)
            variables |= oddity.variables
            limits |= oddity.limits
            streams |= oddity.streams
            umask = oddity.umask if oddity.umask is not None else umask
            cwd = place / oddity.cwd if oddity.cwd else cwd
        cwd.mkdir(parents=True, exist_ok=True)
        is_deleted = cwd.name == "deleted"
        arguments = [a.format(given=self._given, place=place) for a in COMMANDS[command]]
        outputs = [self._root / name for name in ("stdout", "stderr")]

        def odd() -> None:
            os.chdir(cwd)
            if is_deleted:
                os.rmdir(cwd)
            if umask is not None:
                os.umask(umask)
            for number, stream in streams.items():
                if stream == "closed":
                    os.close(number)
                else:
                    os.dup2(os.open(stream, os.O_RDWR), number)
            for limit, value in limits.items():
                resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))

        with outputs[0].open("wb") as stdout, outputs[1].open("wb") as stderr:
            given = {
                n: v.replace("{place}", str(place)) for n, v in variables.items() if v is not None
            }
            process = subprocess.Popen(
                [COMMAND, *arguments], env=given, stdout=stdout, stderr=stderr, preexec_fn=odd,
                start_new_session=True,
            )  # fmt: skip
            code, seconds, peak, was_interrupted = wait_for(process.pid)
            process.returncode = code
        texts = [path.read_text(errors="replace") for path in outputs]
        return Ending(
            code=code, stdout=texts[0], stderr=texts[1], seconds=seconds, peak_bytes=peak,
            was_interrupted=was_interrupted,
        )  # fmt: skip


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cases(seed: int) -> Any:
    """(command, names of oddities): each oddity alone with one command after another, then random sets."""
    chance = Random(seed)
    names = list(ODDITIES)
    for command in chance.sample(list(COMMANDS), len(COMMANDS)):
        for name in chance.sample(names, len(names)):
            yield command, [name]
    while True:
        yield chance.choice(list(COMMANDS)), chance.sample(names, chance.choice([2, 2, 3, 5]))


def run(seconds: float, seed: int, count: int | None = None) -> dict[str, Any]:
    """Judge commands in odd environments for some seconds, or so many of them.

    Returns:
        "codes": endings by exit code; "cases": their number; "findings": what was wrong.
    """
    totals, end, done = Totals(), time.monotonic() + seconds, 0
    root = Path(tempfile.mkdtemp())
    try:
        runner = Runner(root)
        for command, names in cases(seed):
            if time.monotonic() > end or done == count:
                break
            ending, faults = runner.judge(command, names)
            totals.count(ending, faults, {"command": command, "names": names})
            done += 1
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {"cases": done, **asdict(totals)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="these oddities at once, with every command")
    asked = parser.parse_args()
    if asked.only is None:
        print(json.dumps(run(asked.seconds, asked.seed, asked.count), indent=1))
        return
    root = Path(tempfile.mkdtemp())
    try:
        runner = Runner(root)
        for command in COMMANDS:
            ending, faults = runner.judge(command, asked.only)
            print(command, ending.code, faults, ending.stderr[-600:])
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
