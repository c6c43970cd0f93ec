"""Processes that are running, as the system lists them."""

from __future__ import annotations

from pathlib import Path


def processes_in(folder):
    """Numbers of the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder and "Z" not in (process / "stat").read_text():
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
