"""``qac-deploy calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.console import JsonOption, console, print_json, progress_bar, say


def calibrate_command(
    model: Annotated[Path, typer.Argument(help="Model file, as `qac-deploy train` writes it.")],
    alignment: Annotated[
        str, typer.Option(help="How it will run: average, replicate or truncate.")
    ] = "truncate",
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="T of every population (default: as trained).")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set (default: the one it was trained on).")
    ] = None,
    samples: Annotated[int, typer.Option(min=8, help="Unlabelled training images to use.")] = 1024,
    granularity: Annotated[str, typer.Option(help="One value per layer or channel.")] = "channel",
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    learning_rate: Annotated[float, typer.Option(help="Initial, of Adam.")] = 0.01,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("calibrated.pt"),
    as_json: JsonOption = False,
) -> None:
    """Train initial membrane potentials and thresholds against the ANN's logits, weights frozen.

    Worth it where conversion loses accuracy: with truncate or replicate, or with fewer timesteps than
    were trained. It uses no labels and no test image; a quarter of the samples chooses the epoch.

    Example: [bold]qac-deploy calibrate model.pt --alignment truncate[/bold]
    """
    from deploy.train.calibrate_model import CalibrateOptions, calibrate_model
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file
    from toolchain.method.calibration import GRANULARITIES, CalibrationEpoch
    from toolchain.networks.layer_graph import ALIGNMENT_METHODS

    require_replaceable_file(out, MODEL_FILE)
    if alignment not in ALIGNMENT_METHODS:
        raise typer.BadParameter(
            f"must be one of {', '.join(ALIGNMENT_METHODS)}, not '{alignment}'",
            param_hint="--alignment",
        )
    if granularity not in GRANULARITIES:
        raise typer.BadParameter(
            f"must be layer or channel, not '{granularity}'", param_hint="--granularity"
        )
    options = CalibrateOptions(
        alignment=alignment,
        timesteps=timesteps,
        data=data,
        samples=samples,
        granularity=granularity,
        epochs=epochs,
        learning_rate=learning_rate,
    )
    with progress_bar(hidden=as_json) as progress:
        task = progress.add_task("calibrating", total=epochs, note="")

        def show(report: CalibrationEpoch) -> None:
            progress.update(
                task, completed=report.epoch, note=f"held-out error {report.held_out_loss:.4f}"
            )

        result = calibrate_model(model, out, options, show)
    if as_json:
        print_json(result)
        return
    say(
        "[bold]{out}[/bold]  from {model}, {alignment}, per {granularity}",
        out=out, model=model, alignment=alignment, granularity=granularity,
    )  # fmt: skip
    if result["data_note"]:
        console.print(f"  [yellow]{escape(result['data_note'])}[/yellow]")
    if not result["epoch"]:
        console.print("  no epoch improved on it: the network is written as it was")
    console.print(
        f"  mean squared error of the logits on held-out images: {result['held_out_error_before']:.4f} "
        f"-> {result['held_out_error_after']:.4f}"
    )
    console.print(
        f"  accuracy on {result['test_samples']:,} test images: {result['accuracy_before']:.2%} -> "
        f"{result['accuracy_after']:.2%}"
    )
    say("next: [bold]qac-deploy compile {out} --target loihi-sim[/bold]", out=out)
