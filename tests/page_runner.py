"""Run the code blocks of a page as a reader would: top to bottom, in one folder and one Python session.

A comment directly above a block says what is done otherwise, and why::

    <!-- not run: installs packages -->
    <!-- run with epochs=30 => epochs=1; fashion-mnist => digits; reason: minutes of training -->
    <!-- file: metrics.py -->
    <!-- output -->

The third one saves the block under that name. The last one says that the block is what the Python block
before it prints, where "…" stands for a figure of a model that another processor trains a little otherwise.
Lines that install packages are left out; other tests install.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installed_command import run_command
from markdown_pages import CodeBlock, code_blocks

COMMAND_LANGUAGES = ("bash", "console", "sh", "shell")
PROGRAMS = ("qac-deploy", "python", "python3", "make", "pip", "apt", "apt-get", "git")
INSTALLERS = ("pip", "apt", "apt-get")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a block: it is ``ran``, or else ``reason`` says why not."""

    block: CodeBlock
    ran: bool
    reason: str = ""
    output: str = ""


class PageError(AssertionError):
    """A block of a page does not run, or its mark is wrong."""


def kind_of(block: CodeBlock) -> str:
    """``python``, ``commands``, or ``shown`` for output, pictures in text and files of other tools."""
    if block.language in ("python", "py"):
        return "python"
    words = block.text.split()
    is_command = bool(words) and words[0] in PROGRAMS
    if block.language in COMMAND_LANGUAGES or (block.language == "" and is_command):
        return "commands"
    return "shown"


def substitutions(block: CodeBlock) -> list[tuple[str, str]]:
    """(printed, run) of a mark ``run with``; each printed text must be in the block.

    Raises:
        PageError: the mark lacks its reason, or names text that the block does not have.
    """
    if not block.mark.startswith("run with "):
        return []
    *changes, reason = (part.strip() for part in block.mark.removeprefix("run with ").split(";"))
    if not reason.removeprefix("reason:").strip() or not reason.startswith("reason:"):
        raise PageError(
            f"line {block.line}: the mark must end with '; reason: ...', not '{reason}'"
        )
    pairs = [tuple(part.strip() for part in change.split("=>")) for change in changes]
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in block.text:
            raise PageError(
                f"line {block.line}: the block does not have what the mark replaces: {pair}"
            )
    return pairs  # type: ignore[return-value]


def reason_not_run(block: CodeBlock) -> str:
    """Why a block is not run; empty if it is.

    Raises:
        PageError: the mark gives no reason.
    """
    if not block.mark.startswith("not run"):
        return ""
    reason = block.mark.removeprefix("not run").removeprefix(":").strip()
    if not reason:
        raise PageError(f"line {block.line}: the mark 'not run' must give a reason")
    return reason


def run_page(page: Path, folder: Path, names: dict[str, Any] | None = None) -> list[Outcome]:
    """Run a page in a folder that may hold files which the page takes for granted.

    Args:
        names: what the Python session of the reader holds before; it gets what the page defines.

    Raises:
        PageError: a block fails; the message names its line.
    """
    session = {} if names is None else names
    session["__name__"] = "page"
    outcomes: list[Outcome] = []
    for block in code_blocks(page):
        if block.mark == "output":
            _compare_output(page, block, outcomes)
        outcomes.append(_run_block(page, block, folder, session))
    return outcomes


def _compare_output(page: Path, block: CodeBlock, before: list[Outcome]) -> None:
    """Require that a block is what the one before it printed."""
    printed = before[-1].output if before else ""
    pattern = "[^\n]*".join(map(re.escape, block.text.split("…")))
    if re.fullmatch(pattern, printed) is None:
        raise PageError(f"{page.name}, line {block.line}: the block before prints\n{printed}")


def _run_block(page: Path, block: CodeBlock, folder: Path, session: dict[str, Any]) -> Outcome:
    kind, reason = kind_of(block), reason_not_run(block)
    if reason:
        return Outcome(block=block, ran=False, reason=reason)
    if kind == "shown":
        if block.mark.startswith("file:"):
            _save(block, block.text, folder)
        return Outcome(block=block, ran=False, reason="is no code")
    text = block.text
    for printed, replacement in substitutions(block):
        text = text.replace(printed, replacement)
    if block.mark.startswith("file:"):
        _save(block, text, folder)
        return Outcome(block=block, ran=True)
    place = f"{page.name}, line {block.line}"
    if kind == "python":
        output = _run_python(text, place, folder, session)
        return Outcome(block=block, ran=True, output=output)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    outputs = [_run_line(line, place, folder) for line in lines if line.strip()]
    return Outcome(block=block, ran=True, output="".join(outputs))


def _save(block: CodeBlock, text: str, folder: Path) -> None:
    (folder / block.mark.removeprefix("file:").strip()).write_text(text, encoding="utf-8")


def _run_python(text: str, place: str, folder: Path, session: dict[str, Any]) -> str:
    """What the text prints; it can import the files of the folder."""
    before, path, printed = Path.cwd(), sys.path[:], io.StringIO()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        with redirect_stdout(printed):
            exec(compile(text, place, "exec"), session)
    except Exception as error:
        raise PageError(f"{place}: {type(error).__name__}: {error}") from error
    finally:
        os.chdir(before)
        sys.path[:] = path
    return printed.getvalue()


def _run_line(line: str, place: str, folder: Path) -> str:
    words = shlex.split(line.removeprefix("$ "), comments=True)
    if not words or words[0] in INSTALLERS:
        return ""
    if words[0] == "qac-deploy":
        process = run_command(*words[1:], cwd=folder)
    else:
        program = sys.executable if words[0].startswith("python") else words[0]
        process = subprocess.run(
            [program, *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    if process.returncode != 0:
        raise PageError(
            f"{place}: `{line.strip()}` ended with {process.returncode}: {process.stderr}"
        )
    return process.stdout
