"""Measure subjects in one process each, so that their memory is measured separately.

The processes take turns: in each round every subject runs once to warm up and once timed, so a slow minute
of the machine affects all of them.
"""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Digests: TypeAlias = dict[str, str]
"""SHA-256 of each population's counts and of the logits, as int64."""

STATUS = Path("/proc/self/status")
FORGET_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One line of the benchmark.

    Attributes:
        prepare, setting: a function, and its argument; it is called in the subject's own process.
        rounds: number of timed runs.
        reference: the subject that must compute the same integers, or None if this one has none.
    """

    name: str
    prepare: Callable[[Any], Any]
    setting: Any
    rounds: int
    reference: str | None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Time and memory of one subject.

    Attributes:
        seconds: time of each run.
        memory_bytes: peak memory of a run minus the memory of the process after its imports; on an
            accelerator, peak device memory.
        same: whether its integers equal those of the reference, or None if it has none.
    """

    seconds: list[float] = field(default_factory=list)
    memory_bytes: int = 0
    same: bool | None = None


def measure(
    subjects: Sequence[Subject], on_progress: Callable[[str], None]
) -> dict[str, Measurement]:
    """Prepare all subjects, compare their integers, then time them in turns.

    Raises:
        RuntimeError: a subject failed, or computes other integers than its reference.
    """
    with ExitStack() as stack:
        on_progress("starting")
        workers = {s.name: stack.enter_context(_Worker(s)) for s in subjects}
        memory, digests = {}, {}
        for subject in subjects:
            on_progress(f"{subject.name}: first run")
            memory[subject.name], digests[subject.name] = workers[subject.name].ask("first run")
        same = {s.name: _same(s, digests) for s in subjects}
        seconds: dict[str, list[float]] = {s.name: [] for s in subjects}
        for number in range(max(s.rounds for s in subjects)):
            for subject in subjects:
                if number < subject.rounds:
                    on_progress(f"round {number + 1}: {subject.name}")
                    seconds[subject.name].append(workers[subject.name].ask("run"))
    return {
        name: Measurement(seconds=seconds[name], memory_bytes=memory[name], same=same[name])
        for name in workers
    }


def _same(subject: Subject, digests: dict[str, Digests | None]) -> bool | None:
    if subject.reference is None:
        return None
    ours, theirs = digests[subject.reference], digests[subject.name]
    assert ours is not None
    assert theirs is not None
    different = [name for name in theirs if theirs[name] != ours[name]]
    if different:
        raise RuntimeError(
            f"{subject.name} does not compute the integers of {subject.reference}: {different[0]} differs, "
            "so its time means nothing"
        )
    return True


class _Worker:
    """A process that runs one subject when asked to."""

    def __init__(self, subject: Subject) -> None:
        context = multiprocessing.get_context("spawn")
        self._subject = subject
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, subject), daemon=True)

    def __enter__(self) -> _Worker:
        self._process.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.join()

    def ask(self, request: str) -> Any:
        self._connection.send(request)
        while not self._connection.poll(1):
            if not self._process.is_alive():
                raise RuntimeError(f"{self._subject.name}: its process ended, see above")
        return self._connection.recv()


def _serve(connection: Connection, subject: Subject) -> None:
    imported = _resident()["VmRSS"]
    prepared = subject.prepare(subject.setting)
    FORGET_PEAK.write_text("5")  # the peak is now that of the run
    connection.recv()
    result = prepared.run()
    held = _device_peak(subject.setting.device) or _resident()["VmHWM"] - imported
    integers = prepared.integers(result)
    connection.send((held, None if integers is None else _digests(integers)))
    del result, integers
    _give_memory_back()
    while True:
        connection.recv()
        prepared.run()  # warms up: other processes had the caches and the memory
        start = time.perf_counter()
        prepared.run()
        connection.send(time.perf_counter() - start)
        _give_memory_back()


def _give_memory_back() -> None:
    """Return freed memory to the system, as it adds up over many processes; only glibc can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _digests(integers: dict[str, np.ndarray]) -> Digests:
    def digest(values: np.ndarray) -> str:
        as_integers = np.ascontiguousarray(values).astype("<i8")
        if not np.array_equal(as_integers, values):
            raise RuntimeError("a count or logit is not an integer")
        return hashlib.sha256(as_integers.tobytes()).hexdigest()

    return {name: digest(values) for name, values in integers.items()}


def _resident() -> dict[str, int]:
    """Memory figures of this process in bytes, by Linux's names for them."""
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}


def _device_peak(device: str) -> int:
    if device == "cpu":
        return 0
    import torch

    return torch.cuda.max_memory_allocated(device)
