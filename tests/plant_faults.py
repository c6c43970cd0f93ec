"""Plant single faults in the product, one at a time, and see whether the tests notice.

    python tests/plant_faults.py --seed 0 --count 40

Each fault is one small change of one expression: a comparison turned, an index off by one, a term or factor
dropped, a negation dropped, ``and`` for ``or``. A seed names the same faults for the same sources. A fault
is planted in place, so that the installed command has it too, and the file is put back afterwards. The tests
nearest to the faulty module run first: those that import it, then those that import a module that imports
it, and so on. What no test notices is an equivalent program (say why), or a missing test.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
FOLDERS = ("toolchain", "hw_models", "sim", "deploy")
LOOKS = ROOT / "deploy" / "report"  # colours and distances in pictures: looked at by people
SAYS_NOTHING = (ast.JoinedStr, ast.Raise, ast.Assert, ast.arg)  # messages, assertions, annotations
NEAREST = 6  # test files that run before all others are even imported

TURNED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
OTHER: dict[type[ast.boolop], str] = {ast.And: " or ", ast.Or: " and "}


@dataclass(frozen=True)
class Fault:
    """One expression, from line and byte column to line and byte column, and what takes its place."""

    path: Path
    start: tuple[int, int]
    stop: tuple[int, int]
    replacement: str

    def planted(self, source: str) -> str:
        """The source with the fault in it."""
        lines = source.encode().splitlines(keepends=True)
        first, last = self.start[0] - 1, self.stop[0] - 1
        before = b"".join(lines[:first]) + lines[first][: self.start[1]]
        after = lines[last][self.stop[1] :] + b"".join(lines[last + 1 :])
        return (before + self.replacement.encode() + after).decode()

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.start[0]}: {self.replacement}"


def faults_of(path: Path) -> Iterator[Fault]:
    """Every fault that this script knows how to plant in a file."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    skipped = {
        n for node in ast.walk(tree) if isinstance(node, SAYS_NOTHING) for n in ast.walk(node)
    }
    for node in ast.walk(tree):
        for replacement in _replacements(node, lambda n: ast.get_source_segment(source, n)):
            if node not in skipped:
                start, stop = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
                yield Fault(path, start, stop, f"({replacement})")


def _replacements(node: ast.AST, text: Callable[[ast.AST], str]) -> Iterator[str]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            yield f"{text(left)} {TURNED[type(operator)]} {text(right)}"
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv()):
            if not re.search(r'"|None|\.\.\.', text(node)):  # texts, and axes of arrays
                yield text(node.left)
        case ast.BoolOp(op=operator, values=values):
            yield OTHER[type(operator)].join(f"({text(value)})" for value in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield text(operand)
        case ast.Subscript(slice=ast.Constant(value=int(index))):
            yield f"{text(node.value)}[{index + 1}]"
        case ast.Call(func=ast.Name(id="range"), args=arguments):
            *others, last = map(text, arguments)
            yield f"range({', '.join([*others, f'{last} - 1'])})"


def draw(seed: int, count: int) -> list[Fault]:
    """So many faults, spread over the files like their sites are."""
    files = [p for f in FOLDERS for p in sorted((ROOT / f).rglob("*.py")) if LOOKS not in p.parents]
    return random.Random(seed).sample([fault for p in files for fault in faults_of(p)], count)


def imports_of(path: Path) -> set[str]:
    """Names of the modules that a file imports, at any place in it."""
    found = {"deploy.cli.main"} if path.name == "installed_command.py" else set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    conftest = path.with_name("conftest.py")
    return found | imports_of(conftest) if path != conftest and conftest.exists() else found


def nearest_tests(fault: Fault) -> list[Path]:
    """All test files, by how many imports lie between them and the faulty module."""
    files = [p for f in (*FOLDERS, "tests") for p in (ROOT / f).rglob("*.py")]
    imports = {path: imports_of(path) for path in files}
    near = [fault.path]
    if fault.path.parent.name == "bundle":  # copied, not imported
        near += fault.path.parent.parent.glob("*.py")
    distance = dict.fromkeys(near, 0)
    for path in near:  # grows while it is read
        parts = path.relative_to(TESTS if TESTS in path.parents else ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        readers = [p for p in files if p not in distance and name in imports[p]]
        distance |= dict.fromkeys(readers, distance[path] + 1)
        near += readers
    own = TESTS / fault.path.relative_to(ROOT).parts[0]
    found = sorted(TESTS.rglob("test_*.py"))
    return sorted(found, key=lambda p: (distance.get(p, len(files)), own not in p.parents))


def noticed_by(fault: Fault, seconds: int) -> str | None:
    """The first failing test, or None when no test fails with the fault planted."""
    paths = nearest_tests(fault)
    for batch in (paths[:NEAREST], paths[NEAREST:]):
        command = ["timeout", str(seconds), sys.executable, "-m", "pytest", "-x", "-q", "-n2"]
        command += ["--maxschedchunk=1", "--hypothesis-profile=unshrunk", *map(str, batch)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 5):
            failed = [s for s in done.stdout.splitlines() if s.startswith(("FAILED", "ERROR"))]
            return (failed or [f"{batch[0].name}, ...: exit code {done.returncode}"])[0][:150]
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seconds", type=int, default=1_500, help="for the tests of one fault")
    options = parser.parse_args()
    if subprocess.run(["git", "diff", "--quiet"], cwd=ROOT, check=False).returncode:
        parser.error("the tree has changes: commit them first, as files are put back from it")
    survivors = []
    for number, fault in enumerate(draw(options.seed, options.count), 1):
        source = fault.path.read_text(encoding="utf-8")
        try:
            fault.path.write_text(fault.planted(source), encoding="utf-8")
            test = noticed_by(fault, options.seconds)
        finally:
            fault.path.write_text(source, encoding="utf-8")
        print(f"{number:3} {fault}\n    {test or 'NOT NOTICED'}", flush=True)
        survivors += [] if test else [fault]
    print(
        f"\n{options.count - len(survivors)} of {options.count} faults noticed, all but", *survivors
    )


if __name__ == "__main__":
    main()
