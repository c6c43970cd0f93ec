"""Plant single faults in the product, one at a time, and see whether the tests notice.

    python tests/plant_faults.py --seed 0 --count 40

Each fault is one small change of one expression: a comparison turned, an index off by one, a term or factor
dropped, a negation dropped, ``and`` for ``or``. Sites are drawn at random over all product files (those of
the report's looks apart), so a seed names the same faults for the same sources. A fault is planted in
place, so that the installed command and its subprocesses have it too, and the file is put back after each
one. The tests of the fault's own folder run first, then all others; the first failure ends the run.

The last lines say how many faults were noticed, and show each one that was not. A survivor is either an
equivalent program (say why) or a missing test.
"""

from __future__ import annotations

import argparse
import ast
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("toolchain", "hw_models", "sim", "deploy")
LOOKS = ("deploy/report/",)  # colours and distances in pictures: looked at by people
SECONDS_PER_RUN = 1_500

TURNED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One expression and what takes its place."""

    path: Path
    start: tuple[int, int]  # line from 1, byte column from 0
    stop: tuple[int, int]
    replacement: str

    def planted(self, source: str) -> str:
        """The source with the fault in it."""
        lines = source.encode().splitlines(keepends=True)
        first, last = self.start[0] - 1, self.stop[0] - 1
        before, after = lines[first][: self.start[1]], lines[last][self.stop[1] :]
        lines[first : last + 1] = [before + self.replacement.encode() + after]
        return b"".join(lines).decode()

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.start[0]}: {self.replacement}"


def faults_of(path: Path) -> Iterator[Fault]:
    """Every fault that this script knows how to plant in a file."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    skipped = {child for node in ast.walk(tree) if _says_nothing(node) for child in ast.walk(node)}

    def text(node: ast.AST) -> str:
        return ast.get_source_segment(source, node) or ""

    for node in ast.walk(tree):
        if node in skipped or not hasattr(node, "lineno"):
            continue
        for replacement in _replacements(node, text):
            start, stop = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
            yield Fault(path, start, stop, f"({replacement})")


def _says_nothing(node: ast.AST) -> bool:
    """Parts whose change is no fault: messages, annotations, assertions."""
    if isinstance(
        node, ast.JoinedStr | ast.Raise | ast.Assert | ast.arg | ast.Import | ast.ImportFrom
    ):
        return True
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _replacements(node: ast.AST, text) -> Iterator[str]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            yield f"{text(left)} {TURNED[type(operator)]} {text(right)}"
        case ast.BinOp(
            left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv(), right=right
        ):
            if not _is_text(left) and not _is_text(right):
                yield text(left)
        case ast.BoolOp(op=ast.And(), values=values):
            yield " or ".join(f"({text(value)})" for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            yield " and ".join(f"({text(value)})" for value in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield text(operand)
        case ast.Subscript(slice=ast.Constant(value=int(index))):
            yield f"{text(node.value)}[{index + 1}]"
        case ast.Call(func=ast.Name(id="range"), args=arguments):
            *others, last = map(text, arguments)
            yield f"range({', '.join([*others, f'{last} - 1'])})"


def _is_text(node: ast.AST) -> bool:
    return any(isinstance(n, ast.JoinedStr | ast.Constant) and not isinstance(
        getattr(n, "value", None), int | float) for n in ast.walk(node))  # fmt: skip


def draw(seed: int, count: int) -> list[Fault]:
    """So many faults, spread over the files like their sites are."""
    files = [p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py"))]
    files = [p for p in files if not str(p.relative_to(ROOT)).startswith(LOOKS)]
    return random.Random(seed).sample([fault for p in files for fault in faults_of(p)], count)


def is_noticed(fault: Fault, workers: int) -> str | None:
    """The first failing test, or None when the suite passes with the fault planted."""
    own = fault.path.relative_to(ROOT).parts[0]
    others = [str(p) for p in sorted((ROOT / "tests").iterdir()) if p.is_dir() and p.name != own]
    for paths in ([f"tests/{own}"], others):
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", str(workers), *paths]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=SECONDS_PER_RUN,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "the tests do not end"
        if done.returncode not in (0, 5):
            failed = [s for s in done.stdout.splitlines() if s.startswith(("FAILED", "ERROR"))]
            return failed[0][:150] if failed else f"exit code {done.returncode}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if subprocess.run(["git", "diff", "--quiet"], cwd=ROOT, check=False).returncode:
        print("the tree has changes: commit them first, as each file is put back as it is now")
        return 2
    survivors = []
    for number, fault in enumerate(draw(options.seed, options.count), 1):
        source = fault.path.read_text(encoding="utf-8")
        try:
            fault.path.write_text(fault.planted(source), encoding="utf-8")
            noticed_by = is_noticed(fault, options.workers)
        finally:
            fault.path.write_text(source, encoding="utf-8")
        print(f"{number:3} {fault}\n    {noticed_by or 'NOT NOTICED'}", flush=True)
        if noticed_by is None:
            survivors.append(fault)
    print(f"\n{options.count - len(survivors)} of {options.count} faults noticed")
    for fault in survivors:
        print(f"  not noticed: {fault}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
