"""JSON files of ours, read into the types that are declared for them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from toolchain.bounded_readers import read_json
from toolchain.errors import ModelFileError
from toolchain.schema import typed

T = TypeVar("T")


def read_typed_json(path: Path, kind: type[T], *, absent: str, remedy: str) -> T:
    """Read a JSON file into a value of a declared type (see ``toolchain.schema``).

    Args:
        absent: end of the message if the file cannot be read.
        remedy: end of the message if its content is wrong.

    Raises:
        ModelFileError: naming the file, the field that is wrong, what it must be and the remedy.
    """
    try:
        document = read_json(path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read; {absent}") from error
    except ValueError as error:
        raise ModelFileError(f"{path}: not valid JSON ({error}); {remedy}") from error
    return typed(document, kind, path, remedy=remedy)
