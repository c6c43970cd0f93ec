"""Run a script in an interpreter of its own, which never outlives this process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_NUM_REQUESTS, _REQUEST_INTERVAL_S = 20, 0.25


def run_script(
    command: Sequence[str], folder: Path, timeout_s: float | None = None
) -> tuple[int | None, str]:
    """Run a script that takes the option ``--end-with-input``; returns its exit code and stderr.

    No process of its group outlives this call. Its standard input stays open for as long as this process
    lives, and ends with it however it ends: then the script ends, too.

    Args:
        folder: where to run it.
        timeout_s: seconds after which it is ended, and its exit code is None.

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
            return process.returncode, said
        except subprocess.TimeoutExpired:
            return None, _end_group(process)
        except BaseException:
            _end_group(process)
            raise
    finally:
        os.close(our_end)


def _end_group(process: subprocess.Popen[str]) -> str:
    """End a process group and return its stderr.

    It is asked first, since its shared memory is freed only then, and more than once, since a process
    that is just being forked loses a signal. All of the group inherit stderr, so its end is theirs.
    """
    for ending in (*[signal.SIGTERM] * _NUM_REQUESTS, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_REQUEST_INTERVAL_S)[1]
    return ""
