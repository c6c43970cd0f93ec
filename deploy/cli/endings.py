"""How a command ends: its exit code, and the error that it tells people and machines."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import typer
from typer.core import TyperCommand, TyperGroup

from deploy.cli.help import HelpContext
from deploy.cli.signals import INTERRUPTED, interrupted
from toolchain.errors import QacDeployError
from toolchain.optional_packages import optional_packages
from toolchain.printable import printable

DIFFERENT, REFUSED, BUG, OUTPUT_CLOSED = 1, 2, 70, 141

EXIT_CODES = {
    0: "done, and no comparison found a difference",
    DIFFERENT: "a comparison found a difference, which is printed",
    REFUSED: "the input, an option or the system does not allow it: the message says what to do",
    BUG: "a bug in qac-deploy, with a traceback",
    INTERRUPTED: "interrupted by Ctrl-C, SIGTERM or SIGHUP; earlier outputs are as they were",
    OUTPUT_CLOSED: "the program that read the output, such as head, closed it",
}

_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EFBIG: "raise the limit on the size of a file",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "choose another place",
    errno.ENOTDIR: "choose another place",
    errno.EMFILE: "raise the limit on open files",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs",
    errno.EIO: "check the disk",
}
"""What a user can do about errors of the system. All others, such as a missing file, are bugs here."""

_UsageError, _ClickError = typer.BadParameter.__mro__[1:3]  # of click, or of typer's own copy of it


@dataclass(frozen=True)
class Ending:
    """The end of a run.

    Attributes:
        kind: the error's class, as in Python; None if there is no error to tell.
        message: of the error, for machines.
        shown: the same for people; None if it was shown before, or there is none.
    """

    code: int
    kind: str | None = None
    message: str = ""
    shown: str | None = None


class OutputClosedError(Exception):
    """The reader of standard output has closed it."""


class Command(TyperCommand):
    """A command."""

    context_class = HelpContext


class Commands(TyperGroup):
    """All commands. A closed output is told from other errors."""

    context_class = HelpContext

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise OutputClosedError from error


def ending_of(run: Callable[[], object]) -> Ending:
    """Run something, and say how it ended.

    After a signal every error counts as the interrupt: libraries turn it into errors of their own.

    Args:
        run: returns an exit code, or None for 0.
    """
    ending = _uninterrupted_ending_of(run)
    if ending.code and interrupted():
        return Ending(INTERRUPTED, "KeyboardInterrupt", "interrupted")
    return ending


def _uninterrupted_ending_of(run: Callable[[], object]) -> Ending:
    try:
        with optional_packages():
            code = run()
    except QacDeployError as error:
        return _refused(type(error).__name__, str(error))
    except KeyboardInterrupt:
        code = INTERRUPTED
    except MemoryError as error:
        reason = f" ({error})" if str(error) else ""
        return _refused(
            "MemoryError", f"not enough memory{reason}; use fewer samples or a smaller network"
        )
    except (BrokenPipeError, OutputClosedError):
        return Ending(OUTPUT_CLOSED)
    except Exception as error:
        if isinstance(error, _ClickError):
            return _misused(error)
        if isinstance(error, OSError) and error.errno in _REMEDIES:
            return _refused("OSError", _of_the_system(error))
        if not _has_folder():
            return _refused(
                "OSError", "the current folder was deleted meanwhile; change to another"
            )
        return Ending(
            BUG,
            type(error).__name__,
            printable(error, keep="\n") or "a bug in qac-deploy",
            printable(traceback.format_exc().rstrip(), keep="\n"),
        )
    if code == INTERRUPTED:
        return Ending(INTERRUPTED, "KeyboardInterrupt", "interrupted")
    return Ending(code if isinstance(code, int) else 0)


def _has_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _refused(kind: str, message: str) -> Ending:
    return Ending(REFUSED, kind, message, f"error: {message}")


def _of_the_system(error: OSError) -> str:
    names = [printable(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' and '.join(names) or 'a file or the output'}: {error.strerror}"
    return f"{where}; {_REMEDIES[error.errno or 0]}"


def _misused(error: Exception) -> Ending:
    """Show an error of the command line as typer does, with the usage of the command."""
    from typer.rich_utils import rich_format_error

    error.message = printable(error.message, keep="\n")  # type: ignore[attr-defined]
    with its_errors_dropped(sys.stderr):
        rich_format_error(error)  # type: ignore[arg-type]
    return Ending(REFUSED, "UsageError", error.format_message())  # type: ignore[attr-defined]


@contextmanager
def its_errors_dropped(stream: IO[str]) -> Iterator[None]:
    """A block that writes to a standard stream, which may be closed or on a full disk.

    What the stream cannot take goes to nowhere, since the interpreter flushes it once more as it ends.
    """
    try:
        yield
        stream.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere, suppress(OSError):
            os.dup2(nowhere.fileno(), stream.fileno())
