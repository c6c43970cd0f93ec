"""JSON for machines: exactly one document on standard output, and nothing else there."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any

_taken: ContextVar[list[Any] | None] = ContextVar("taken", default=None)


def print_json(document: Any) -> None:
    """Print the document of a command, or leave it to what runs the command and asked for it."""
    documents = _taken.get()
    if documents is None:
        print(as_json(document))
    else:
        documents.append(document)


@contextmanager
def taken_documents() -> Iterator[list[Any]]:
    """Gather what the block hands to ``print_json`` in a list."""
    documents: list[Any] = []
    token = _taken.set(documents)
    try:
        yield documents
    finally:
        _taken.reset(token)


def as_json(document: Any) -> str:
    """A document as JSON in ASCII; numbers that JSON does not have, such as NaN, become null.

    A byte of a file name that is not UTF-8 becomes a surrogate, ``\\udc80`` to ``\\udcff``; ``json.loads``
    and ``os.fsencode`` of Python turn it into the byte again.
    """
    try:
        return json.dumps(document, indent=1, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value


def error_document(kind: str, message: str, exit_code: int) -> dict[str, dict[str, str | int]]:
    """What ``--json`` prints where a command ends without its document."""
    return {"error": {"type": kind, "message": message, "exit_code": exit_code}}


def leave_error(kind: str, message: str, exit_code: int) -> None:
    """Tell an error that the command itself shows, if a document is asked for."""
    documents = _taken.get()
    if documents is not None:
        documents[:] = [error_document(kind, message, exit_code)]


def is_error(document: Any) -> bool:
    """Whether a document is that of an error."""
    return isinstance(document, dict) and "error" in document


@contextmanager
def own_stdout() -> Iterator[Callable[[str], None]]:
    """A function that writes to standard output, which is the block's alone.

    What others print meanwhile, also child processes and C code, goes to standard error.
    """
    stdout = sys.stdout
    try:
        is_descriptor = stdout.fileno() == 1
    except (OSError, ValueError):
        is_descriptor = False
    if not is_descriptor:
        with redirect_stdout(sys.stderr):
            yield lambda text: print(text, end="", file=stdout, flush=True)
        return
    stdout.flush()
    descriptor = os.dup(1)
    os.dup2(2, 1)

    def write(text: str) -> None:
        rest = text.encode("ascii")
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    try:
        yield write
    finally:
        stdout.flush()
        os.dup2(descriptor, 1)
        os.close(descriptor)
