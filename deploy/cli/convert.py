"""``qac-deploy convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, bold, choice, console, print_json, print_next

if TYPE_CHECKING:
    from toolchain.datasets import Dataset


def convert_command(
    weights: Annotated[
        Path, typer.Argument(help="State dict or training checkpoint (.pth) of a QCFS network.")
    ],
    arch: Annotated[
        str,
        typer.Option(
            help="Architecture: vgg-11, -13, -16 or -19, with -wobn for those without batch norm; resnet-18, "
            "-20, -34, -50, -101 or -152."
        ),
    ],
    levels: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Levels L that it was trained with: the T of every population."
        ),
    ] = 8,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    image: Annotated[
        int, typer.Option(min=8, help="Height and width of an image, in pixels.")
    ] = 32,
    normalize: Annotated[
        str, typer.Option(help="Input normalization: cifar-10, cifar-100, imagenet or none.")
    ] = "cifar-10",
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set on which compile measures the network: cifar-10, cifar-100, an .npz file or a "
            "folder."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("model.pt"),
    as_json: JsonOption = False,
) -> None:
    """Import a network that was trained with the public QCFS code; every population gets T = L.

    Only plain tensors are read, and nothing in the file is executed. Max pooling stays exact, with
    additional neurons. The network is compared with what it became; if they differ, nothing is written.

    A network of your own comes in from Python: see "Bring your own network" in README.md.

    Example: qac-deploy convert qcfs.pth --arch resnet-20 --levels 4
    """
    from deploy.design.fidelity import check_fits
    from toolchain.datasets import data_record
    from toolchain.files.checkpoint import Checkpoint, save_checkpoint
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file
    from toolchain.importers.qcfs import NORMALIZATIONS, load_qcfs_network
    from toolchain.importers.torch_module import convert

    require_replaceable_file(out, MODEL_FILE)
    choice(normalize, (*NORMALIZATIONS, "none"), "--normalize")
    dataset, note = (None, None) if data is None else _data_set(data)
    shape = (3, image, image)
    module = load_qcfs_network(weights, arch, shape, classes, levels)
    samples = None
    if dataset is not None and (dataset.input_shape, dataset.max_value) == (shape, 255):
        samples = dataset.train_pixels
    graph = convert(module, shape, 255, NORMALIZATIONS.get(normalize), samples=samples)
    training: dict[str, object] = {
        "imported_from": f"QCFS checkpoint {weights.name}",
        "architecture": arch,
        "levels": levels,
        "normalization": normalize,
        "data": data,
    }
    if dataset is not None:
        check_fits(graph, dataset)
        training |= data_record(dataset, out)
    save_checkpoint(out, Checkpoint(graph, training))
    if as_json:
        record = {"model": str(out), "populations": len(graph.populations), "data_note": note}
        print_json({**record, **training})
        return
    console.print(
        f"{bold(out)}  {arch} from {escape(str(weights))}: {len(graph.populations) - 2} spiking populations, "
        f"T = {levels}"
    )
    if note is not None:
        console.print(f"  [yellow]{escape(note)}[/yellow]")
    print_next(f"compile {out} --target loihi-sim")


def _data_set(name: str) -> tuple[Dataset | None, str | None]:
    """The data set, or why one that is known by its name cannot be read here."""
    from toolchain.datasets import DATASETS, load_dataset
    from toolchain.errors import DataError

    try:
        return load_dataset(name), None
    except DataError as error:
        if name not in DATASETS:
            raise
        return None, f"{name} is recorded without a digest of its samples: {error}"
