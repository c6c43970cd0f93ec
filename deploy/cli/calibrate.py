"""``qac-deploy calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import completion
from deploy.cli.console import (
    JsonOption,
    ModelArgument,
    bold,
    choice,
    console,
    print_next,
    progress_bar,
)
from deploy.cli.json_output import print_json
from deploy.cli.limit_bytes import LimitBytesOption
from deploy.report.terminal_text import escape


def calibrate_command(
    model: ModelArgument,
    alignment: Annotated[
        str,
        typer.Option(
            autocompletion=completion.alignment,
            help="Temporal alignment to calibrate for: average, replicate or truncate.",
        ),
    ] = "truncate",
    timesteps: Annotated[
        int | None,
        typer.Option(min=1, max=1_024, help="T of every population (default: as trained)."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.data_set,
            help="Data set (default: the one the network was trained on).",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=8, help="Training images to use, without their labels.")
    ] = 1024,
    granularity: Annotated[
        str, typer.Option(help="What shares a calibrated value: layer or channel.")
    ] = "channel",
    epochs: Annotated[int, typer.Option(min=1, help="Calibration epochs.")] = 20,
    learning_rate: Annotated[
        float, typer.Option(min=1e-9, max=1e3, help="Initial learning rate of Adam.")
    ] = 0.01,
    out: Annotated[Path, typer.Option(help="Model file to write.")] = Path("calibrated.pt"),
    limit_bytes: LimitBytesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit initial membrane potentials and thresholds to the ANN's logits; the weights stay as they are.

    Use it if conversion loses accuracy: with truncate or replicate, or with fewer timesteps than were
    trained. No labels and no test images are used. A quarter of the samples chooses the best epoch.

    Example: qac-deploy calibrate model.pt --alignment truncate
    """
    from deploy.train.calibrate_model import CalibrateOptions, calibrate_model
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file
    from toolchain.method.calibration import GRANULARITIES, CalibrationEpoch
    from toolchain.networks.layer_graph import ALIGNMENT_METHODS

    require_replaceable_file(out, MODEL_FILE)
    options = CalibrateOptions(
        alignment=choice(alignment, ALIGNMENT_METHODS, "--alignment"),
        timesteps=timesteps,
        data=data,
        samples=samples,
        granularity=choice(granularity, GRANULARITIES, "--granularity"),
        epochs=epochs,
        learning_rate=learning_rate,
    )
    with progress_bar(hidden=as_json) as progress:
        task = progress.add_task("calibrating", total=epochs, note="")

        def say(description: str) -> None:
            if not as_json:
                for line in description.split("\n"):
                    progress.console.print(escape(line))

        def show(report: CalibrationEpoch) -> None:
            note = f"held-out error {report.held_out_loss:.4f}"
            progress.update(task, completed=report.epoch, note=note)

        result = calibrate_model(model, out, options, show, say)
    if as_json:
        print_json(result)
        return
    console.print(f"{bold(out)}  from {escape(str(model))}, {alignment}, per {granularity}")
    if result["data_note"]:
        console.print(f"  [yellow]{escape(result['data_note'])}[/yellow]")
    if not result["epoch"]:
        console.print("  no epoch improved the network: it is written unchanged")
    console.print(
        f"  mean squared error of the logits on held-out images: {result['held_out_error_before']:.4f} "
        f"-> {result['held_out_error_after']:.4f}"
    )
    before, after = result["accuracy_before"], result["accuracy_after"]
    if before is not None and after is not None:
        console.print(
            f"  accuracy on {result['test_samples']:,} test images: {before:.2%} -> {after:.2%}"
        )
    print_next("compile", out, "--target", "loihi-sim")
