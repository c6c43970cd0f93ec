"""``qac-deploy train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import JsonOption, console, print_json, progress_bar


def train_command(
    data: Annotated[str, typer.Option(help="Data set: digits or mnist5k.")] = "digits",
    arch: Annotated[str, typer.Option(help="Built-in architecture.")] = "resnet-mini",
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("model.pt"),
    mean_timesteps: Annotated[
        float, typer.Option(min=1, help="Budget for the mean of T over the spiking populations.")
    ] = 2.5,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a network whose activation quantizers learn their timesteps, and convert it.

    Fewer timesteps cost accuracy: lower --mean-timesteps and compare.

    Example: [bold]qac-deploy train --data digits --out model.pt[/bold]
    """
    from toolchain.checkpoint import Checkpoint, save_checkpoint
    from toolchain.conversion import convert
    from toolchain.datasets import load_dataset
    from toolchain.errors import ModelFileError
    from toolchain.float_snn import run_float_snn
    from toolchain.layer_graph import SpikingPopulation
    from toolchain.training import EpochReport, TrainingPlan, accuracy, quantized_ann_logits, train

    if not out.parent.is_dir():
        raise ModelFileError(f"{out}: no such folder as {out.parent}; make it first")
    dataset = load_dataset(data)
    plan = TrainingPlan(epochs=epochs, mean_timesteps=mean_timesteps, seed=seed)
    with progress_bar(hidden=as_json) as progress:
        task = progress.add_task(f"training {arch} on {data}", total=epochs, note="")

        def show(report: EpochReport) -> None:
            note = f"loss {report.loss:.3f}, T {' '.join(map(str, report.timesteps.values()))}"
            progress.update(task, completed=report.epoch, note=note)

        module = train(arch, dataset, plan, show)
    graph = convert(module, dataset.input_shape, dataset.max_value)
    ann = quantized_ann_logits(module, dataset.test_pixels, dataset.max_value)
    snn = run_float_snn(graph, dataset.test_pixels).logits
    timesteps = {p.name: p.timesteps for p in graph.populations if isinstance(p, SpikingPopulation)}
    training = {
        "data": data,
        "architecture": arch,
        "epochs": epochs,
        "seed": seed,
        "mean_timesteps_budget": mean_timesteps,
        "test_samples": len(ann),
        "quantized_ann_accuracy": accuracy(ann, dataset.test_labels),
        "float_snn_accuracy": accuracy(snn, dataset.test_labels),
        "same_argmax": int((ann.argmax(1) == snn.argmax(1)).sum()),
        "largest_logit_difference": float(abs(ann - snn).max()),
    }
    save_checkpoint(out, Checkpoint(graph, training))
    mean = sum(timesteps.values()) / len(timesteps)
    if as_json:
        print_json(
            {
                "model": str(out),
                "timesteps": timesteps,
                "mean_timesteps": mean,
                "training": training,
            }
        )
        return
    console.print(f"[bold]{out}[/bold]  {arch} on {data}, {len(ann)} test images")
    console.print(
        f"  T            {', '.join(f'{n} {t}' for n, t in timesteps.items())}; mean {mean:.2f}"
    )
    if mean > mean_timesteps:
        console.print(
            f"  [yellow]above the budget of {mean_timesteps:g}: train longer with --epochs[/yellow]"
        )
    console.print(f"  ANN          {training['quantized_ann_accuracy']:.2%} (quantized)")
    console.print(
        f"  SNN          {training['float_snn_accuracy']:.2%} (float, averaging); same class on "
        f"{training['same_argmax']} of {len(ann)}, logits differ by at most "
        f"{training['largest_logit_difference']:.1e}"
    )
    console.print(f"next: [bold]qac-deploy compile {out} --target loihi-sim[/bold]")
