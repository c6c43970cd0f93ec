"""Run another program, which never outlives this process."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from toolchain.interrupts import uninterrupted

_TAIL_LINES = 12
_PR_SET_PDEATHSIG = 1
_NUM_REQUESTS, _REQUEST_INTERVAL_S = 20, 0.25
_SHELL_SIGNALS = (
    128  # a shell's exit code for a program that a signal ended is this plus its number
)

# The guard waits for the end of standard input, which this process holds open as long as it lives. It then
# ends the whole group: processes are first asked, as some free shared memory only then. What the shell
# itself says, such as of a signal that ended the program, is dropped.
_GUARDED = """\
exec 3<&0 4>&2 2>/dev/null
(trap '' TERM INT HUP; read _; kill -TERM 0; sleep 2; kill -KILL 0) <&3 >/dev/null 4>&- &
guard=$!
"$@" 2>&4 3<&- 4>&- </dev/null &
wait $!
code=$?
kill -KILL $guard
wait $guard
exit $code
"""


def run_child(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program and keep its output; its standard input is empty.

    It runs in a process group of its own, none of which outlives this call, nor this process, however that
    ends.

    Args:
        folder: where to run it.
        timeout_s: seconds after which it is ended; unlimited by default.
        env: its environment, by default that of this process.

    Raises:
        OSError: it cannot be started.
        TimeoutExpired: it took too long; it has its standard error.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    its_end, our_end = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "sh", *command],
                cwd=folder,
                env=env,
                stdin=its_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        finally:
            os.close(its_end)
        try:
            out, said = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            assert timeout_s is not None
            said = _end_group(process)
            raise subprocess.TimeoutExpired(command, timeout_s, stderr=said) from None
        except BaseException:
            _end_group(process)
            raise
    finally:
        os.close(our_end)
    code = process.returncode
    if code > _SHELL_SIGNALS:
        code = _SHELL_SIGNALS - code
    return subprocess.CompletedProcess(command, code, out, said)


def end_with_parent() -> None:
    """Let the system end this process when the one that started it ends, even if that is killed (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def last_lines(said: bytes | None) -> str:
    """The end of what a program said, where the reason of a failure is; blank lines are left out."""
    lines = (said or b"").decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if line.strip()][-_TAIL_LINES:])


def _end_group(process: subprocess.Popen[bytes]) -> bytes:
    """End a process group and return its standard error.

    Its processes are asked more than once, as a process loses a signal while it is forked. All of them
    inherit standard error, which ends with the last one.
    """
    with uninterrupted():
        try:
            for _ in range(_NUM_REQUESTS):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    return process.communicate(timeout=_REQUEST_INTERVAL_S)[1]
            return b""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
