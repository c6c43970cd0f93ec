"""Run the installed ``qac-deploy`` as a person does."""

from __future__ import annotations

import atexit
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

COMMAND = Path(sys.executable).with_name("qac-deploy")

READ_AT_START = ("PYTHON", "OMP_", "MKL_", "LD_", "TORCH", "PATH")
"""First letters of variables that take effect as Python or PyTorch start."""


def run_command(*arguments, cwd, timeout=300, **environment):
    """Run a command from another folder; returns the finished process.

    If it refuses its input, its standard error starts with the message: stages before it are left out.
    """
    command = [str(COMMAND), *map(str, arguments)]
    variables = {**os.environ, "COLUMNS": "140", "NO_COLOR": "1", **environment}
    if any(name.startswith(READ_AT_START) for name in environment):
        process = subprocess.run(
            command, cwd=cwd, timeout=timeout, capture_output=True, text=True, env=variables, check=False
        )  # fmt: skip
    else:
        process = _run_forked(command, Path(cwd), timeout, variables)
    if process.returncode == 2:
        process.stderr = from_message(process.stderr)
    return process


def _run_forked(command, cwd, timeout, variables):
    """``subprocess.run`` in a process that ``command_server`` forks."""
    with ForkedCommand(*command[1:], cwd=cwd, **variables) as run:
        return run.finished(timeout)


class ForkedCommand:
    """A command that ``command_server`` forks, in a session of its own.

    Args:
        server: number of the server; each forks one command at a time.
    """

    def __init__(self, *arguments, cwd, server=0, **environment):
        self.command = [str(COMMAND), *map(str, arguments)]
        self.cwd, self.environment = Path(cwd), {**os.environ, **environment}
        self._server = _server(server)

    def __enter__(self):
        if not self.cwd.is_dir():
            raise NotADirectoryError(self.cwd)
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = {name: Path(self._folder.name, name) for name in ("stdout", "stderr")}
        for path in self._outputs.values():
            path.touch()
        request = {
            "arguments": self.command,
            "cwd": str(self.cwd),
            "environment": self.environment,
            **{name: str(path) for name, path in self._outputs.items()},
        }
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        self.process, self._code = int(self._server.stdout.readline()), None
        return self

    def __exit__(self, *error):
        if self._code is None:
            self.send(signal.SIGKILL)
            self._server.stdout.readline()
        self._folder.cleanup()

    def has_ended(self):
        return bool(select.select([self._server.stdout], [], [], 0)[0])

    def send(self, number):
        """Send a signal; nothing happens if the command has ended."""
        if not self.has_ended():
            os.kill(self.process, number)

    def finished(self, timeout):
        """Wait for the end; returns the finished process."""
        if not select.select([self._server.stdout], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.command, timeout)
        self._code = int(self._server.stdout.readline())
        texts = (path.read_text() for path in self._outputs.values())
        return subprocess.CompletedProcess(self.command, self._code, *texts)


@cache
def _server(number=0):
    """The process that forks commands; another number gives another one."""
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("command_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout.readline() == "ready\n"
    atexit.register(server.wait)
    atexit.register(server.stdin.close)  # the end of its input ends it
    return server


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


def in_terminal(columns, *arguments, cwd=".", code=0):
    """Output of the installed command in a terminal of a width, without styles."""
    ours, its = pty.openpty()
    variables = {"COLUMNS": str(columns), "LINES": "50", "NO_COLOR": "1", "TERM": "xterm"}
    request = {
        "arguments": [str(COMMAND), *map(str, arguments)],
        "cwd": str(cwd),
        "environment": {**os.environ, **variables},
        "stdout": os.ttyname(its),
        "stderr": os.ttyname(its),
    }
    server, output = _server(), b""
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    server.stdout.readline()
    while server.stdout not in select.select([ours, server.stdout], [], [])[0]:
        output += os.read(ours, 1 << 16)
    ended = int(server.stdout.readline())
    while select.select([ours], [], [], 0)[0]:
        output += os.read(ours, 1 << 16)
    for end in (ours, its):
        os.close(end)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.decode())
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # what is drawn anew is another line
    assert ended == code, text
    return text
