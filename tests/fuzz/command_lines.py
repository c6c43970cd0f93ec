"""Give random command lines to every command, and judge how each ends.

    python tests/fuzz/command_lines.py --seconds 60 --seed 1
    python tests/fuzz/command_lines.py --seed 1 --case 17     # one case again

Options, kinds of values and limits are those that the commands declare. A seed and a number give the same
command line. Prints one JSON document: counts by exit code, and findings.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path[0:1] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

NEVER = {
    "--create-lava-env",
    "--create-lava-dl-env",
    "--install-completion",
    "--scheduler",
    "--help",
}
"""They download, or write to the user's own settings; help ends the command before anything else."""
SMALL = {"--devices": 2, "--workers": 2, "--nodes": 1}
"""Most processes to start, and machines to wait for."""
WORK = {
    "--epochs", "--float-epochs", "--finetune", "--budget", "--samples", "--rtl-cycles", "--optimize",
    "--timesteps", "--mean-timesteps", "--replicate", "--width", "--unrolling", "--engine", "--data",
    "--arch",
    "--devices", "--workers", "--slots", "--interval", "--rtl", "--array", "--vary",
}  # fmt: skip
"""What a user who asks for much work asks it with: such a command may take long, but ends when asked to."""
LONG = {"demo", "reproduce", "explore"}
OUTPUTS = {"--out", "--plot", "--csv", "--state", "--report"}
BASE = {
    "train": ["--data", "{given}/own.npz", "--epochs", "1", "--width", "0.25"],
    "convert": ["{given}/network.onnx"],
    "calibrate": ["{given}/model.pt", "--epochs", "1", "--samples", "16"],
    "compile": ["{given}/model.pt", "--samples", "2"],
    "explore": ["{given}/model.pt", "--budget", "2", "--workers", "1"],
    "trace": ["{given}/build"],
    "simulate": ["{given}/build"],
    "verify": ["{given}/build", "--samples", "1"],
    "report": ["{given}/build"],
    "compare": ["{given}/build"],
    "cross-check": ["{given}/build", "--samples", "1"],
    "export": ["{given}/build"],
    "reproduce": ["page"],
}
PLACES = [
    "none", "none/none", "", ".", "..", "-", "--", "{given}", "{given}/thesis", "{given}/thesis/chapter.tex",
    "{given}/pipe", "{given}/null", "{given}/zero", "{given}/full", "{given}/loop", "{given}/dangling",
    "{given}/to-thesis", "{given}/own.npz", "{given}/model.pt/x", "n" * 300, "n/" * 3000, "[/x]", "[red]x",
    "\udc80\udcff", "é\u202e\x1b[31m", "a\nb", "~", "$HOME", "*", "/proc/self/mem", "/proc/none",
]  # fmt: skip
READ = [
    "{given}/model.pt", "{given}/build", "{given}/own.npz", "{given}/network.onnx", "{given}/chip.yaml",
    "{given}/accuracy.py:right", "{given}/accuracy.py:none", "digits", "loihi-sim", "loihi2-sim", "pe-array",
]  # fmt: skip
WORDS = [
    "", " ", "-", "--", "=", "==", "a=b=c", ",", "[/x]", "[bold", "n" * 300, "\udcff", "ü\u202e",
    "\x1b[2J", "%s", "{0}", "all", "hidden", "hidden=2", "hidden=0", "hidden=truncate",
    "hidden=replicate", "input=truncate", "readout=average", "nothing=2", "average", "truncate",
    "stalls", "time", "energy", "cores", "traffic", "nir", "netx", "onnx", "sanafe", "exact", "stepped",
    "lava", "rtl", "frame-by-frame", "lenet", "resnet-mini", "vgg-9", "1/2", "imagenet", "1x8x8",
    "0x0x0", "8", "slots", "slots=1,2", "weight-bits=4", "0,1", "0..5", "5..0", "9:9:9", "hidden fires",
    "hidden[1] potential > 5", "hidden blocked", "tick 3", "sample 0", "tick -1", "1,1,1,1",
]  # fmt: skip
NUMBERS = [
    "-1", "0", "1", "2", "3", "7", "-0", "1e3", "0x10", "10" * 13, "-" + "9" * 30, "nan", "inf", "-inf",
    "1e309", "1e-320", "0.5", "2.5", "", "two", "１", "1_0", "+1", " 1",
]  # fmt: skip


def commands() -> dict[str, Any]:
    """The commands, as the command line reads them."""
    from typer.main import get_command

    from deploy.cli.main import app

    return dict(get_command(app).commands)  # type: ignore[attr-defined]


def value_of(parameter: Any, option: str, chance: Random) -> str:
    """A value that an option might be given: of its kind, at its limits, or of any other kind."""
    kind = str(parameter.type_descriptor.annotation)
    if option in SMALL:
        return chance.choice(["0", "-1", "1", str(SMALL[option]), "nan", ""])
    if chance.random() < 0.1:
        return chance.choice(WORDS + PLACES + NUMBERS)
    if "int" in kind or "float" in kind:
        limits = [parameter.min, parameter.max]
        near = [str(limit + step) for limit in limits if limit is not None for step in (-1, 0, 1)]
        return chance.choice([*near, *near, *NUMBERS])
    if option in OUTPUTS:
        return chance.choice(["out", "out", "deep/out", *PLACES])
    if "Path" in kind or option in ("--data", "--target", "--targets", "--array", "--accuracy"):
        return chance.choice([*READ, *PLACES])
    return chance.choice(WORDS)


def command_line(seed: int, number: int, known: dict[str, Any], given: str) -> list[str]:
    """The command line of a seed and a number."""
    chance = Random(f"{seed}:{number}")
    names = [name for name in known if name not in LONG] * 4 + sorted(LONG)
    name = chance.choice(names)
    line = list(BASE.get(name, []))
    if line and chance.random() < 0.15:
        line[0] = chance.choice(PLACES + READ)
    options = [p for p in known[name].params if p.param_type_name == "option"]
    for parameter in chance.choices(options, k=chance.choice([0, 1, 1, 2, 2, 3, 5])):
        option = chance.choice([*parameter.opts, *parameter.secondary_opts])
        if option in NEVER:
            continue
        if parameter.is_flag:
            line.append(option)
        else:
            value = value_of(parameter, option, chance)
            line += [f"{option}={value}"] if chance.random() < 0.3 else [option, value]
    if chance.random() < 0.05:
        line.insert(chance.randrange(len(line) + 1), chance.choice(WORDS + PLACES))
    if chance.random() < 0.03:
        line.pop(chance.randrange(len(line))) if line else None
    if chance.random() < 0.3 and any("--json" in p.opts for p in options):
        line.append("--json")
    return [name, *(part.replace("{given}", given) for part in line)]


def prepare(given: Path) -> None:
    """Files that commands read, and files of a user's that none may touch."""
    from fuzz.small_files import write_small_files

    write_small_files(given)
    (given / "thesis").mkdir()
    (given / "thesis" / "chapter.tex").write_text("years of work")
    (given / "accuracy.py").write_text("def right(logits, labels):\n    return 0.5\n")
    os.mkfifo(given / "pipe")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7)):
        try:
            os.mknod(
                given / name, 0o666 | 0o020000, os.makedev(1, minor)
            )  # of our own: none of the system's
        except PermissionError:  # only root makes devices
            (given / name).touch()
    (given / "loop").symlink_to("loop")
    (given / "dangling").symlink_to("nowhere")
    (given / "to-thesis").symlink_to("thesis")


class Runner:
    """Runs command lines in forks of this process, in a folder that is made anew for each."""

    def __init__(self, root: Path) -> None:
        import command_server

        command_server.import_tracer()
        self._serve = command_server.run
        self.root, self.given = root, root / "given"
        self._home, self._work = root / "home", root / "work" / "here"
        self.given.mkdir()
        prepare(self.given)
        self._home.mkdir()
        self.known = commands()

    def line(self, seed: int, number: int) -> list[str]:
        return command_line(seed, number, self.known, str(self.given))

    def judge(self, line: list[str]) -> tuple[Any, list[str]]:
        """Run a command line; returns how it ended, and what was wrong."""
        from fuzz.judged_commands import Ending, changed, contents, faults_of, wait_for

        shutil.rmtree(self._work.parent, ignore_errors=True)
        self._work.mkdir(parents=True)
        before = contents(self.given), contents(self._home)
        outputs = [self.root / name for name in ("stdout", "stderr")]
        for path in outputs:
            path.write_text("")
        process = os.fork()
        if not process:
            self._serve(self._request(line, outputs))
            os._exit(99)
        code, seconds, peak, was_interrupted = wait_for(process)
        stdout, stderr = (path.read_text(errors="replace") for path in outputs)
        ending = Ending(
            code=code, stdout=stdout, stderr=stderr, seconds=seconds, peak_bytes=peak,
            was_interrupted=was_interrupted,
        )  # fmt: skip
        asked = {part.partition("=")[0] for part in line}
        faults = faults_of(
            ending, with_json="--json" in line, may_be_long=line[0] in LONG or bool(asked & WORK)
        )
        by_name = (
            "build.",
            "nowhere",
        )  # a journal beside a build, and what --out names through a link
        after = contents(self.given)
        touched = [n for n in changed(before[0], after) if not n.startswith(by_name)]
        touched += [
            n for n in changed(before[1], contents(self._home)) if not n.startswith(".cache")
        ]
        left = [n for n in contents(self._work.parent) if ".qac" in n and not was_interrupted]
        faults += [f"changed {name}" for name in touched] + [f"left {name}" for name in left]
        if code == 2 and "--resume" not in line:
            made = [
                n
                for n in contents(self._work)
                if "refusal" not in n and not _is_folder(self._work / n)
            ]
            faults += [f"refused, but wrote {name}" for name in made]
        for path in (*self.given.glob("build.*"), *self.given.glob("nowhere*")):
            path.unlink()
        return ending, faults

    def _request(self, line: list[str], outputs: list[Path]) -> dict[str, Any]:
        variables = {
            "HOME": self._home, "XDG_DATA_HOME": self._home / "data", "QAC_DEPLOY_DATA": self._home,
            "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200",
            "XDG_CACHE_HOME": self.root / "cache",
        }  # fmt: skip
        return {
            "arguments": ["qac-deploy", *line],
            "cwd": str(self._work),
            "environment": {name: str(value) for name, value in variables.items()},
            "stdout": str(outputs[0]),
            "stderr": str(outputs[1]),
        }


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def run(seconds: float, seed: int, count: int | None = None) -> dict[str, Any]:
    """Judge command lines for some seconds, or so many of them, in a process of its own.

    Returns:
        "codes": endings by exit code; "cases": their number; "findings": what was wrong.
    """
    arguments = ["--seconds", str(seconds), "--seed", str(seed)]
    arguments += [] if count is None else ["--count", str(count)]
    process = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(process.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from fuzz.judged_commands import Totals

    totals, end = Totals(), time.monotonic() + asked.seconds
    folder = Path(tempfile.mkdtemp())  # a TemporaryDirectory would end with the first fork
    try:
        cases = _judge_all(Runner(folder), asked, totals, end)
    finally:
        shutil.rmtree(folder)
    print(json.dumps({"cases": cases, **asdict(totals)}))


def _judge_all(runner: Runner, asked: argparse.Namespace, totals: Any, end: float) -> int:
    numbers = range(asked.first, asked.first + asked.count) if asked.case is None else [asked.case]
    for number in numbers:
        if number % 100 == 99:
            print(number + 1 - asked.first, totals.codes, file=sys.stderr, flush=True)
        if time.monotonic() > end:
            return number - asked.first
        line = runner.line(asked.seed, number)
        ending, faults = runner.judge(line)
        totals.count(ending, faults, {"seed": asked.seed, "case": number, "line": line})
        if asked.case is not None:
            print(line, ending, faults, sep="\n")
        elif faults:
            print(number, faults, line, ending.stderr[-600:], file=sys.stderr, flush=True)
    return len(numbers)


if __name__ == "__main__":
    main()
