"""Find or make interpreters for Lava, which needs Python 3.10.

One runs emitted bundles with lava-nc. Another one reads NetX files with lava-dl, which brings its own torch
and takes several gigabytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import LavaError

PYTHON_VERSION = "3.10"  # the only one Lava runs on


@dataclass(frozen=True, kw_only=True)
class LavaEnvironment:
    """A package of Lava that an interpreter must have, and how a user chooses or makes one.

    Attributes:
        module: can be imported if the package works.
        python_variable: environment variable with the interpreter.
        folder_variable: environment variable with the folder of the managed environment.
    """

    package: str
    version: str
    module: str
    folder_name: str
    python_variable: str
    folder_variable: str

    @property
    def option(self) -> str:
        """Option of ``qac-deploy doctor`` that makes the managed environment."""
        return f"--create-{self.folder_name}"

    @property
    def remedy(self) -> str:
        return f"run `qac-deploy doctor {self.option}`"


LAVA_NC = LavaEnvironment(
    package="lava-nc",
    version="0.10.0",  # the last release
    module="lava.magma",
    folder_name="lava-env",
    python_variable="QAC_DEPLOY_LAVA_PYTHON",
    folder_variable="QAC_DEPLOY_LAVA_ENV",
)
LAVA_DL = LavaEnvironment(
    package="lava-dl",
    version="0.6.0",  # the last release
    module="lava.lib.dl",
    folder_name="lava-dl-env",
    python_variable="QAC_DEPLOY_LAVA_DL_PYTHON",
    folder_variable="QAC_DEPLOY_LAVA_DL_ENV",
)

_MARKER = "qac-deploy-complete"  # written last: an environment without it is unfinished
_QUERY = """\
import importlib.metadata, importlib.util, sys
package, module = sys.argv[1:]
try:
    found = importlib.metadata.version(package) if importlib.util.find_spec(module) else ""
except ImportError:
    found = ""
print("{}.{}".format(*sys.version_info), sys.executable, found, sep="\\n")
"""


def find_lava_python(explicit: Path | None = None, environment: LavaEnvironment = LAVA_NC) -> Path:
    """Find an interpreter that has a package of Lava.

    The candidates are, in this order: ``explicit``, the one in the environment variable, the current one,
    and the managed environment. If one of the first two is given but cannot run Lava, no other is tried.

    Raises:
        LavaError: no candidate can run Lava; the message has the remedy.
    """
    if explicit is not None:
        return _require(environment, explicit, "--lava-python")
    variable, folder = environment.python_variable, managed_folder(environment)
    if chosen := os.environ.get(variable):
        return _require(environment, Path(chosen), variable)
    current, managed = Path(sys.executable), _interpreter(folder)
    if _refusal(environment, current) is None:
        return current
    if (folder / _MARKER).exists() and _refusal(environment, managed) is None:
        return managed
    raise LavaError(
        f"no Python {PYTHON_VERSION} with {environment.package} {environment.version} was found (tried the "
        f"current interpreter and {folder}); {environment.remedy}"
    )


def managed_folder(environment: LavaEnvironment = LAVA_NC) -> Path:
    """Folder of the managed environment: in the user's data folder, unless its variable is set."""
    if chosen := os.environ.get(environment.folder_variable):
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "qac-deploy" / environment.folder_name


def create_lava_environment(environment: LavaEnvironment = LAVA_NC) -> Path:
    """Make the managed environment, unless it exists and works; returns its interpreter.

    The environment's own pip installs the package, so the user's pip configuration applies.

    Raises:
        LavaError: no Python 3.10 was found, the folder holds something else, or pip failed.
    """
    folder = managed_folder(environment)
    python, marker = _interpreter(folder), folder / _MARKER
    if marker.exists() and _refusal(environment, python) is None:
        return python
    _clear(environment, folder)
    _make_venv(environment, folder)
    requirement = f"{environment.package}=={environment.version}"
    failure = _run(python, "-I", "-m", "pip", "install", "--disable-pip-version-check", requirement)
    if failure is not None:
        raise LavaError(f"{folder}: pip cannot install {requirement}\n{failure}")
    if (refusal := _refusal(environment, python)) is not None:
        raise LavaError(f"{python}: {refusal} although pip has installed it; remove {folder}")
    marker.write_text(f"{requirement}\n")
    return python


def _require(environment: LavaEnvironment, python: Path, origin: str) -> Path:
    if (refusal := _refusal(environment, python)) is not None:
        raise LavaError(
            f"{origin} {python}: {refusal}; {environment.remedy} and leave {origin} out"
        )
    return python


def _refusal(environment: LavaEnvironment, python: Path) -> str | None:
    """Why an interpreter cannot serve as an environment, or None if it can."""
    package, needed = environment.package, environment.version
    answer = _query(python, package, environment.module)
    if answer is None:
        return "is not a Python interpreter that runs"
    version, _, found = answer
    if version != PYTHON_VERSION:
        return f"is Python {version}, but {package} {needed} needs {PYTHON_VERSION}"
    if found != needed:
        return f"has {package} {found or '(none)'}, not {needed}"
    return None


def _query(python: Path, package: str, module: str) -> tuple[str, str, str] | None:
    """Version and executable of an interpreter, and its version of a package; None if it does not run."""
    try:
        run = subprocess.run(
            [str(python), "-I", "-c", _QUERY, package, module],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = run.stdout.split("\n")
    return (lines[0], lines[1], lines[2]) if run.returncode == 0 and len(lines) >= 3 else None


def _clear(environment: LavaEnvironment, folder: Path) -> None:
    """Remove an unfinished or broken environment.

    Raises:
        LavaError: the folder holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists()):
        raise LavaError(
            f"{folder}: exists and is not a virtual environment, so it is not replaced; remove it or "
            f"set {environment.folder_variable} to another folder"
        )
    shutil.rmtree(folder)


def _make_venv(environment: LavaEnvironment, folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LavaError(
            f"{folder}: cannot be made ({error}); set {environment.folder_variable} to a folder that can be "
            f"written"
        ) from error
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
    """Executables of the required version.

    Each candidate is run: a version manager's shim may refuse to, and the environment needs the executable
    behind the shim.
    """
    candidates = [sys.executable, f"python{PYTHON_VERSION}", "python3", "python"]
    found: set[str] = set()
    for path in filter(None, map(shutil.which, candidates)):
        answer = _query(Path(path), LAVA_NC.package, LAVA_NC.module)
        if answer is not None and answer[0] == PYTHON_VERSION and answer[1] not in found:
            found.add(answer[1])
            yield Path(answer[1])


def _run(*command: Path | str) -> str | None:
    """None if a command succeeds, or else the last lines of its output."""
    try:
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    said = (run.stderr.strip() or run.stdout.strip()).splitlines()
    return None if run.returncode == 0 else "\n".join(said[-12:])


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
