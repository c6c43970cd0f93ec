"""The interpreter that runs emitted Lava bundles: lava-nc needs Python 3.10, the rest does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from toolchain.errors import LavaError

LAVA_NC_VERSION = "0.10.0"  # the last release
PYTHON_VERSION = "3.10"  # the only one it runs on
PYTHON_VARIABLE = "QAC_DEPLOY_LAVA_PYTHON"
FOLDER_VARIABLE = "QAC_DEPLOY_LAVA_ENV"

_REMEDY = "run `qac-deploy doctor --create-lava-env`"
_MARKER = "qac-deploy-complete"  # written last: an environment without it is unfinished
_QUERY = """\
import importlib.metadata, importlib.util, sys
try:
    lava = importlib.metadata.version("lava-nc") if importlib.util.find_spec("lava.magma") else ""
except ImportError:
    lava = ""
print("{}.{}".format(*sys.version_info), sys.executable, lava, sep="\\n")
"""


def find_lava_python(explicit: Path | None = None) -> Path:
    """The interpreter to run bundles with.

    In this order: the one that is asked for, the one in ``QAC_DEPLOY_LAVA_PYTHON``, the current one,
    the managed environment. The first two must do; there is no silent second choice for them.

    Raises:
        LavaError: none can run Lava; the message has the remedy.
    """
    if explicit is not None:
        return _require(explicit, "--lava-python")
    if chosen := os.environ.get(PYTHON_VARIABLE):
        return _require(Path(chosen), PYTHON_VARIABLE)
    current, managed = Path(sys.executable), _interpreter(managed_folder())
    if _refusal(current) is None:
        return current
    if (managed_folder() / _MARKER).exists() and _refusal(managed) is None:
        return managed
    raise LavaError(
        f"no Python {PYTHON_VERSION} with lava-nc {LAVA_NC_VERSION} was found (tried the current "
        f"interpreter and {managed_folder()}); {_REMEDY}"
    )


def managed_folder() -> Path:
    """Where the managed environment is: the user's data folder, or ``QAC_DEPLOY_LAVA_ENV``."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "qac-deploy" / "lava-env"


def create_lava_environment(folder: Path | None = None) -> Path:
    """Make the managed environment unless it is there and works; returns its interpreter.

    lava-nc is installed by the environment's own pip, so that the user's pip configuration holds.

    Raises:
        LavaError: no Python 3.10 is to be had, the folder is something else, or pip failed.
    """
    folder = folder or managed_folder()
    python, marker = _interpreter(folder), folder / _MARKER
    if marker.exists() and _refusal(python) is None:
        return python
    _clear(folder)
    _make_venv(folder)
    requirement = f"lava-nc=={LAVA_NC_VERSION}"
    failure = _run(python, "-I", "-m", "pip", "install", "--disable-pip-version-check", requirement)
    if failure is not None:
        raise LavaError(f"{folder}: pip cannot install {requirement}\n{failure}")
    if (refusal := _refusal(python)) is not None:
        raise LavaError(f"{python}: {refusal} although pip has installed it; remove {folder}")
    marker.write_text(f"{requirement}\n")
    return python


def _require(python: Path, origin: str) -> Path:
    if (refusal := _refusal(python)) is not None:
        raise LavaError(f"{origin} {python}: {refusal}; {_REMEDY} and leave {origin} out")
    return python


def _refusal(python: Path) -> str | None:
    """Why an interpreter cannot run bundles, or None when it can."""
    answer = _query(python)
    if answer is None:
        return "is not a Python interpreter that runs"
    version, _, lava = answer
    if version != PYTHON_VERSION:
        return f"is Python {version}, but lava-nc {LAVA_NC_VERSION} needs {PYTHON_VERSION}"
    if lava != LAVA_NC_VERSION:
        return f"has lava-nc {lava or '(none)'}, not {LAVA_NC_VERSION}"
    return None


def _query(python: Path) -> tuple[str, str, str] | None:
    """Version, executable and lava-nc version of an interpreter; None when it does not run."""
    try:
        run = subprocess.run(
            [str(python), "-I", "-c", _QUERY], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = run.stdout.split("\n")
    return (lines[0], lines[1], lines[2]) if run.returncode == 0 and len(lines) >= 3 else None


def _clear(folder: Path) -> None:
    """Remove an unfinished or broken environment, and nothing that is not one."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists()):
        raise LavaError(
            f"{folder}: exists and is not a virtual environment, so it is not replaced; remove it or "
            f"set {FOLDER_VARIABLE} to another folder"
        )
    shutil.rmtree(folder)


def _make_venv(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    if uv := shutil.which("uv"):
        failure = _run(Path(uv), "venv", "--seed", "--python", PYTHON_VERSION, str(folder))
        if failure is None:
            return
        failures.append(f"uv: {failure}")
        shutil.rmtree(folder, ignore_errors=True)
    for python in _pythons_on_path():
        failure = _run(python, "-I", "-m", "venv", str(folder))
        if failure is None:
            return
        failures.append(f"{python}: {failure}")
        shutil.rmtree(folder, ignore_errors=True)
    raise LavaError(
        f"no Python {PYTHON_VERSION} to make an environment with; install uv (it brings Python "
        f"{PYTHON_VERSION}), or Python {PYTHON_VERSION} with its venv module so that "
        f"`python{PYTHON_VERSION}` runs" + "".join(f"\n{failure}" for failure in failures)
    )


def _pythons_on_path() -> Iterator[Path]:
    """Executables of the required version. They are run to see: a version manager's shim of that
    name may refuse to, and the executable behind it is what goes into the environment."""
    candidates = [sys.executable, f"python{PYTHON_VERSION}", "python3", "python"]
    found: set[str] = set()
    for path in filter(None, map(shutil.which, candidates)):
        answer = _query(Path(path))
        if answer is not None and answer[0] == PYTHON_VERSION and answer[1] not in found:
            found.add(answer[1])
            yield Path(answer[1])


def _run(*command: Path | str) -> str | None:
    """None when a command succeeds, else the end of what it said."""
    try:
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    said = (run.stderr.strip() or run.stdout.strip()).splitlines()
    return None if run.returncode == 0 else "\n".join(said[-12:])


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
