"""Data sets by name or path."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING, TypeAlias

from qac_deploy.messages import speaks_python
from toolchain.errors import OptionError

if TYPE_CHECKING:
    from toolchain.datasets import Dataset

Data: TypeAlias = "str | PathLike[str] | Dataset"
"""A data set, its name, an ``.npz`` file or a folder."""


@speaks_python
def load_data(source: str | PathLike[str], *, limit_bytes: int | None = None) -> Dataset:
    """Load a data set.

    Args:
        source: ``digits``, ``mnist5k``, ``fashion-mnist``, ``cifar-10``, ``cifar-100``, an ``.npz`` file with
            ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``, or a folder of images or
            IDX files.
        limit_bytes: the most memory that one file may take; None takes ``QAC_DEPLOY_LIMIT_BYTES`` of the
            environment, or 4 GiB.

    Returns:
        Pixel integers ``0..max_value`` of shape ``(B, C, H, W)`` and labels, for training and test.

    Raises:
        QacDeployError: there is no such data set, its files are missing (the message says where to get them),
            or one is malformed.
    """
    return as_dataset(source, limit_bytes)


def as_dataset(data: Data, limit_bytes: int | None = None) -> Dataset:
    """A data set that is given as one, or by its name or path."""
    from toolchain.datasets import Dataset, load_dataset

    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | PathLike):
        raise OptionError(
            f"a data set must be a name, a path or a Dataset, not {type(data).__name__}; load it with "
            f"load_data"
        )
    return load_dataset(fspath(data), limit_bytes)
