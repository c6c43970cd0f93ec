"""``qac-deploy train --from``, and what both ways of training with integers print."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import Progress

from deploy.cli.console import bold, console, print_next, progress_bar, resumable
from deploy.cli.json_output import print_json
from deploy.report.terminal_text import escape

if TYPE_CHECKING:
    from deploy.train.integer_training import IntegerOptions


def fine_tune(
    model: Path,
    out: Path,
    options: IntegerOptions,
    data: str | None,
    *,
    learning_rate: float | None,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train the integers of a model file, and say what that gained.

    Args:
        settings: further fields of the training plan.
    """
    from deploy.train.fine_tune_model import fine_tune_model
    from toolchain.training import EpochReport, TrainingPlan
    from toolchain.training.integer_aware import INTEGER_LEARNING_RATE

    rate = INTEGER_LEARNING_RATE if learning_rate is None else learning_rate
    plan = TrainingPlan(epochs=options.epochs, learning_rate=rate, budget=None, **settings)
    with progress_bar(hidden=as_json or is_worker()) as progress:
        task = progress.add_task(f"training the integers of {model}", total=plan.epochs, note="")

        def show(report: EpochReport) -> None:
            progress.update(task, completed=report.epoch, note=f"loss {report.loss:.3f}")

        say = data_printer(progress, as_json)
        with resumable(progress):
            result = fine_tune_model(
                model, out, options, plan, data, show, on_data=say, resume=resume
            )
    if result is None:
        return
    if as_json:
        print_json(result)
        return
    console.print(f"{bold(out)}  from {escape(str(model))}")
    if result["data_note"]:
        console.print(f"  [yellow]{escape(result['data_note'])}[/yellow]")
    print_integers(result["integers"])
    print_next("compile", out, *compile_options(options))


def print_integers(report: Any) -> None:
    """What training with integers gained.

    Args:
        report: an ``IntegerReport``.
    """
    samples = report["test_samples"]
    bits = f"{escape(report['target'])}, {report['weight_bits']}-bit weights"
    if report["after"] is not None:
        console.print(
            f"  integers     {report['after']:.2%} ({bits}; float weights {report['before']:.2%}, rounded "
            f"without training {report['rounded']:.2%})"
        )
    console.print(
        f"  compiled     same class on {report['same_class']:,} of {samples:,}, "
        f"{report['different_counts']:,} spike counts differ"
    )


def compile_options(options: IntegerOptions | None) -> tuple[str, ...]:
    """Options with which ``compile`` takes the integers that were trained."""
    return ("--target", "loihi-sim" if options is None else options.target)


def data_printer(progress: Progress, as_json: bool) -> Callable[[str], None]:
    """The function that says what was read of a data set."""

    def say(description: str) -> None:
        if not (as_json or is_worker()):
            for line in description.split("\n"):
                progress.console.print(escape(line))

    return say


def is_worker() -> bool:
    """Whether this process is a worker of a distributed run, which stays silent."""
    return os.environ.get("LOCAL_RANK", "0") != "0"
