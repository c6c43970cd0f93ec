"""A signal ends a command quietly: files and processes are cleared up, and the exit code is 130."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from toolchain.interrupts import ENDING

INTERRUPTED = 130
"""Exit code of a command that a signal ended."""

_AGAIN_S = 0.05

_received: list[int] = []


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT, SIGTERM and SIGHUP, so that files and processes are cleared up.

    However the block ends after a signal, the exit code is 130, without a traceback: libraries turn a
    KeyboardInterrupt into other errors, such as that of a module that cannot be imported.
    """
    earlier = handle_with(interrupt)
    hook, sys.unraisablehook = sys.unraisablehook, _interrupt_again
    try:
        yield
    except BaseException as end:
        if not _received or (isinstance(end, SystemExit) and not end.code):
            raise
        sys.exit(INTERRUPTED)
    finally:
        sys.unraisablehook = hook
        for number, handler in earlier.items():
            signal.signal(number, handler)


def interrupted() -> bool:
    """Whether a signal has asked this process to end."""
    return bool(_received)


def handle_with(handler: Callable[[int, FrameType | None], object]) -> dict[int, Any]:
    """Set the handler of all signals that are not ignored, as below ``nohup``; returns the earlier ones."""
    found = {number: signal.getsignal(number) for number in ENDING}
    handled = {n: h for n, h in found.items() if h not in (signal.SIG_IGN, None)}
    for number in handled:
        signal.signal(number, handler)
    return handled


def interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _interrupt_again(unraisable: Any) -> None:
    """Interrupt once more where an interrupt was lost, in code that cannot raise, such as ``__del__``."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
    else:
        sys.__unraisablehook__(unraisable)


def leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)
