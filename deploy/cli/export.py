"""``qac-deploy export``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, console, print_json

if TYPE_CHECKING:
    from toolchain.integer_network import IntegerNetwork


def export_command(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    form: Annotated[str, typer.Option("--format", help="nir or netx.")] = "nir",
    out: Annotated[
        Path | None, typer.Option(help="File to write (default: network.nir, network.net).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the integer network in another tool's format, and say what that format cannot express.

    nir: a NIR graph; needs the package nir: pip install 'qac-deploy[nir]'.
    netx: layers for lava-dl, of networks without joins; needs h5py: pip install 'qac-deploy[netx]'. With
    one timestep everywhere (compile --max-timesteps 1) lava-dl computes the same spikes.

    Example: [bold]qac-deploy export build/ --format netx --out network.net[/bold]
    """
    from toolchain.errors import ModelFileError
    from toolchain.integer_network.serialize import load_integer_network

    if form not in _WRITERS:
        raise typer.BadParameter(
            f"must be one of {', '.join(_WRITERS)}, not '{form}'", param_hint="--format"
        )
    suffix, write = _WRITERS[form]
    out = out or Path(f"network{suffix}")
    network = load_integer_network(build)
    try:
        handle, part = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        os.close(handle)
        try:
            record, summary = write(network, Path(part))
            os.replace(part, out)
        except BaseException:
            os.unlink(part)
            raise
    except ImportError as error:
        raise ModelFileError(
            f"the package {error.name} is not installed; run `pip install 'qac-deploy[{form}]'`"
        ) from error
    except OSError as error:
        raise ModelFileError(f"{out}: cannot be written ({error}); nothing was changed") from error
    if as_json:
        print_json({"file": str(out), "format": form, **record})
        return
    console.print(f"[bold]{escape(str(out))}[/bold]: {summary}")
    for loss in record["losses"]:
        console.print(f"  not expressed: {escape(loss)}")


def _write_nir(network: IntegerNetwork, path: Path) -> tuple[dict[str, Any], str]:
    import nir

    from deploy.export.nir_graph import to_nir

    export = to_nir(network)
    nir.write(path, export.graph)
    nodes = len(export.graph.nodes)
    summary = f"{nodes} nodes, the integers unchanged; what NIR does not say is in their metadata"
    return {"nodes": nodes, "losses": export.losses}, summary


def _write_netx(network: IntegerNetwork, path: Path) -> tuple[dict[str, Any], str]:
    from deploy.export.netx_file import to_netx, write_netx

    export = to_netx(network)
    write_netx(path, export.layers)
    bits = export.input_message_bits
    record = {
        "layers": len(export.layers),
        "input_message_bits": bits,
        "losses": export.losses,
    }
    exact = "" if export.losses else ", nothing lost"
    return record, (
        f"{len(export.layers)} layers{exact}; read it with "
        f"lava.lib.dl.netx.hdf5.Network(net_config, input_message_bits={bits})"
    )


_WRITERS: dict[str, tuple[str, Callable[[IntegerNetwork, Path], tuple[dict[str, Any], str]]]] = {
    "nir": (".nir", _write_nir),
    "netx": (".net", _write_netx),
}
"""For each format, the suffix of its file, and what writes it and tells about it."""
