"""Signals that end a run, held back while it clears up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that ask a program to end."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back the signals that raise KeyboardInterrupt while the block runs; the first acts at its end.

    So an impatient second Ctrl-C does not stop what removes files and ends processes. The block must be
    short. Python runs handlers of signals in the main thread alone, so blocks in other threads need nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    earlier = {}
    try:
        for number in ENDING:
            handler = signal.getsignal(number)
            if callable(handler):
                earlier[number] = handler
                signal.signal(number, hold)
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])
