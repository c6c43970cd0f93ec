"""``qac-deploy export``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, console, print_json


def export_command(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    out: Annotated[Path, typer.Option(help="NIR file (HDF5) to write.")] = Path("network.nir"),
    as_json: JsonOption = False,
) -> None:
    """Write the integer network as a NIR graph, and say what NIR cannot express.

    Needs the package nir: pip install 'qac-deploy[nir]'.

    Example: [bold]qac-deploy export build/ --out network.nir[/bold]
    """
    from toolchain.errors import ModelFileError
    from toolchain.integer_network.serialize import load_integer_network

    try:
        import nir

        from deploy.export.nir_graph import to_nir
    except ImportError as error:
        raise ModelFileError(
            "the package nir is not installed; run `pip install 'qac-deploy[nir]'`"
        ) from error
    export = to_nir(load_integer_network(build))
    try:
        handle, part = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        os.close(handle)
        try:
            nir.write(part, export.graph)
            os.replace(part, out)
        except BaseException:
            os.unlink(part)
            raise
    except OSError as error:
        raise ModelFileError(f"{out}: cannot be written ({error}); nothing was changed") from error
    nodes = len(export.graph.nodes)
    if as_json:
        print_json({"file": str(out), "nodes": nodes, "losses": export.losses})
        return
    console.print(f"[bold]{escape(str(out))}[/bold]: {nodes} nodes, the integers unchanged")
    for loss in export.losses:
        console.print(f"  not expressed, kept as metadata: {escape(loss)}")
