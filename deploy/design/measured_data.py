"""The data set that a model's designs are measured on."""

from __future__ import annotations

from pathlib import Path

from deploy.design.accuracy import Accuracy
from deploy.design.check_fits import check_fits
from toolchain.datasets import Dataset, load_dataset, load_recorded
from toolchain.errors import DataError
from toolchain.files.checkpoint import Checkpoint


def measured_data(
    model: Path, checkpoint: Checkpoint, data: str | None, accuracy: Accuracy | None
) -> tuple[Dataset | None, str | None]:
    """The data set asked for, or else the model's own; and a note if that cannot be used or has changed.

    Args:
        data: a name or path; None takes the data set that the model was trained on.

    Raises:
        DataError: the data set asked for cannot be used.
    """
    if data is not None:
        dataset = load_dataset(data)
        check_fits(checkpoint.graph, dataset, accuracy)
        return dataset, None
    try:
        dataset, changed = load_recorded(checkpoint.training, model)
        check_fits(checkpoint.graph, dataset, accuracy)
    except DataError as error:
        return None, f"accuracy, energy and time are not measured: {error}"
    return dataset, changed
