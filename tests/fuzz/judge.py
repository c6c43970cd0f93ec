"""Give one file to a reader, and say what became of it.

Right are two outcomes: an error of ours, or content. All others are findings: another exception, code that
ran, a file written or read outside of the case, more than 5 s or 1 GB, and content that differs from that of
the sound file although the format has digests or checksums.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.mutations.pickles import MARK
from fuzz.table import Reader

MOST_SECONDS = 5
"""Of processor time, so that other work on the machine is not counted."""

MOST_BYTES = 2**30
"""More memory than before the case."""

LONGEST_MESSAGE = 2_000
REFUSED, ACCEPTED = "refused", "accepted"
_SCRIPTS = ("hdf5_child.py",)  # that a reader starts
_FORBIDDEN = ("/etc/passwd", "/dev/full")  # that mutants name
_PATH_EVENTS = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.chmod",
                "os.truncate", "shutil.rmtree", "shutil.move"}  # fmt: skip
_RUN_EVENTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "socket.connect"}


@dataclass(frozen=True)
class Verdict:
    """``kind`` is ``refused``, ``accepted`` or that of a finding; ``place`` tells equal findings."""

    kind: str
    detail: str = ""
    place: str = ""

    @property
    def is_finding(self) -> bool:
        return self.kind not in (REFUSED, ACCEPTED)


class TooSlowError(BaseException):
    """Raised in a reader that takes too long; no reader catches it."""


class Judge:
    """Runs cases of one process, whose current folder and temporary files are in a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch.resolve()
        self._watching = False
        self._escapes: list[str] = []
        os.chdir(self._scratch)
        (self._scratch / "tmp").mkdir(exist_ok=True)
        os.environ["TMPDIR"] = str(self._scratch / "tmp")
        os.environ["QAC_DEPLOY_LIMIT_BYTES"] = str(MOST_BYTES // 8)
        sys.addaudithook(self._audit)
        signal.signal(signal.SIGPROF, _too_slow)

    def limit_memory(self) -> None:
        """Let the process take no more address space than it has and a case may need."""
        most = _status_bytes("VmSize") + 4 * MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def verdict(self, reader: Reader, folder: Path, sound: list[Any] | None) -> Verdict:
        """Read a case.

        Args:
            sound: contents with one of which that of the case must agree; None for any.
        """
        before = _listing(folder)
        peak_before = _reset_peak()
        processor_before = _processor_seconds()
        with self._watch():
            outcome, content = _outcome(reader, folder)
        seconds = _processor_seconds() - processor_before
        peak = _status_bytes("VmHWM") - peak_before
        mark = self._scratch / MARK
        if mark.exists() or (folder / MARK).exists():
            mark.unlink(missing_ok=True)
            return Verdict("executed", "code of the file ran")
        if self._escapes:
            return Verdict("left its folder", "; ".join(self._escapes[:3]), self._escapes[0])
        if outcome.is_finding:
            return outcome
        if _listing(folder) != before:
            return Verdict("changed a file", "files of the case are not as they were")
        if seconds > MOST_SECONDS:
            return Verdict("slow", f"{seconds:.1f} s: {outcome.detail}", outcome.kind)
        if peak > MOST_BYTES:
            return Verdict("large", f"{peak / 2**20:,.0f} MiB: {outcome.detail}", outcome.kind)
        if outcome.kind == ACCEPTED and sound and not any(reader.agrees(content, s) for s in sound):
            return Verdict("different", "read, but its content is not that of the sound file")
        return outcome

    @contextmanager
    def _watch(self) -> Iterator[None]:
        self._escapes.clear()
        self._watching = True
        try:
            yield
        finally:
            self._watching = False

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):
                return
            named = os.fsdecode(path)
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            if named.startswith(_FORBIDDEN) or (writes and not self._is_inside(named)):
                self._escapes.append(f"opens {named!r}")
        elif event in _PATH_EVENTS:
            if isinstance(arguments[0], str | bytes | os.PathLike) and not self._is_inside(
                arguments[0]
            ):
                self._escapes.append(f"{event} {arguments[0]!r}")
        elif event == "subprocess.Popen":
            if not any(str(word).endswith(_SCRIPTS) for word in arguments[1]):
                self._escapes.append(f"starts {arguments[1]!r}")
        elif event in _RUN_EVENTS:
            self._escapes.append(f"{event} {arguments!r}")

    def _is_inside(self, path: Any) -> bool:
        full = os.path.abspath(os.fsdecode(path))
        return full.startswith((f"{self._scratch}/", "/dev/null", "/proc/self/"))


def _outcome(reader: Reader, folder: Path) -> tuple[Verdict, Any]:
    from toolchain.errors import QacDeployError

    started = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            content = reader.read(folder)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return Verdict(ACCEPTED), content
    except QacDeployError as error:
        said = str(error)
        if "bad_alloc" in said or "allocate memory" in said or "Unable to allocate" in said:
            return Verdict("large", said[:500], "allocation"), None
        if not said.isprintable() or not 0 < len(said) < LONGEST_MESSAGE:
            shown = f"{len(said):,} characters: {said[:300]!a}"
            return Verdict(
                "message", f"an error message must be one short line, not {shown}", _place(error)
            ), None
        return Verdict(REFUSED, said), None
    except KeyboardInterrupt:
        raise
    except TooSlowError as error:
        elapsed = time.perf_counter() - started
        return Verdict(
            "slow", f"still running after {elapsed:.1f} s, in {_place(error)}", _place(error)
        ), None
    except BaseException as error:
        text = "".join(traceback.format_exception(error, limit=-12))
        return Verdict(
            "traceback", text[-6000:], f"{type(error).__name__} in {_place(error)}"
        ), None


def _place(error: BaseException) -> str:
    """The innermost line of our packages, and of our tests if there is none."""
    frames = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
    ours = [
        f
        for f in frames
        if "/site-packages/" not in f and "/fuzz/judge.py" not in f and "/lib/" not in f
    ]
    return "/".join((ours or frames)[-1].split("/")[-3:])


def _too_slow(number: int, frame: object) -> None:
    raise TooSlowError


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all files below a folder; lock files of a journal come and go."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.stat(os.path.join(parent, name))
            found.append((os.path.join(parent, name), status.st_size, status.st_mtime_ns))
    return sorted(found)


def _processor_seconds() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _reset_peak() -> int:
    """Let the peak count from here; returns what is used now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    with open("/proc/self/status") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith(field)), 0)
