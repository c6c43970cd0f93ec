"""``qac-deploy train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import (
    JsonOption,
    ResumeOption,
    bold,
    choice,
    console,
    print_next,
    progress_bar,
    resumable,
)
from deploy.cli.fine_tune import (
    compile_options,
    data_printer,
    fine_tune,
    is_worker,
    print_integers,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape


def train_command(
    ctx: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set: digits, mnist5k, fashion-mnist, cifar-10, cifar-100, an .npz file or a folder "
            "(default: digits; with --from the one of the model).",
        ),
    ] = None,
    arch: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of(completion.ARCHITECTURES),
            help="Architecture: lenet, resnet-mini, resnet-8, resnet-18, resnet-19, resnet-20, resnet-34, "
            "vgg-9 or vgg-16.",
        ),
    ] = "resnet-mini",
    width: Annotated[
        float, typer.Option(help="Factor on the number of channels of every layer.")
    ] = 1.0,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("model.pt"),
    target: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.target,
            help="End with epochs in which the network computes with the integers of this target, so that "
            "`compile` for it loses nothing.",
        ),
    ] = None,
    weight_bits: Annotated[
        int | None,
        typer.Option(
            min=2, max=8, help="Bits of these weights, sign included (default: the target's)."
        ),
    ] = None,
    integer_epochs: Annotated[
        int, typer.Option(min=1, help="Number of these epochs; they come after the others.")
    ] = 2,
    from_model: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Train the integers of this finished model file alone, for --epochs; T stays.",
        ),
    ] = None,
    mean_timesteps: Annotated[
        float | None,
        typer.Option(
            min=1, help="Budget for the mean T of the spiking populations (default: 2.5)."
        ),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(
            min=1, help="Budget for the largest T instead, which bounds the ticks between results."
        ),
    ] = None,
    no_budget: Annotated[
        bool, typer.Option("--no-budget", help="Let weight decay alone lower T, as in the paper.")
    ] = False,
    case: Annotated[
        int,
        typer.Option(min=1, max=4, help="Activation quantizer: case 1, 2, 3 or 4 of the paper."),
    ] = 4,
    max_timesteps: Annotated[
        int, typer.Option(min=1, help="Cap on the T of every population.")
    ] = 16,
    max_pool: Annotated[
        str,
        typer.Option(
            autocompletion=completion.one_of(completion.MAX_POOLS),
            help="Max pooling of lenet, the VGGs and ResNets for 224x224 images: exact keeps it, with "
            "additional neurons; average replaces it by average pooling, as the paper's Algorithm 1 does.",
        ),
    ] = "average",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Training epochs (default: 30; with --from 2).")
    ] = None,
    float_epochs: Annotated[
        int,
        typer.Option(
            min=0,
            help="Epochs of the float ANN that training starts from; 0 starts at random weights.",
        ),
    ] = 0,
    distill: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the loss that compares the logits with the float ANN's."
        ),
    ] = 0.0,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Initial learning rate of the weights (default: 0.1; with --from 0.005, as a share of their "
            "size)."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Training images per step.")] = 64,
    augment: Annotated[
        bool, typer.Option("--augment", help="Shift and mirror training images at random.")
    ] = False,
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs per machine, or processes without a GPU.")
    ] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Number of machines.")] = 1,
    resume: ResumeOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 0,
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network whose activation quantizers learn their timesteps, and convert it to a spiking network.

    Fewer timesteps cost accuracy: lower --mean-timesteps and compare. The training state is saved next to
    the model file after each epoch, and --resume continues an interrupted run.

    With --target, the last epochs compute with the integers that the target holds: weights, biases and
    thresholds. `compile` for it then gives a network that has the same counts and classes for every image.

    A network of your own is trained in Python: see "Bring your own network" in README.md. Its integers are
    trained with --from.

    Example: qac-deploy train --data digits --target loihi-sim --weight-bits 4 --out model.pt
    """
    from deploy.train.budget import DEFAULT_MEAN_TIMESTEPS, timestep_settings
    from deploy.train.integer_training import IntegerOptions
    from deploy.train.train_model import TrainOptions, train_model
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file
    from toolchain.method.max_pooling import MAX_POOLS
    from toolchain.training import EpochReport, TrainingPlan

    require_replaceable_file(out, MODEL_FILE)
    _check_options(ctx, target, from_model)
    if sum((mean_timesteps is not None, interval is not None, no_budget)) > 1:
        raise typer.BadParameter("use one of --mean-timesteps, --interval and --no-budget")
    if distill and not float_epochs:
        raise typer.BadParameter(
            "needs a float ANN to follow: add --float-epochs", param_hint="--distill"
        )
    if from_model is not None:
        assert target is not None
        fine_tune(
            from_model,
            out,
            IntegerOptions(target=target, weight_bits=weight_bits, epochs=epochs or 2),
            data,
            learning_rate=learning_rate,
            batch_size=batch_size,
            augment=augment,
            seed=seed,
            devices=devices,
            nodes=nodes,
            resume=resume,
            as_json=as_json,
        )
        return
    data, epochs = data or "digits", epochs or 30
    if mean_timesteps is None and interval is None and not no_budget:
        mean_timesteps = DEFAULT_MEAN_TIMESTEPS
    plan = TrainingPlan(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=0.1 if learning_rate is None else learning_rate,
        **timestep_settings(mean_timesteps, interval),
        distillation=distill,
        augment=augment,
        seed=seed,
        devices=devices,
        nodes=nodes,
    )
    integers = None
    if target is not None:
        integers = IntegerOptions(target=target, weight_bits=weight_bits, epochs=integer_epochs)
    options = TrainOptions(
        data=data,
        architecture=arch,
        width=width,
        case=case,
        float_epochs=float_epochs,
        plan=plan,
        max_timesteps=max_timesteps,
        max_pool=choice(max_pool, MAX_POOLS, "--max-pool"),
        integers=integers,
    )
    before = {"float": 0, "quantized": float_epochs, "integer": float_epochs + epochs}
    with progress_bar(hidden=as_json or is_worker()) as progress:
        total = float_epochs + epochs + (integer_epochs if integers else 0)
        task = progress.add_task(f"training {arch} on {data}", total=total, note="", start=True)

        def show(phase: str, report: EpochReport) -> None:
            timesteps = " ".join(f"{t:g}" for t in report.timesteps.values())
            note = f"{phase}, loss {report.loss:.3f}" + (f", T {timesteps}" if timesteps else "")
            progress.update(task, completed=before[phase] + report.epoch, note=note)

        with resumable(progress):
            result = train_model(
                out, options, show, on_data=data_printer(progress, as_json), resume=resume
            )
    if result is None:
        return
    if as_json:
        print_json(result)
        return
    training = result["training"]
    samples = training["test_samples"]
    console.print(f"{bold(out)}  {arch} on {escape(data)}, {samples:,} test images")
    names = ", ".join(f"{n} {t}" for n, t in result["timesteps"].items())
    console.print(f"  T            {escape(names)}; mean {result['mean_timesteps']:.2f}")
    if result["budget_exceeded_by"] > 0:
        console.print(
            f"  [yellow]above the budget by {result['budget_exceeded_by']:.2f}: train longer with "
            f"--epochs[/yellow]"
        )
    if result["at_the_cap"]:
        console.print(
            f"  [yellow]T = {max_timesteps} is the cap, which {escape(', '.join(result['at_the_cap']))} "
            f"reached: raise it with --max-timesteps[/yellow]"
        )
    if "float_ann_accuracy" in training:
        console.print(f"  float ANN    {training['float_ann_accuracy']:.2%}")
    console.print(f"  ANN          {training['quantized_ann_accuracy']:.2%} (quantized)")
    console.print(
        f"  SNN          {training['float_snn_accuracy']:.2%} (float, averaging); same class on "
        f"{training['same_argmax']:,} of {samples:,}, logits differ by at most "
        f"{training['largest_logit_difference']:.1e}"
    )
    if "integers" in training:
        print_integers(training["integers"])
    print_next("compile", out, *compile_options(integers))


_OF_TRAINED_TIMESTEPS = (
    *("arch", "width", "integer_epochs", "mean_timesteps", "interval", "no_budget", "case"),
    *("max_timesteps", "max_pool", "float_epochs", "distill"),
)
"""Parameters of training before the integers, which a finished model has behind it."""


def _check_options(ctx: typer.Context, target: str | None, from_model: Path | None) -> None:
    """Refuse options that have no meaning beside others."""

    def given(name: str) -> bool:
        source = ctx.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    def option(name: str) -> str:
        return next(p.opts[0] for p in ctx.command.params if p.name == name)

    if target is None:
        for name in ("from_model", "weight_bits", "integer_epochs"):
            if given(name):
                raise typer.BadParameter(
                    "is about the integers of a target: add --target", param_hint=option(name)
                )
    if from_model is not None:
        for name in _OF_TRAINED_TIMESTEPS:
            if given(name):
                raise typer.BadParameter(
                    "has no meaning with --from: a finished model keeps its layers and T, and --epochs is "
                    "the number of epochs; leave it out",
                    param_hint=option(name),
                )
