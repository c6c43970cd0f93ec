"""``qac-deploy export``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, console, print_json

SANAFE_SAMPLES = 2
"""Test samples in an export to SANA-FE; `cross-check` takes any number."""


def export_command(
    build: Annotated[Path, typer.Argument(help="Build folder, as `qac-deploy compile` writes it.")],
    form: Annotated[str, typer.Option("--format", help="nir, netx or sanafe.")] = "nir",
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, a folder for sanafe (default: network.nir, network.net, sanafe)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the network in another tool's format, and say what that format cannot express.

    nir: the integers as a NIR graph; needs the package nir: pip install 'qac-deploy[nir]'.
    netx: layers for lava-dl, of networks without joins; needs h5py: pip install 'qac-deploy[netx]'. With
    one timestep everywhere (compile --max-timesteps 1) lava-dl computes the same spikes.
    sanafe: the mapped network as SANA-FE's architecture and network files, with two test samples and a
    script that runs them there; needs the package sanafe: pip install 'qac-deploy[sanafe]'.

    Example: [bold]qac-deploy export build/ --format netx --out network.net[/bold]
    """
    from toolchain.errors import ModelFileError

    if form not in _WRITERS:
        raise typer.BadParameter(
            f"must be one of {', '.join(_WRITERS)}, not '{form}'", param_hint="--format"
        )
    default, write = _WRITERS[form]
    out = out or Path(default)
    try:
        record, summary = write(build, out)
    except ImportError as error:
        raise ModelFileError(
            f"the package {error.name} is not installed; run `pip install 'qac-deploy[{form}]'`"
        ) from error
    if as_json:
        print_json({"file": str(out), "format": form, **record})
        return
    console.print(f"[bold]{escape(str(out))}[/bold]: {summary}")
    for loss in record["losses"]:
        console.print(f"  not expressed: {escape(loss)}")


def _write_nir(build: Path, out: Path) -> tuple[dict[str, Any], str]:
    import nir

    from deploy.backends.nir_graph import to_nir
    from deploy.build.load import load_build
    from toolchain.files.whole_files import HDF5_FILE, require_replaceable_file, whole_file

    require_replaceable_file(out, HDF5_FILE)
    export = to_nir(load_build(build).network)
    with whole_file(out, HDF5_FILE) as path:
        nir.write(path, export.graph)
    nodes = len(export.graph.nodes)
    summary = f"{nodes} nodes, the integers unchanged; what NIR does not say is in their metadata"
    return {"nodes": nodes, "losses": export.losses}, summary


def _write_netx(build: Path, out: Path) -> tuple[dict[str, Any], str]:
    from deploy.backends.netx.netx_file import to_netx, write_netx
    from deploy.build.load import load_build
    from toolchain.files.whole_files import HDF5_FILE, require_replaceable_file, whole_file

    require_replaceable_file(out, HDF5_FILE)
    export = to_netx(load_build(build).network)
    with whole_file(out, HDF5_FILE) as path:
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


def _write_sanafe(build: Path, out: Path) -> tuple[dict[str, Any], str]:
    from deploy.backends.sanafe.network import to_sanafe, write_sanafe
    from deploy.build.folder import SANAFE_EXPORT, require_replaceable_folder, whole_folder
    from deploy.build.load import load_build
    from deploy.check.judged_build import samples_of

    require_replaceable_folder(out, SANAFE_EXPORT)
    loaded = load_build(build)
    samples = samples_of(loaded, SANAFE_SAMPLES)
    export = to_sanafe(loaded.mapping, loaded.pipeline, samples.pixels)
    with whole_folder(out, SANAFE_EXPORT) as folder:
        write_sanafe(export, folder)
    record = {
        "samples": len(samples.pixels),
        "data_note": samples.note,
        "copies": export.copies,
        "ticks": export.plan["num_ticks"],
        "losses": export.losses,
    }
    return record, (
        f"{samples.name} in {record['ticks']} ticks, the integers unchanged; run it with "
        f"python {escape(str(out / 'run.py'))}"
    )


_WRITERS: dict[str, tuple[str, Callable[[Path, Path], tuple[dict[str, Any], str]]]] = {
    "nir": ("network.nir", _write_nir),
    "netx": ("network.net", _write_netx),
    "sanafe": ("sanafe", _write_sanafe),
}
"""For each format, what it is written to, and what writes it from a build and tells about it."""
