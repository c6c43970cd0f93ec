"""Run the installed ``qac-deploy`` as a person does."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = Path(sys.executable).with_name("qac-deploy")


def run_command(*arguments, cwd, timeout=300, **environment):
    """Run a command from another folder; returns the finished process.

    If it refuses its input, its standard error starts with the message: stages before it are left out.
    """
    process = subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "140", "NO_COLOR": "1", **environment},
        check=False,
    )
    if process.returncode == 2:
        process.stderr = from_message(process.stderr)
    return process


def from_message(stderr):
    """Standard error from the error message on."""
    return stderr[max(stderr.find("error: "), 0) :] if "Traceback" not in stderr else stderr


def started(*arguments, cwd, **environment):
    """Start a command that a signal is to end."""
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1", **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )


def wait_until(condition, process=None, seconds=120):
    """Wait for a condition, while the process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def in_terminal(columns, *arguments, cwd=None):
    """Output of the installed command in a terminal of a width, without styles."""
    ours, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        [COMMAND, *map(str, arguments)], stdout=its, stderr=its, stdin=subprocess.DEVNULL, env=environment,
        cwd=cwd,
    )  # fmt: skip
    os.close(its)
    output = b""
    try:
        while block := os.read(ours, 1 << 16):
            output += block
    except OSError:  # the end of a terminal's output
        pass
    os.close(ours)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).replace("\r", "")
