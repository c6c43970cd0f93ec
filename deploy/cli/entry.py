"""Console entry point, which imports little before it can end a command at a signal.

Python itself takes a few hundredths of a second to get here; until then a signal ends it in the system's way.
"""

from __future__ import annotations

import os
import sys

from deploy.cli.signals import INTERRUPTED, ended_by_signals, handle_with, interrupt, leave


def main() -> None:
    """Run ``qac-deploy``; see ``deploy.cli.main.main``."""
    open_standard_streams()
    handle_with(interrupt)
    if os.environ.get("LOCAL_RANK", "0") != "0":  # a worker of a distributed training
        from toolchain.child_process import end_with_parent

        end_with_parent()
    try:
        with ended_by_signals():
            from deploy.cli.main import main as run

            run()
    except KeyboardInterrupt:  # between two lines of the block's own end
        sys.exit(INTERRUPTED)
    finally:  # all is cleared up: a signal ends the process while the interpreter shuts down
        handle_with(leave)


def open_standard_streams() -> None:
    """Open what a shell closed, such as by ``0<&-``, on the null device: a file would get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
