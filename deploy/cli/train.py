"""``qac-deploy train``."""

from __future__ import annotations

import os
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
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape


def train_command(
    data: Annotated[
        str,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set: digits, mnist5k, fashion-mnist, cifar-10, cifar-100, an .npz file or a folder.",
        ),
    ] = "digits",
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
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs.")] = 30,
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
        float, typer.Option(help="Initial learning rate of the weights.")
    ] = 0.1,
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

    A network of your own is trained in Python: see "Bring your own network" in README.md.

    Example: qac-deploy train --data digits --out model.pt
    """
    from deploy.train.budget import DEFAULT_MEAN_TIMESTEPS, timestep_settings
    from deploy.train.train_model import TrainOptions, train_model
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file
    from toolchain.method.max_pooling import MAX_POOLS
    from toolchain.training import EpochReport, TrainingPlan

    require_replaceable_file(out, MODEL_FILE)
    if sum((mean_timesteps is not None, interval is not None, no_budget)) > 1:
        raise typer.BadParameter("use one of --mean-timesteps, --interval and --no-budget")
    if distill and not float_epochs:
        raise typer.BadParameter(
            "needs a float ANN to follow: add --float-epochs", param_hint="--distill"
        )
    if mean_timesteps is None and interval is None and not no_budget:
        mean_timesteps = DEFAULT_MEAN_TIMESTEPS
    plan = TrainingPlan(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        **timestep_settings(mean_timesteps, interval),
        distillation=distill,
        augment=augment,
        seed=seed,
        devices=devices,
        nodes=nodes,
    )
    options = TrainOptions(
        data=data,
        architecture=arch,
        width=width,
        case=case,
        float_epochs=float_epochs,
        plan=plan,
        max_timesteps=max_timesteps,
        max_pool=choice(max_pool, MAX_POOLS, "--max-pool"),
    )
    is_worker = os.environ.get("LOCAL_RANK", "0") != "0"  # of a distributed run; it stays silent
    with progress_bar(hidden=as_json or is_worker) as progress:
        task = progress.add_task(
            f"training {arch} on {data}", total=float_epochs + epochs, note="", start=True
        )

        def show(phase: str, report: EpochReport) -> None:
            timesteps = " ".join(f"{t:g}" for t in report.timesteps.values())
            note = f"{phase}, loss {report.loss:.3f}" + (f", T {timesteps}" if timesteps else "")
            done = report.epoch + (float_epochs if phase == "quantized" else 0)
            progress.update(task, completed=done, note=note)

        def say(description: str) -> None:
            if not (as_json or is_worker):
                for line in description.split("\n"):
                    progress.console.print(escape(line))

        with resumable(progress):
            result = train_model(out, options, show, on_data=say, resume=resume)
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
    print_next("compile", out, "--target", "loihi-sim")
