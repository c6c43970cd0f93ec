"""Plain documents turned into typed values, or refused with one kind of message.

A document's type is declared once: as a ``msgspec.Struct``, a dataclass or a ``TypedDict``, with limits as
``Annotated`` types such as those of ``field_types``. ``typed`` converts what a parser returned, see
``bounded_readers``.
Its message has the form ``FILE: populations[2].timesteps must be an integer of at least 1, not 0; REMEDY``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from toolchain.errors import ModelFileError, QacDeployError
from toolchain.shown_values import shown

T = TypeVar("T")


def typed(
    document: Any,
    kind: type[T],
    path: Path | str,
    *,
    where: str = "",
    error: type[QacDeployError] = ModelFileError,
    remedy: str = "",
) -> T:
    """A plain document as a value of a declared type.

    Args:
        document: of records, lists, texts and numbers; ``bool`` is no integer, an integer is a number.
        path: the file, for messages.
        where: path of the document inside the file, such as ``line 3``.
        error: class of the error.
        remedy: end of its message.

    Raises:
        QacDeployError: of that class; names the file, the first field that is wrong, what it must be, its
            value and the remedy.
    """
    try:
        return msgspec.convert(document, kind, strict=True)
    except UnicodeEncodeError:
        raise error(
            f"{path}: {where or 'content'} has a name that is no Unicode text{_end(remedy)}"
        ) from None
    except msgspec.ValidationError as failed:
        from toolchain.schema_messages import explain  # only a wrong document needs it

        raise error(
            f"{path}: {explain(document, kind, where, str(failed))}{_end(remedy)}"
        ) from None


def refusal(
    path: Path | str,
    field: str,
    must_be: str,
    value: object,
    *,
    error: type[QacDeployError] = ModelFileError,
    remedy: str = "",
) -> QacDeployError:
    """The error for a field whose type cannot say what is wrong with it; raise it."""
    return error(f"{path}: {field} must be {must_be}, not {shown(value)}{_end(remedy)}")


def _end(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""
