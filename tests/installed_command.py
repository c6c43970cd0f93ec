"""Run the installed ``qac-deploy`` as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("qac-deploy")


def run_command(*arguments, cwd, timeout=300, **environment):
    """Run a command from another folder; returns the finished process."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "140", "NO_COLOR": "1", **environment},
        check=False,
    )
