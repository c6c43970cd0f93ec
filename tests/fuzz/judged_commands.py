"""What a command may do, whatever it is given: an exit code, one message, one document, and no other file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

MOST_SECONDS = 20.0
MOST_BYTES = 10**9
_RIGHT_CODES = (0, 1, 2, 130)
_BOX = "╭─ Error"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a command ended.

    Attributes:
        code: its exit code, or minus the number of the signal that ended it.
        seconds: of processor time.
        peak_bytes: of memory, of the process itself.
        was_interrupted: it took too long, and was asked to end.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float = 0.0
    peak_bytes: int = 0
    was_interrupted: bool = False


@dataclass
class Totals:
    """Counts of endings by exit code, and what was wrong."""

    codes: dict[int, int] = field(default_factory=dict)
    findings: list[dict[str, object]] = field(default_factory=list)

    def count(self, ending: Ending, faults: list[str], what: object) -> None:
        self.codes[ending.code] = self.codes.get(ending.code, 0) + 1
        if faults:
            said = {"stdout": ending.stdout[-300:], "stderr": ending.stderr[-1500:]}
            self.findings.append({"faults": faults, "what": what, "code": ending.code, **said})


def faults_of(ending: Ending, *, with_json: bool, may_be_long: bool = False) -> list[str]:
    """What is wrong with how a command ended."""
    faults = []
    said = ending.stdout + ending.stderr
    if ending.code not in _RIGHT_CODES:
        faults.append(f"exit code {ending.code}")
    if "Traceback (most recent" in said:
        faults.append("a traceback")
    if ending.was_interrupted and not may_be_long:
        faults.append(f"more than {MOST_SECONDS:g} s")
    if ending.was_interrupted and ending.code not in (0, 130):
        faults.append(f"interrupted, and exit code {ending.code}")
    if ending.peak_bytes > MOST_BYTES:
        faults.append(f"{ending.peak_bytes / 1e9:.1f} GB")
    if ending.code == 2 and not with_json:
        faults += _faults_of_message(ending.stderr)
    if with_json and ending.code != 130:
        faults += _faults_of_document(ending)
    return faults


def _faults_of_message(stderr: str) -> list[str]:
    messages = len(re.findall(r"^error: ", stderr, re.MULTILINE)) + stderr.count(_BOX)
    if messages != 1:
        return [f"{messages} messages"]
    start = stderr.find("error: ") if _BOX not in stderr else stderr.find(_BOX)
    return [] if len(stderr[start:]) > 25 else ["a message without a reason"]


def _faults_of_document(ending: Ending) -> list[str]:
    """With --json, standard output is one document: the result, or ``{"error": {...}}``."""
    if ending.code == 2 and not ending.stdout:  # the command line itself could not be read
        return _faults_of_message(ending.stderr)
    try:
        document = json.loads(ending.stdout)
    except ValueError:
        return ["standard output is not one JSON document"]
    if ending.code == 2 and not (isinstance(document, dict) and "error" in document):
        return ["a refusal whose JSON document has no error"]
    return []


def wait_for(process: int, seconds: float = MOST_SECONDS) -> tuple[int, float, int, bool]:
    """Wait for a child; ask it to end when it has used so many seconds, or waits, and kill it if it does not.

    Returns:
        exit code, seconds of processor time, most bytes of memory, whether it was asked to end.
    """
    ticks, asked = os.sysconf("SC_CLK_TCK"), 0.0
    last, last_change = -1.0, time.monotonic()
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            used = usage.ru_utime + usage.ru_stime
            return code, used, usage.ru_maxrss * 1024, bool(asked)
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        used = sum(map(int, fields[11:15])) / ticks  # with children that have ended
        now = time.monotonic()
        if used > last:
            last, last_change = used, now
        if not asked and (used > seconds or now > last_change + 2 * seconds):
            os.kill(process, signal.SIGINT)
            asked = now
        elif asked and now > asked + 30:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def contents(folder: Path) -> dict[str, tuple[object, ...]]:
    """Kind and content of everything in a folder."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        value: object = None
        if stat.S_ISLNK(mode):
            value = os.readlink(path)
        elif stat.S_ISREG(mode):
            value = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISCHR(mode):
            value = path.lstat().st_rdev
        found[str(path.relative_to(folder))] = (stat.S_IFMT(mode), value)
    return found


def changed(
    before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]
) -> list[str]:
    """Names that appeared, went or differ."""
    return sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
