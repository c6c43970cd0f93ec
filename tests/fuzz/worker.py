"""One process of a run: cases by number, or cases that coverage guides. A crash ends this process alone."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from fuzz.cases import Case, Stage, case_of
from fuzz.judge import Judge, Verdict
from fuzz.table import BY_NAME

PACKAGES = ["toolchain", "hw_models", "sim", "deploy"]
_LONGEST_INPUT = 1 << 20
_SECONDS_PER_REPORT = 1.0
_FEWER = 5  # times as many cases of a reader that is not slow


class Worker:
    """Judges cases, and writes counts and findings as lines of a file.

    Args:
        order: ``engine``; ``readers``; ``first``, the number of the first case, and ``first_of`` single
            readers; ``count`` of each reader; ``seconds`` of all together; ``findings`` and ``scratch``,
            which are folders; ``report`` and ``status``, which are files.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.scratch = Path(order["scratch"])
        self.judge = Judge(self.scratch)
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._reported = time.monotonic()
        self._report = os.open(order["report"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._status = os.open(order["status"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._parent = os.getppid()
        self._seen: set[tuple[str, str, str]] = set()

    def say(self, **line: Any) -> None:
        os.write(self._report, json.dumps(line).encode() + b"\n")

    def is_at(self, status: dict[str, Any]) -> None:
        """Leave a sign of life, and what is at work if it is the last one."""
        os.pwrite(self._status, json.dumps(status).ljust(1_000).encode(), 0)

    def flush(self, *, at_once: bool = False) -> None:
        """Report what was counted, about every second; end with the process that reads it."""
        now = time.monotonic()
        if at_once or now - self._reported > _SECONDS_PER_REPORT:
            for reader, counts in self.counts.items():
                self.say(reader=reader, counts=counts)
            self.counts.clear()
            self._reported = now
            if os.getppid() != self._parent:
                os._exit(1)  # nobody reads the report any more

    def run_case(
        self, stage: Stage, case: Case, sound: list[Any] | None, number: int | None
    ) -> Verdict:
        """Judge one case, and keep a finding of a kind and place that this run has not seen."""
        reader = stage.reader
        folder = stage.placed(case)
        path = str(folder / case.file)
        self.is_at(
            {
                "reader": reader.name,
                "number": number,
                "file": case.file,
                "seed": case.seed,
                "path": path,
            }
        )
        verdict = self.judge.verdict(reader, folder, sound)
        stage.cleared(case)
        self.counts[reader.name][verdict.kind] += 1
        key = reader.name, verdict.kind, verdict.place
        if verdict.is_finding and key not in self._seen:
            self._seen.add(key)
            name = hashlib.sha256(case.content).hexdigest()[:12]
            kept = Path(
                self.order["findings"], reader.name, f"{verdict.kind.replace(' ', '-')}-{name}"
            )
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(case.content)
            finding = {
                **asdict(verdict),
                "number": number,
                "file": case.file,
                "seed": case.seed,
                "kept": str(kept),
            }
            kept.with_name(f"{kept.name}.json").write_text(json.dumps(finding, indent=1))
            self.say(reader=reader.name, finding=finding)
        self.flush()
        return verdict

    def plain(self) -> None:
        """Cases by number: of each reader as many as asked for, or as fit into its time."""
        deadline = time.monotonic() + self.order["seconds"]
        shares = [BY_NAME[name].share for name in self.order["readers"]]
        for place, name in enumerate(self.order["readers"]):
            now = time.monotonic()
            end = now + (deadline - now) * shares[place] / sum(shares[place:])
            self.is_at({"reader": name})
            stage = Stage(BY_NAME[name], self.scratch)
            sound = stage.contents()
            self.judge.limit_memory()
            number = self.order["first_of"].get(name, self.order["first"])
            count = self.order["count"]
            last = self.order["first"] + (count // _FEWER if stage.reader.slow else count)
            while number < last and time.monotonic() < end:
                case = case_of(stage.reader, stage.sound, number)
                must_agree = stage.reader.own or (stage.reader.checked and case.is_damage)
                self.run_case(stage, case, [sound[case.seed]] if must_agree else None, number)
                number += 1
            self.flush(at_once=True)
            self.say(reader=name, finished=number)

    def guided(self) -> None:
        """Cases that atheris chooses: those that reached new lines of ours are changed further.

        An input is the index of a reader, of a file of it, and the content.
        """
        import atheris

        names, deadline = self.order["readers"], time.monotonic() + self.order["seconds"]
        with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
            stages, contents = [], []
            for name in names:
                self.is_at({"reader": name})
                stages.append(Stage(BY_NAME[name], self.scratch))
                contents.append(stages[-1].contents())  # lazy imports happen here
        self.judge.limit_memory()
        corpus = self.scratch / "inputs"
        corpus.mkdir()
        for index, stage in enumerate(stages):
            for files in stage.sound:
                for place, name in enumerate(stage.reader.files):
                    if name in files:
                        content = bytes([index, place]) + files[name]
                        (corpus / hashlib.sha256(content).hexdigest()).write_bytes(content)

        def one_input(data: bytes) -> None:
            if len(data) < 2 or data[0] >= len(stages):
                return
            stage = stages[data[0]]
            files = stage.reader.files
            name, content = files[data[1] % len(files)], data[2:]
            holders = [seed for seed, held in enumerate(stage.sound) if name in held]
            if not holders:
                return
            is_sound = any(content == held.get(name) for held in stage.sound)
            must_agree = stage.reader.own and not is_sound
            case = Case(holders[0], name, bytes(content), False)
            self.run_case(stage, case, contents[data[0]] if must_agree else None, None)

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            chance = Random(seed)
            head = data[:2]
            if len(data) < 2 or head[0] >= len(stages):
                head = bytes([chance.randrange(len(stages)), 0])
            changed = stages[head[0]].reader.change(data[2:], chance)
            return (head + changed)[:most]

        options = {
            "max_total_time": max(1, int(deadline - time.monotonic())),
            "max_len": _LONGEST_INPUT,
            "len_control": 0,
            "rss_limit_mb": 0,  # the judge measures memory and time
            "timeout": 120,
            "verbosity": 0,
            "seed": self.order["first"] % 2**31 or 1,
            "artifact_prefix": f"{self.scratch}/",
        }
        words = [f"-{name}={value}" for name, value in options.items()]
        atheris.Setup([sys.argv[0], *words, str(corpus)], one_input, custom_mutator=mutate)
        atheris.Fuzz()  # ends the process


def main(order: dict[str, Any]) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    worker = Worker(order)
    if order["engine"] == "guided":
        worker.guided()
    else:
        import torch

        torch.set_num_threads(1)
        worker.plain()
