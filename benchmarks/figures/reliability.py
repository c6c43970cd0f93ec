"""docs/reliability.md: what became of damaged and hostile files, counted by reader."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.figures.commands import ROOT, Commands
from benchmarks.figures.pages import table

CASES = 4_000


def measure(commands: Commands) -> dict[str, Any]:
    """Give changed files to every reader; the command's findings are part of what it measured."""
    said = f"python tests/fuzz --count {CASES}"
    print("$", said, file=sys.stderr, flush=True)
    commands.ran.append(said)
    counts = commands.folder / "reliability-counts.json"
    further = ["--counts", str(counts), "--findings", str(commands.folder / "findings")]
    subprocess.run([sys.executable, *said.split()[1:], *further], cwd=ROOT, check=False)
    return {"readers": json.loads(counts.read_text("utf-8"))}


def show(found: dict[str, Any]) -> dict[str, str]:
    readers = found["readers"]
    rows = [_row(reader["reader"], [reader]) for reader in readers]
    columns = ("reader", "changed files", "refused", "read", "findings")
    return {"fuzz": table(columns, [*rows, _row("**all**", readers)])}


def _row(name: str, readers: list[dict[str, Any]]) -> tuple[str, ...]:
    kinds: dict[str, int] = {}
    for reader in readers:
        for kind, number in reader["findings"].items():
            kinds[kind] = kinds.get(kind, 0) + number
    totals = [
        sum(reader[column] for reader in readers) for column in ("cases", "refused", "accepted")
    ]
    findings = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items()) or "0"
    return name, *(f"{total:,}" for total in totals), findings
