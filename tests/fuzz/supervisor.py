"""Run workers one after the other, and go on where one crashed or hangs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HANGS_AFTER_S = 120
"""Seconds without a new case after which a worker is ended; a reader has 5 s of processor time."""

WORKER = (sys.executable, str(Path(__file__).parent), "--worker")
"""A command that takes an order."""

_POLL_S = 0.2
_MOST_CRASHES = 20  # of one reader, after which its other cases are left out


@dataclass
class Totals:
    """What all workers found so far.

    Attributes:
        counts: of verdicts, by engine and reader.
        findings: of each, its reader and record.
    """

    counts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    findings: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    at_work: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, engine: str, line: dict[str, Any]) -> None:
        with self.lock:
            reader = line["reader"]
            self.at_work[engine] = reader
            if "counts" in line:
                self.counts.setdefault((engine, reader), Counter()).update(line["counts"])
            if "finding" in line:
                self.findings.append((reader, line["finding"]))

    def cases(self, engine: str | None = None, reader: str | None = None) -> int:
        """Number of cases, of one engine or reader if given."""
        with self.lock:
            return sum(
                counts.total()
                for (of_engine, of_reader), counts in self.counts.items()
                if engine in (None, of_engine) and reader in (None, of_reader)
            )


class Lane:
    """Workers of one engine, one process at a time."""

    def __init__(
        self,
        engine: str,
        order: dict[str, Any],
        folder: Path,
        totals: Totals,
        worker: Sequence[str] = WORKER,
    ) -> None:
        self._engine, self._order, self._folder, self._totals = engine, order, folder, totals
        self._worker = worker
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> None:
        """Judge the cases of all readers of the order, whatever single ones do to their process."""
        left: list[str] = list(self._order["readers"])
        first, end = self._order["first"], time.monotonic() + self._order["seconds"]
        crashes: Counter[str] = Counter()
        attempt = 0
        while left and not self._stopped and time.monotonic() < end:
            rest = end - time.monotonic()
            order = {**self._order, "readers": left, "seconds": rest, "first_of": {left[0]: first}}
            last = self._one_process(order, attempt)
            attempt += 1
            if last is None:
                return
            crashes[last["reader"]] += 1
            if self._engine == "plain":
                left = left[left.index(last["reader"]) :]
                first = last["number"] + 1
                if crashes[last["reader"]] >= _MOST_CRASHES:
                    left, first = left[1:], self._order["first"]

    def stop(self) -> None:
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _one_process(self, order: dict[str, Any], attempt: int) -> dict[str, Any] | None:
        """Run a worker to its end; returns its last case if that ended it."""
        scratch = self._folder / f"{self._engine}-{attempt}"
        scratch.mkdir(parents=True)
        report, status, log = (
            scratch / name for name in ("report.jsonl", "status.json", "log.txt")
        )
        report.touch()
        order = {**order, "engine": self._engine, "scratch": str(scratch), "report": str(report),
                 "status": str(status)}  # fmt: skip
        command = [*self._worker, json.dumps(order)]
        with log.open("wb") as out, report.open() as lines:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
            last_sign, hangs, seen = time.monotonic(), False, b""
            while self._process.poll() is None:
                time.sleep(_POLL_S)
                self._take(lines)
                now = status.read_bytes() if status.exists() else b""
                if now != seen:
                    seen, last_sign = now, time.monotonic()
                if time.monotonic() - last_sign > HANGS_AFTER_S and not hangs:
                    hangs = True
                    self._process.kill()
            self._take(lines)
        code = self._process.returncode
        text = log.read_text(errors="replace")
        if self._stopped or code == 0:
            shutil.rmtree(scratch, ignore_errors=True)
            return None
        last: dict[str, Any] = json.loads(seen) if seen.strip() else {}
        if "path" not in last:
            raise RuntimeError(f"the worker ended with code {code} before a case:\n{text[-3000:]}")
        kind = "hangs" if hangs else "crash"
        kept = Path(order["findings"], last["reader"], f"{kind}-{attempt}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(last["path"], kept)
        finding = {
            **last,
            "kind": kind,
            "place": f"exit code {code}",
            "detail": text[-3000:],
            "kept": str(kept),
        }
        kept.with_name(f"{kept.name}.json").write_text(json.dumps(finding, indent=1))
        self._totals.add(self._engine, {"reader": last["reader"], "finding": finding})
        self._totals.add(self._engine, {"reader": last["reader"], "counts": {kind: 1}})
        shutil.rmtree(scratch, ignore_errors=True)
        return last

    def _take(self, lines: Any) -> None:
        while line := lines.readline():
            if line.endswith("\n"):
                self._totals.add(self._engine, json.loads(line))


def run_lanes(lanes: Sequence[Lane], on_progress: Any) -> None:
    """Run lanes side by side until all end, or until Ctrl-C."""
    errors: list[BaseException] = []

    def run(lane: Lane) -> None:
        try:
            lane.run()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(lane,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads) and not errors:
            time.sleep(_POLL_S)
            on_progress()
    finally:
        for lane in lanes:
            lane.stop()
        for thread in threads:
            thread.join(timeout=10)
    if errors:
        raise errors[0]
