"""``qac-deploy convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import JsonOption, print_json, say


def convert_command(
    weights: Annotated[Path, typer.Argument(help="state_dict file of a QCFS network (.pth).")],
    arch: Annotated[str, typer.Option(help="vgg-16, resnet-18, resnet-20 or resnet-34.")],
    levels: Annotated[
        int, typer.Option(min=1, max=256, help="L it was trained with; T of every population.")
    ] = 8,
    classes: Annotated[int, typer.Option(min=2)] = 10,
    image: Annotated[int, typer.Option(min=8, help="Rows and columns of an image.")] = 32,
    normalize: Annotated[
        str, typer.Option(help="Input normalization of cifar-10, cifar-100, imagenet, or none.")
    ] = "cifar-10",
    data: Annotated[str | None, typer.Option(help="Data set that compile measures it on.")] = None,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("model.pt"),
    as_json: JsonOption = False,
) -> None:
    """Import a network trained with the public QCFS code, as a QAC network with T = L everywhere.

    Only plain tensors are read; nothing in the file is executed.

    Example: [bold]qac-deploy convert qcfs.pth --arch resnet-20 --levels 4[/bold]
    """
    from toolchain.files.checkpoint import Checkpoint, save_checkpoint
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file
    from toolchain.importers.qcfs import NORMALIZATIONS, load_qcfs_network
    from toolchain.importers.torch_module import convert

    require_replaceable_file(out, MODEL_FILE)
    if normalize not in (*NORMALIZATIONS, "none"):
        raise typer.BadParameter(
            f"must be {', '.join(NORMALIZATIONS)} or none, not '{normalize}'",
            param_hint="--normalize",
        )
    shape = (3, image, image)
    module = load_qcfs_network(weights, arch, shape, classes, levels)
    graph = convert(module, shape, 255, NORMALIZATIONS.get(normalize))
    training = {
        "imported_from": f"QCFS checkpoint {weights.name}",
        "architecture": arch,
        "levels": levels,
        "normalization": normalize,
        "data": data,
    }
    save_checkpoint(out, Checkpoint(graph, training))
    if as_json:
        print_json({"model": str(out), "populations": len(graph.populations), **training})
        return
    say(
        "[bold]{out}[/bold]  {arch} from {weights}: {count} spiking populations, T = {levels}",
        out=out, arch=arch, weights=weights, count=len(graph.spiking), levels=levels,
    )  # fmt: skip
    say("next: [bold]qac-deploy compile {out} --target loihi-sim[/bold]", out=out)
