"""``qac-deploy export``."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import BuildArgument, JsonOption, bold, choice, console
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape
from toolchain.shell_words import shell_command

ONNX_SAMPLES = 32
"""Test samples on which an ONNX file is executed, beside extremes and random pixels."""

C_SAMPLES = 4
"""Test samples in an export to C."""

SANAFE_SAMPLES = 2
"""Test samples in an export to SANA-FE; `cross-check` takes any number."""


@dataclass(frozen=True, kw_only=True)
class _Written:
    """An export.

    Attributes:
        figures: its size, for machines.
        losses: parts of the network that the format cannot express.
        summary: one line for people.
    """

    figures: dict[str, object]
    losses: Sequence[str]
    summary: str


def export_command(
    build: BuildArgument,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            autocompletion=completion.one_of(_WRITERS),
            help="Format: onnx, qonnx, c, nir, netx or sanafe.",
        ),
    ] = "nir",
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, or folder for c and sanafe (default: a name such as network.onnx)."
        ),
    ] = None,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the network in another tool's format, and list what that format cannot express.

    onnx: quantize, clip and dequantize nodes of the standard operators, for any T. qonnx: Quant nodes, which
    FINN and hls4ml read, if every T is 2^b - 1. onnxruntime or qonnx runs the file beside the exact engine
    first; if a count differs, nothing is written. Need: pip install 'qac-deploy[onnx]'.

    c: a folder with the integers as a C header and a reference implementation in C99 that needs no library.

    nir: the integers as a NIR graph. Needs the package nir: pip install 'qac-deploy[nir]'.

    netx: layers for lava-dl, for networks without joins. If every population has one timestep (compile
    --max-timesteps 1), lava-dl computes the same spikes. Needs h5py: pip install 'qac-deploy[netx]'.

    sanafe: architecture and network files of the mapped network for SANA-FE, with two test samples and a
    script that runs them. Needs the package sanafe: pip install 'qac-deploy[sanafe]'.

    Example: qac-deploy export build/ --format netx --out network.net
    """
    default, write = _WRITERS[choice(form, _WRITERS, "--format")]
    out = out or Path(default)
    written = write(build, out)
    if as_json:
        losses = list(written.losses)
        print_json({"file": str(out), "format": form, **written.figures, "losses": losses})
        return
    console.print(f"{bold(out)}: {escape(written.summary)}")
    for loss in written.losses:
        console.print(f"  not expressed: {escape(loss)}")


def _write_onnx(build: Path, out: Path, *, form: str = "onnx") -> _Written:
    from deploy.backends.onnx_format.execution import RUNTIMES, compare_with_network
    from deploy.backends.onnx_format.losses import losses
    from deploy.backends.onnx_format.network import to_onnx, to_qonnx
    from deploy.build.load import load_build
    from deploy.check.judged_build import probes_of
    from toolchain.files.whole_files import ONNX_FILE, require_replaceable_file, whole_file

    require_replaceable_file(out, ONNX_FILE)
    loaded = load_build(build)
    export = (to_qonnx if form == "qonnx" else to_onnx)(loaded.network)
    samples = probes_of(loaded, ONNX_SAMPLES)
    agreement = compare_with_network(export, loaded.network, samples.pixels, RUNTIMES[form])
    with whole_file(out, ONNX_FILE) as path:
        path.write_bytes(export.model.SerializeToString(deterministic=True))
    return _Written(
        figures={
            "nodes": len(export.model.graph.node),
            "runtime": agreement.runtime,
            "samples": agreement.num_samples,
            "data_note": samples.note,
            "equal_counts": agreement.num_counts,
            "equal_logits": agreement.num_logits,
            "float64_populations": export.in_float64,
            "max_pools": sum(map(len, export.pools.by_target.values())),
        },
        losses=losses(export, loaded.network),
        summary=f"{agreement.runtime} gives the same {agreement.num_counts:,} counts and "
        f"{agreement.num_logits:,} logits as the exact engine, on {samples.name}",
    )


def _write_qonnx(build: Path, out: Path) -> _Written:
    return _write_onnx(build, out, form="qonnx")


def _write_c(build: Path, out: Path) -> _Written:
    from deploy.backends.c_network.emit import to_c, write_c
    from deploy.build.folder import C_EXPORT, require_replaceable_folder, whole_folder
    from deploy.build.load import load_build
    from deploy.check.judged_build import samples_of

    require_replaceable_folder(out, C_EXPORT)
    loaded = load_build(build)
    samples = samples_of(loaded, C_SAMPLES)
    export = to_c(loaded.network, samples.pixels)
    with whole_folder(out, C_EXPORT) as folder:
        write_c(export, folder)
    return _Written(
        figures={"samples": len(samples.pixels), "data_note": samples.note, **export.figures},
        losses=export.losses,
        summary=f"all integers and a reference implementation, with {samples.name}; run it with "
        f"`{shell_command('make', '-C', out, 'run')}`",
    )


def _write_nir(build: Path, out: Path) -> _Written:
    import nir

    from deploy.backends.nir_graph import to_nir
    from deploy.build.load import load_build
    from toolchain.files.whole_files import HDF5_FILE, require_replaceable_file, whole_file

    require_replaceable_file(out, HDF5_FILE)
    export = to_nir(load_build(build).network)
    content = io.BytesIO()  # the HDF5 library may crash where it cannot write, as on a full disk
    nir.write(content, export.graph)
    with whole_file(out, HDF5_FILE) as path:
        path.write_bytes(content.getvalue())
    nodes = len(export.graph.nodes)
    return _Written(
        figures={"nodes": nodes},
        losses=export.losses,
        summary=f"{nodes} nodes, the integers unchanged; what NIR does not define is in their metadata",
    )


def _write_netx(build: Path, out: Path) -> _Written:
    from deploy.backends.netx.netx_file import to_netx, write_netx
    from deploy.build.load import load_build
    from toolchain.files.whole_files import HDF5_FILE, require_replaceable_file, whole_file

    require_replaceable_file(out, HDF5_FILE)
    export = to_netx(load_build(build).network)
    with whole_file(out, HDF5_FILE) as path:
        write_netx(path, export.layers)
    bits, num_layers = export.input_message_bits, len(export.layers)
    exact = "" if export.losses else ", nothing lost"
    return _Written(
        figures={"layers": num_layers, "input_message_bits": bits},
        losses=export.losses,
        summary=f"{num_layers} layers{exact}; read it with "
        f"lava.lib.dl.netx.hdf5.Network(net_config, input_message_bits={bits})",
    )


def _write_sanafe(build: Path, out: Path) -> _Written:
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
    num_ticks = export.plan["num_ticks"]
    return _Written(
        figures={
            "samples": len(samples.pixels),
            "data_note": samples.note,
            "copies": export.copies,
            "ticks": num_ticks,
        },
        losses=export.losses,
        summary=f"{samples.name} in {num_ticks} ticks, the integers unchanged; run it with "
        f"`{shell_command('python', out / 'run.py')}`",
    )


_WRITERS: dict[str, tuple[str, Callable[[Path, Path], _Written]]] = {
    "onnx": ("network.onnx", _write_onnx),
    "qonnx": ("network_qonnx.onnx", _write_qonnx),
    "c": ("c_network", _write_c),
    "nir": ("network.nir", _write_nir),
    "netx": ("network.net", _write_netx),
    "sanafe": ("sanafe", _write_sanafe),
}
"""Default output and writer of each format; a writer takes the build and the output."""
