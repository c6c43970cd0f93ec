"""``qac-deploy convert``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import JsonOption, bold, console, print_next, status
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape

if TYPE_CHECKING:
    from deploy.convert.conversion import ConversionReport
    from toolchain.post_training import PostTrained

_QCFS, _NIR, _PLAIN = "QCFS checkpoints", "NIR graphs", "Plain ReLU networks"


def convert_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="ONNX file, exported program of PyTorch (.pt2), NIR graph, or QCFS checkpoint (.pth)."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set that the network was trained on: digits, mnist5k, fashion-mnist, cifar-10, "
            "cifar-100, an .npz file or a folder. The network is compared and measured on it.",
        ),
    ] = None,
    normalize: Annotated[
        str | None,
        typer.Option(
            help="What the network takes: pixels / max_value (none, the default), normalized further "
            "(cifar-10, cifar-100, imagenet, or MEANS/STDS such as 0.286/0.353), or pixels as they are "
            "(pixels). QCFS checkpoints: cifar-10 by default."
        ),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="CxHxW", help="Shape of an image, if neither file nor data set says it."
        ),
    ] = None,
    max_value: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Largest pixel, without a data set (default: 255)."),
    ] = None,
    mean_timesteps: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Budget for the mean T of the spiking populations.",
            rich_help_panel=_PLAIN,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=8, help="Training images to calibrate on, without labels.", rich_help_panel=_PLAIN
        ),
    ] = None,
    finetune: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS",
            min=1,
            help="Epochs of training the weights to give the float network's logits.",
            rich_help_panel=_PLAIN,
        ),
    ] = None,
    reset: Annotated[
        str | None,
        typer.Option(
            help="Reset of the neurons: soft, by subtraction, the only one that has an exact form.",
            rich_help_panel=_NIR,
        ),
    ] = None,
    timesteps: Annotated[
        int | None,
        typer.Option(min=1, help="T, which a NIR graph does not hold.", rich_help_panel=_NIR),
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option(
            help="Length of a timestep, in the unit of the graph's time constants.",
            rich_help_panel=_NIR,
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.one_of(completion.QCFS_ARCHITECTURES),
            help="Architecture: vgg-11, -13, -16 or -19, with -wobn for those without batch norm; resnet-18, "
            "-20, -34, -50, -101 or -152.",
            rich_help_panel=_QCFS,
        ),
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            help="Levels L that it was trained with: the T of every population (default: 8).",
            rich_help_panel=_QCFS,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(min=2, help="Number of classes (default: 10).", rich_help_panel=_QCFS),
    ] = None,
    image: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Height and width of an image, in pixels (default: 32).",
            rich_help_panel=_QCFS,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("model.pt"),
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a network of another tool to a model file.

    ONNX with quantize/clip/dequantize or QONNX (Brevitas, QKeras), programs that PyTorch quantized (pt2e,
    torchao), NIR graphs and QCFS checkpoints come in with the T that they were trained with. A plain ReLU
    network gets quantizers without training: add --data and --mean-timesteps.

    The network is executed by its own runtime and compared with what it became; if they differ, nothing is
    written. Nothing in the file is executed. Max pooling stays exact, with additional neurons.

    A network of your own comes in from Python: see "Bring your own network" in README.md.

    Example: qac-deploy convert network.onnx --data fashion-mnist --mean-timesteps 4
    """
    from deploy.convert.convert_network import convert_network
    from deploy.convert.options import ConvertOptions, shape_of
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file

    require_replaceable_file(out, MODEL_FILE)
    options = ConvertOptions(
        data=data,
        normalize=normalize,
        input_shape=shape_of(input_shape),
        max_value=max_value,
        arch=arch,
        levels=levels,
        classes=classes,
        image=image,
        reset=reset,
        timesteps=timesteps,
        dt=dt,
        mean_timesteps=mean_timesteps,
        samples=samples,
        finetune=finetune,
    )
    with status(f"read {file}", hidden=as_json) as say:
        report = convert_network(file, out, options, say)
    if as_json:
        print_json(_record(report))
        return
    _print(file, report)
    print_next("compile", out, "--target", "loihi-sim")


def _record(report: ConversionReport) -> dict[str, object]:
    conversion, graph = report.conversion, report.conversion.graph
    return {
        "model": report.model,
        "source": conversion.source,
        "runtime": conversion.runtime,
        "populations": len(graph.populations),
        "timesteps": {p.name: p.timesteps for p in graph.spiking},
        "agreement": None if conversion.agreement is None else asdict(conversion.agreement),
        "steps": [asdict(s) for s in measured.steps]
        if (measured := conversion.post_training)
        else [],
        "test": asdict(measured.test) if measured and measured.test else None,
        "notes": list(conversion.notes),
        "accuracy": None if report.accuracy is None else asdict(report.accuracy),
        "data_note": report.data_note,
        **report.training,
    }


def _print_steps(result: PostTrained) -> None:
    """A table of what each step gained, on held-out training images."""
    from deploy.report.tables import numbers, print_table, sentences, tabulate

    table = tabulate(
        "",
        result.steps,
        sentences("step", "step", lambda s: f"{s.name}{'' if s.kept else ' (undone)'}: {s.what}"),
        numbers(
            "mean T",
            "mean T",
            lambda s: "" if s.mean_timesteps is None else f"{s.mean_timesteps:.2f}",
        ),
        numbers("error", "error", lambda s: f"{s.logit_error:.4f}"),
        numbers(
            "same class",
            "same class",
            lambda s: "" if s.agreement is None else f"{s.agreement:.1%}",
        ),
        numbers(
            "accuracy", "accuracy", lambda s: "" if s.accuracy is None else f"{s.accuracy:.1%}"
        ),
    )
    print_table(table, console)


def _print(file: Path, report: ConversionReport) -> None:
    from deploy.convert.sentences import (
        accuracy_sentence,
        agreement_sentence,
        populations_sentence,
    )

    conversion = report.conversion
    console.print(
        f"{bold(report.model)}  {escape(conversion.source)}, from {escape(str(file))}: "
        f"{populations_sentence(conversion.graph)}"
    )
    if (agreement := agreement_sentence(conversion)) is not None:
        console.print(f"  {escape(agreement)}")
    if conversion.post_training is not None:
        _print_steps(conversion.post_training)
    for note in conversion.notes:
        console.print(f"  {escape(note)}")
    if (accuracy := accuracy_sentence(report)) is not None:
        console.print(f"  {escape(accuracy)}")
    if report.data_note is not None:
        console.print(f"  [yellow]{escape(report.data_note)}[/yellow]")
