"""Find data sets by name or path, and the data set that a model file or build was made with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from toolchain.datasets.built_in import load_digits, load_mnist5k
from toolchain.datasets.cifar import load_cifar10, load_cifar100
from toolchain.datasets.dataset import Dataset
from toolchain.datasets.fashion_mnist import load_fashion_mnist
from toolchain.datasets.idx import FIRST_FILE, find_idx, load_idx_folder
from toolchain.datasets.image_folder import load_image_folder
from toolchain.datasets.npz import load_npz
from toolchain.datasets.size_limit import size_limit
from toolchain.errors import DataError

_READERS: dict[str, Callable[[int], Dataset]] = {
    "digits": load_digits,
    "mnist5k": load_mnist5k,
    "fashion-mnist": load_fashion_mnist,
    "cifar-10": load_cifar10,
    "cifar-100": load_cifar100,
}
DATASETS = tuple(_READERS)


def load_dataset(name_or_path: str, limit_bytes: int | None = None) -> Dataset:
    """Load a data set by name, an ``.npz`` file, or a folder of images or IDX files.

    Args:
        limit_bytes: the most memory that one file may take; None takes that of the environment variable
            ``QAC_DEPLOY_LIMIT_BYTES``, or else 4 GiB.

    Raises:
        DataError: there is no such data set, its files are missing (the message says where to get them and
            where to put them), or one is malformed (the message names the file and the field).
    """
    limit = size_limit(limit_bytes)
    try:
        return _reader(name_or_path)(limit)
    except MemoryError:
        raise DataError(
            f"data set '{name_or_path}' does not fit in memory; use fewer images, or a folder of images"
        ) from None


def _reader(name_or_path: str) -> Callable[[int], Dataset]:
    if name_or_path in _READERS:
        return _READERS[name_or_path]
    path = Path(name_or_path)
    if path.suffix == ".npz":
        return partial(load_npz, path)
    if path.is_dir():
        is_idx = find_idx(path, FIRST_FILE).is_file()
        return partial(load_idx_folder if is_idx else load_image_folder, path)
    raise DataError(
        f"no data set is named '{name_or_path}'; choose one of {', '.join(_READERS)}, an .npz file, a "
        f"folder with train/ and test/ (or val/) that have one folder of images per class, or a folder of "
        f"IDX files with MNIST's names"
    )


def can_be_found(name: str) -> bool:
    """Whether the name of a data set is one that ``load_dataset`` knows, or the path of a file or folder."""
    return name in _READERS or Path(name).exists()


def data_record(dataset: Dataset, holder: Path) -> dict[str, Any]:
    """Record of a data set in a model file or build, by which ``load_recorded`` finds it again.

    Args:
        holder: the model file or build folder that keeps the record. A relative path of the data set is
            stored relative to the parent folder of the holder, so that both can be moved together.

    Returns:
        ``data``, a name or path, and ``data_sha256`` of the test samples; for ``Checkpoint.training``.
    """
    name = dataset.name
    if name not in DATASETS and not Path(name).is_absolute():
        name = os.path.relpath(name, _folder(holder))
    return {"data": name, "data_sha256": dataset.test_sha256}


def with_digest(record: Mapping[str, Any], holder: Path) -> dict[str, Any]:
    """Complete a record that names a data set by hand, without its digest, if the data set can be read.

    Args:
        holder: the model file that is to keep the record.
    """
    if not isinstance(record.get("data"), str) or "data_sha256" in record:
        return dict(record)
    try:
        dataset, _ = load_recorded(record, holder)
    except DataError:
        return dict(record)  # whoever needs the data set will say why it cannot be read
    return {**record, **data_record(dataset, holder)}


def load_recorded(record: Mapping[str, Any], holder: Path) -> tuple[Dataset, str | None]:
    """Load the data set that a record names, and return a warning if its test samples have changed.

    A relative path is looked up from the parent folder of the holder, then from the current folder. The
    record is not trusted: the file that it names is only read as a data set.

    Args:
        record: has ``data``, a name or path, and perhaps ``data_sha256``; see ``data_record``.
        holder: the model file or build folder that the record is from.

    Raises:
        DataError: the record names no data set, or one that is missing or malformed.
    """
    name = record.get("data")
    if not isinstance(name, str):
        raise DataError(f"{holder}: names no data set; choose one with --data")
    dataset = load_dataset(name if name in DATASETS else str(_found(name, holder)))
    expected = record.get("data_sha256")
    if expected is None:
        return dataset, None
    found = dataset.test_sha256
    if found == expected:
        return dataset, None
    return dataset, (
        f"data set {dataset.name} has changed since {holder} was made: SHA-256 of its test samples is "
        f"{found[:12]}..., not {str(expected)[:12]}..."
    )


def _folder(holder: Path) -> Path:
    """Path of the parent folder of a file or folder, relative to the current folder."""
    return Path(os.path.relpath(os.path.dirname(os.path.abspath(holder))))


def _found(name: str, holder: Path) -> Path:
    places = [Path(os.path.normpath(place)) for place in (_folder(holder) / name, name)]
    for place in places:
        try:
            if place.is_file() or place.is_dir():
                return place
        except (OSError, ValueError):  # a name that no file can have
            break
    where = " nor ".join(dict.fromkeys(str(place.parent) for place in places))
    raise DataError(
        f"data set '{Path(name).name}', which {holder} names, is not in {where}; choose one with --data"
    )
