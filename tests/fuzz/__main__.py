"""Give changed files to every reader of files, and odd lines and environments to every command.

    python tests/fuzz --seconds 600            # files by number on one core, guided by coverage on another,
                                               # then command lines and environments, a tenth each
    python tests/fuzz --count 3000             # the first cases of each reader, the same ones every time
    python tests/fuzz --only model --case 17   # one case again, with its outcome

Findings are kept as files, each with a record beside it. The exit code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0:1] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from fuzz import command_lines, environments
from fuzz.supervisor import Lane, Totals, run_lanes
from fuzz.table import BY_NAME, READERS

ROOT = Path(__file__).parents[2]
_SECONDS_PER_LINE = 10
_SECONDS_PER_GROUP = 120  # of guided readers, which share what they cover
_ENDLESS = 10**9
_COMMANDS = {"command lines": command_lines.run, "environments": environments.run}
_SHARE, _LEAST_SECONDS = 0.1, 15  # of the time of a whole run, for each of these


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=float, default=600, help="time of the whole run (default: 600)"
    )
    parser.add_argument(
        "--count",
        type=int,
        help="cases of each reader, a fifth of slow ones, however long they take",
    )
    parser.add_argument(
        "--first", type=int, help="number of the first case (default: the time, or 0 with --count)"
    )
    parser.add_argument("--only", nargs="+", metavar="READER", help="these readers alone")
    parser.add_argument("--case", type=int, help="run one case here and print its outcome")
    parser.add_argument(
        "--findings", type=Path, default=ROOT / ".fuzz", help="folder of findings (.fuzz)"
    )
    parser.add_argument("--counts", type=Path, help="write counts per reader to this JSON file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        from fuzz import worker

        worker.main(json.loads(arguments.worker))
        return 0
    names = arguments.only or list(BY_NAME)
    if unknown := [name for name in names if name not in BY_NAME]:
        parser.error(f"no reader {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    if arguments.case is not None:
        return _one_case(names[0], arguments.case)
    first = arguments.first
    if first is None:
        first = 0 if arguments.count else int(time.time())
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may have told us to ignore the first
        signal.signal(number, signal.default_int_handler)
    started, totals = time.monotonic(), Totals()
    whole = not (arguments.count or arguments.only)
    on_commands = max(_LEAST_SECONDS, _SHARE * arguments.seconds)
    if whole:
        arguments.seconds = max(0, arguments.seconds - on_commands * len(_COMMANDS))
    faults = 0
    scratch = Path(
        tempfile.mkdtemp(
            prefix="qac-deploy-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
        )
    )
    try:
        lanes = _lanes(names, first, arguments, scratch, totals)
        run_lanes(
            lanes, _progress(totals, started, arguments.seconds if not arguments.count else None)
        )
        if whole:
            faults = _judge_commands(on_commands, first, arguments.findings)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _print_summary(totals, time.monotonic() - started, arguments.findings)
    if arguments.counts:
        _write_counts(arguments.counts, totals)
    return 130 if interrupted else int(bool(totals.findings or faults))


def _judge_commands(seconds: float, seed: int, folder: Path) -> int:
    """Run commands with odd lines and in odd environments; returns the number of findings, which it keeps."""
    found = 0
    for name, run in _COMMANDS.items():
        print(f"{name} for {seconds:.0f} s", flush=True)
        result = run(seconds, seed)
        codes = ", ".join(f"{n:,} with {code}" for code, n in sorted(result["codes"].items()))
        print(f"{name}: {result['cases']:,} cases ({codes}), {len(result['findings'])} findings")
        if result["findings"]:
            folder.mkdir(exist_ok=True)
            kept = folder / f"{name.replace(' ', '-')}-{seed}.json"
            kept.write_text(json.dumps(result["findings"], indent=1) + "\n")
            print(f"  {kept}")
            found += len(result["findings"])
    return found


def _lanes(names, first, arguments, scratch, totals):
    """One lane by number and one guided by coverage, or with --count two by number."""
    order = {
        "first": first,
        "count": arguments.count or _ENDLESS,
        "findings": str(arguments.findings.resolve()),
    }

    def lane(engine, names, seconds, label):
        return Lane(
            engine, {**order, "readers": names, "seconds": seconds}, scratch / label, totals
        )

    if arguments.count:
        halves = [part for part in (names[::2], names[1::2]) if part]
        return [lane("plain", part, float(_ENDLESS), f"half-{n}") for n, part in enumerate(halves)]
    lanes = [lane("plain", names, arguments.seconds, "plain")]
    if _has_atheris():
        num_groups = min(len(names), max(1, int(arguments.seconds // _SECONDS_PER_GROUP)))
        size = -(-len(names) // num_groups)
        groups = [names[n : n + size] for n in range(0, len(names), size)]
        seconds = arguments.seconds / len(groups)
        lanes.append(
            _InTurn([lane("guided", g, seconds, f"guided-{n}") for n, g in enumerate(groups)])
        )
    return lanes


class _InTurn:
    """Lanes one after the other."""

    def __init__(self, lanes):
        self._lanes, self._stopped = lanes, False

    def run(self):
        for lane in self._lanes:
            if not self._stopped:
                lane.run()

    def stop(self):
        self._stopped = True
        for lane in self._lanes:
            lane.stop()


def _has_atheris() -> bool:
    from importlib.util import find_spec

    if find_spec("atheris") is None:
        print(
            "atheris is not installed (it has no wheel for this Python), so coverage guides no case",
            flush=True,
        )
        return False
    return True


def _progress(totals, started, seconds):
    last = [started]

    def say():
        now = time.monotonic()
        if now - last[0] >= _SECONDS_PER_LINE:
            last[0] = now
            at_work = ", ".join(
                f"{engine} {reader}" for engine, reader in sorted(totals.at_work.items())
            )
            of = "" if seconds is None else f" of {seconds:.0f}"
            done = f"{totals.cases():,} cases, {len(totals.findings)} findings"
            print(f"{now - started:.0f}{of} s: {done}; {at_work}", flush=True)

    return say


def rows(totals: Totals) -> list[dict[str, object]]:
    """Counts of each reader: cases of both engines, refused and accepted ones, and findings by kind."""
    found = []
    for reader in READERS:
        counts = [c for (_, name), c in totals.counts.items() if name == reader.name]
        if counts:
            together = sum(counts[1:], counts[0])
            kinds = {
                kind: n
                for kind, n in sorted(together.items())
                if kind not in ("refused", "accepted")
            }
            found.append(
                {
                    "reader": reader.name,
                    "cases": together.total(),
                    "guided": totals.cases("guided", reader.name),
                    "refused": together["refused"],
                    "accepted": together["accepted"],
                    "findings": kinds,
                }
            )
    return found


def _print_summary(totals: Totals, seconds: float, folder: Path) -> None:
    print(f"\n{'reader':28}{'cases':>10}{'guided':>10}{'refused':>10}{'accepted':>10}  findings")
    for row in rows(totals):
        kinds = ", ".join(f"{n} {kind}" for kind, n in row["findings"].items()) or "none"
        numbers = [row[column] for column in ("cases", "guided", "refused", "accepted")]
        print(f"{row['reader']:28}{''.join(f'{n:>10,}' for n in numbers)}  {kinds}")
    places = f"{len(totals.findings)} findings of different kind or place"
    print(f"{totals.cases():,} cases in {seconds:.0f} s; {places}")
    for reader, finding in totals.findings:
        said = finding["detail"].strip().splitlines() or [""]
        print(
            f"  {reader}: {finding['kind']}: {finding['place']}: {said[-1][:150]}\n    {finding['kept']}"
        )
    if totals.findings:
        print(
            f"findings are in {folder}, each with a record; `--only READER --case NUMBER` runs one again"
        )


def _write_counts(path: Path, totals: Totals) -> None:
    path.write_text(json.dumps(rows(totals), indent=1) + "\n")


def _one_case(name: str, number: int) -> int:
    from fuzz.cases import Stage, case_of
    from fuzz.judge import Judge

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        judge, stage = Judge(scratch), Stage(BY_NAME[name], scratch)
        sound, case = stage.contents(), case_of(stage.reader, stage.sound, number)
        must_agree = stage.reader.own or (stage.reader.checked and case.is_damage)
        verdict = judge.verdict(
            stage.reader, stage.placed(case), [sound[case.seed]] if must_agree else None
        )
    print(f"{case.file} of sound files {case.seed}: {verdict.kind}\n{verdict.detail}")
    return int(verdict.is_finding)


if __name__ == "__main__":
    sys.exit(main())
