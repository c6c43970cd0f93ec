"""Run a script in its own interpreter, which never outlives this process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_NUM_REQUESTS, _REQUEST_INTERVAL_S = 20, 0.25
_TAIL_LINES = 12


def run_script(
    command: Sequence[str], folder: Path, timeout_s: float | None = None
) -> tuple[int | None, str]:
    """Run a script that takes the option ``--end-with-input``.

    No process of its group outlives this call. Its standard input stays open as long as this process
    lives; when this process ends, for any reason, the input ends, and so the script.

    Args:
        folder: where to run it.
        timeout_s: seconds after which it is ended; unlimited by default.

    Returns:
        Its exit code, None after a timeout, and the last lines of its stderr.

    Raises:
        OSError: it cannot be started.
    """
    its_end, our_end = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                [*command, "--end-with-input"],
                cwd=folder,
                stdin=its_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        finally:
            os.close(its_end)
        try:
            _, said = process.communicate(timeout=timeout_s)
            return process.returncode, _tail(said)
        except subprocess.TimeoutExpired:
            return None, _tail(_end_group(process))
        except BaseException:
            _end_group(process)
            raise
    finally:
        os.close(our_end)


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


def _end_group(process: subprocess.Popen[str]) -> str:
    """End a process group and return its stderr.

    Processes are first asked to end, as they free their shared memory only then, and more than once, as a
    process loses a signal while it is forked. All of them inherit stderr, which ends with the last one.
    """
    for ending in (*[signal.SIGTERM] * _NUM_REQUESTS, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_REQUEST_INTERVAL_S)[1]
    return ""
