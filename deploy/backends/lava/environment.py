"""Find or make interpreters for Lava.

One runs emitted bundles with lava-nc, on Python 3.10 to 3.13. Another one reads NetX files with lava-dl,
which runs on Python 3.10 only, brings its own torch and takes several gigabytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.child_process import last_lines, run_child
from toolchain.errors import LavaError
from toolchain.files.lock import one_run_at_a_time


@dataclass(frozen=True, kw_only=True)
class LavaEnvironment:
    """A package of Lava that an interpreter must have, and how a user chooses or makes one.

    Attributes:
        pythons: versions of Python that run the package, from the newest to the oldest.
        modules: can be imported if the package works.
        requirements: what pip installs, all with exact versions.
        pip_options: how pip installs it.
        trial: arguments with which an interpreter imports all that is used of the package and ends.
        python_variable: environment variable with the interpreter.
        folder_variable: environment variable with the folder of the managed environment.
    """

    package: str
    version: str
    pythons: tuple[str, ...]
    modules: tuple[str, ...]
    requirements: tuple[str, ...]
    pip_options: tuple[str, ...] = ()
    trial: tuple[str, ...] = ()
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

    @property
    def python_range(self) -> str:
        """Such as ``3.10 to 3.13``."""
        return " to ".join(dict.fromkeys((self.pythons[-1], self.pythons[0])))


LAVA_NC = LavaEnvironment(
    package="lava-nc",
    version="0.10.0",  # the last release
    pythons=("3.13", "3.12", "3.11", "3.10"),
    modules=("lava.magma", "numpy", "scipy", "networkx", "asteval"),
    # The metadata of lava-nc ask for Python 3.10 and for older versions of the others. Every bundle makes it
    # run on newer ones (bundle/lava_dataclasses.py). Those below are the last that exist for all of its
    # Pythons, so one list serves all, and all compute with the same versions.
    requirements=(
        "lava-nc==0.10.0",
        "numpy==2.2.6",
        "scipy==1.15.3",
        "networkx==3.4.2",
        "asteval==1.0.10",
    ),
    pip_options=("--no-deps", "--ignore-requires-python"),
    trial=(str(Path(__file__).parent / "bundle" / "run.py"), "--help"),
    folder_name="lava-env",
    python_variable="QAC_DEPLOY_LAVA_PYTHON",
    folder_variable="QAC_DEPLOY_LAVA_ENV",
)
LAVA_DL = LavaEnvironment(
    package="lava-dl",
    version="0.6.0",  # the last release
    pythons=("3.10",),
    modules=("lava.lib.dl",),
    requirements=("lava-dl==0.6.0",),
    folder_name="lava-dl-env",
    python_variable="QAC_DEPLOY_LAVA_DL_PYTHON",
    folder_variable="QAC_DEPLOY_LAVA_DL_ENV",
)

_MARKER = "qac-deploy-complete"  # written last: an environment without it is unfinished
_QUERY = """\
import importlib.metadata, importlib.util, sys
package, *modules = sys.argv[1:]
def is_missing(module):
    try:
        return importlib.util.find_spec(module) is None
    except ImportError:
        return True
try:
    found = importlib.metadata.version(package)
except ImportError:
    found = ""
version = "{}.{}".format(*sys.version_info)
print(version, sys.executable, found, ", ".join(filter(is_missing, modules)), sep="\\n")
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
        f"no Python {environment.python_range} with {environment.package} {environment.version} was found "
        f"(tried the current interpreter and {folder}); {environment.remedy}"
    )


def managed_folder(environment: LavaEnvironment = LAVA_NC) -> Path:
    """Folder of the managed environment: in the user's data folder, unless its variable is set."""
    if chosen := os.environ.get(environment.folder_variable):
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "qac-deploy" / environment.folder_name


def create_lava_environment(
    environment: LavaEnvironment = LAVA_NC, say: Callable[[str], None] = lambda line: None
) -> Path:
    """Make the managed environment, unless it exists and works; returns its interpreter.

    It is made with the current interpreter if that can run the package, or else with another one at hand. The
    environment's own pip installs the package, so the user's pip configuration applies.

    Args:
        say: is told which interpreters were passed over, and why.

    Raises:
        LavaError: no fitting Python was found, the folder holds something else, or pip failed.
    """
    folder = managed_folder(environment)
    python = _interpreter(folder)

    def is_ready() -> bool:
        return (folder / _MARKER).exists() and _failure(environment, python) is None

    if is_ready():
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = one_run_at_a_time(
            folder.with_name(f"{folder.name}.lock"),
            lambda: say(f"waiting for another run that makes {folder}"),
        )
        with lock:
            if not is_ready():  # another run may have made it meanwhile
                _make(environment, folder, python, say)
    except OSError as error:
        raise LavaError(
            f"{folder}: cannot be made ({error}); set {environment.folder_variable} to a folder that can be "
            f"written"
        ) from error
    return python


def _make(
    environment: LavaEnvironment, folder: Path, python: Path, say: Callable[[str], None]
) -> None:
    """Make an environment, in place of an unfinished or broken one; other runs wait meanwhile."""
    _clear(environment, folder)
    _make_venv(environment, folder, say)
    install = ("install", "--disable-pip-version-check", *environment.pip_options)
    failure = _run(python, "-I", "-m", "pip", *install, *environment.requirements)
    if failure is not None:
        raise LavaError(
            f"{folder}: pip cannot install {environment.requirements[0]}", further=failure
        )
    if (failure := _failure(environment, python)) is not None:
        raise LavaError(f"{python}: {failure} although pip has installed it; remove {folder}")
    requirements = "".join(f"{requirement}\n" for requirement in environment.requirements)
    (folder / _MARKER).write_text(requirements)


def pythons_at_hand(environment: LavaEnvironment = LAVA_NC) -> Iterator[Path]:
    """Interpreters on this machine that can run the package of an environment, once it is installed.

    First the current one; then, from the newest to the oldest version, those on the PATH, of uv and of pyenv.
    Each is run to find the executable behind the name: the shim of a version manager may refuse to run.
    """
    found: set[Path] = set()
    for path in _candidates(environment):
        answer = _query(environment, path)
        if answer is None or answer.version not in environment.pythons:
            continue
        executable = Path(answer.executable)
        if executable.resolve() not in found:
            found.add(executable.resolve())
            yield executable


def python_version(python: Path) -> str:
    """Version of an interpreter, such as ``3.11``, or ``(none)`` if it does not run."""
    answer = _query(LAVA_NC, python)
    return answer.version if answer else "(none)"


def import_failure(python: Path, environment: LavaEnvironment = LAVA_NC) -> str | None:
    """Why an interpreter cannot import all that is used of a package, or None if it can; takes a second.

    ``find_lava_python`` is called by every command that runs Lava, so it only looks at what is installed.
    """
    if not environment.trial:
        return None
    failure = _run(python, "-I", *environment.trial)
    return failure and f"cannot import {environment.package} ({failure.splitlines()[-1]})"


def _require(environment: LavaEnvironment, python: Path, origin: str) -> Path:
    """The path of an interpreter that the user named; a run in another folder finds it, too."""
    if (refusal := _refusal(environment, python)) is not None:
        raise LavaError(
            f"{origin} {python}: {refusal}; {environment.remedy} and leave {origin} out, or see "
            f"`qac-deploy doctor --help` for an environment of your own"
        )
    return Path(shutil.which(python) or python).absolute()


def _refusal(environment: LavaEnvironment, python: Path) -> str | None:
    """Why an interpreter cannot serve as an environment, or None if it can."""
    package, needed = environment.package, environment.version
    answer = _query(environment, python)
    if answer is None:
        return "is not a Python interpreter that runs"
    if answer.version not in environment.pythons:
        return (
            f"is Python {answer.version}, but {package} {needed} needs {environment.python_range}"
        )
    if answer.package_version != needed:
        return f"has {package} {answer.package_version or '(none)'}, not {needed}"
    if answer.missing:
        return f"has no {answer.missing}, which {package} {needed} needs"
    return None


def _failure(environment: LavaEnvironment, python: Path) -> str | None:
    """As ``_refusal``, but the package is imported, too."""
    return _refusal(environment, python) or import_failure(python, environment)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What an interpreter says of itself.

    Attributes:
        version: such as ``3.11``.
        executable: the file behind a shim or a link of another name.
        package_version: of the package of an environment; empty if there is none.
        missing: modules of the environment that it does not have, in words.
    """

    version: str
    executable: str
    package_version: str
    missing: str


def _query(environment: LavaEnvironment, python: Path) -> _Answer | None:
    """Ask an interpreter what it has of an environment, without an import; None if it does not run."""
    try:
        run = run_child(
            [str(python), "-I", "-c", _QUERY, environment.package, *environment.modules],
            timeout_s=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = run.stdout.decode(errors="replace").split("\n")
    if run.returncode != 0 or len(lines) < 4:
        return None
    version, executable, package_version, missing = lines[:4]
    return _Answer(
        version=version, executable=executable, package_version=package_version, missing=missing
    )


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


def _make_venv(environment: LavaEnvironment, folder: Path, say: Callable[[str], None]) -> None:
    current = python_version(Path(sys.executable))
    needs = f"{environment.package} {environment.version} needs Python {environment.python_range}"
    if current not in environment.pythons:
        say(f"{needs}, and this is {current}: another one makes the environment")
    failures = []
    for command in _makers(environment, current):
        failure = _run(*command, folder)
        if failure is None:
            return
        failures.append(f"{command[0]}: {failure}")
        say(f"{command[0]} cannot make an environment: {failure.splitlines()[-1]}")
        shutil.rmtree(folder, ignore_errors=True)
    raise LavaError(
        f"{needs}, and none was found that can make an environment; install one with its venv module, so "
        f"that `python{environment.pythons[0]}` runs, or uv, which brings one",
        further="\n".join(failures),
    )


def _makers(environment: LavaEnvironment, current: str) -> Iterator[tuple[Path | str, ...]]:
    """Commands that make a virtual environment with pip in the folder that is added to them."""
    for python in pythons_at_hand(environment):
        yield python, "-I", "-m", "venv"
    if uv := shutil.which("uv"):  # needs no venv module, and downloads a Python that is not there
        version = current if current in environment.pythons else environment.pythons[0]
        yield uv, "venv", "--seed", "--python", version


def _candidates(environment: LavaEnvironment) -> Iterator[Path]:
    """Names of interpreters that may exist and may be of a version that fits."""
    yield Path(sys.executable)
    uv, pyenv = shutil.which("uv"), shutil.which("pyenv")
    pyenv_root = _output(pyenv, "root") if pyenv else ""
    for version in environment.pythons:
        if on_path := shutil.which(f"python{version}"):
            yield Path(on_path)
        if uv and (managed := _output(uv, "python", "find", "--managed-python", version)):
            yield Path(managed)
        if pyenv_root:
            yield from sorted(Path(pyenv_root).glob(f"versions/{version}.*/bin/python"))
    yield from map(Path, filter(None, map(shutil.which, ("python3", "python"))))


def _run(*command: Path | str) -> str | None:
    """None if a command succeeds, or else the last lines of its output."""
    try:
        run = run_child([str(part) for part in command])
    except OSError as error:
        return str(error)
    said = last_lines(run.stderr) or last_lines(run.stdout) or f"exit code {run.returncode}"
    return None if run.returncode == 0 else said


def _output(*command: str) -> str:
    """What a command prints, or nothing if it fails."""
    try:
        run = run_child(command)
    except OSError:
        return ""
    return run.stdout.decode(errors="replace").strip() if run.returncode == 0 else ""


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
