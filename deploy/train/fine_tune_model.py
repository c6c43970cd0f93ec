"""Train the integers that a target makes of a model file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from deploy.design.check_fits import check_fits
from deploy.train.integer_training import (
    IntegerOptions,
    IntegerReport,
    integer_report,
    require_same,
    train_integers,
)
from deploy.train.train_model import require_one_class_per_image
from toolchain.datasets import data_record, load_dataset, load_recorded
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.files.digest import file_sha256
from toolchain.files.whole_files import TRAINING_STATE, require_replaceable_file
from toolchain.training import EpochReport, TrainingPlan, is_main_process


class FineTuned(TypedDict):
    """The model file that was written, and what it gained."""

    model: str
    timesteps: dict[str, int]
    data_note: str | None
    integers: IntegerReport


def fine_tune_model(
    model: Path,
    out: Path,
    options: IntegerOptions,
    plan: TrainingPlan,
    data: str | None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    *,
    on_data: Callable[[str], None] = lambda description: None,
    resume: bool = False,
) -> FineTuned | None:
    """Train the integers of a model with its own data set, or another, and write them as a model file.

    Args:
        data: None takes the data set that the model was trained on.

    Returns:
        The report; None in all processes of a distributed run but the main one.

    Raises:
        QacDeployError: the model, the target or the data cannot be used.
    """
    checkpoint = load_checkpoint(model)
    dataset, changed = (
        load_recorded(checkpoint.training, model) if data is None else (load_dataset(data), None)
    )
    check_fits(checkpoint.graph, dataset)
    require_one_class_per_image(dataset)
    on_data(dataset.description)
    state = out.with_name(f"{out.name}.integer.training")
    require_replaceable_file(state, TRAINING_STATE)
    graph = train_integers(
        checkpoint.graph,
        dataset,
        options,
        plan,
        on_epoch,
        state_file=state,
        resume=resume,
        settings={"model": file_sha256(model)},
    )
    if not is_main_process():
        return None
    report = require_same(integer_report(checkpoint.graph, graph, dataset, options))
    training = {**checkpoint.training, **data_record(dataset, out), "integers": report}
    save_checkpoint(out, Checkpoint(graph, training))
    state.unlink(missing_ok=True)
    return {
        "model": str(out),
        "timesteps": {p.name: p.timesteps for p in graph.spiking},
        "data_note": changed,
        "integers": report,
    }
