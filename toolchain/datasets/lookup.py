"""Data sets by name or path, and the record that a model file or a build keeps of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolchain.datasets.built_in import load_digits, load_mnist5k
from toolchain.datasets.cifar import load_cifar10, load_cifar100
from toolchain.datasets.dataset import Dataset
from toolchain.datasets.digest import samples_sha256
from toolchain.datasets.fashion_mnist import load_fashion_mnist
from toolchain.datasets.image_folder import load_image_folder
from toolchain.datasets.npz import load_npz
from toolchain.errors import DataError

_READERS: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    "mnist5k": load_mnist5k,
    "fashion-mnist": load_fashion_mnist,
    "cifar-10": load_cifar10,
    "cifar-100": load_cifar100,
}
DATASETS = tuple(_READERS)


def load_dataset(name_or_path: str) -> Dataset:
    """Load a data set by name, an ``.npz`` file, or a folder of images.

    Raises:
        DataError: no such data set; or its files are missing (the message says where to get them and
            where to put them) or malformed (it names the file and the field).
    """
    if name_or_path in _READERS:
        return _READERS[name_or_path]()
    path = Path(name_or_path)
    if path.suffix == ".npz":
        return load_npz(path)
    if path.is_dir():
        return load_image_folder(path)
    raise DataError(
        f"no data set is named '{name_or_path}'; choose one of {', '.join(_READERS)}, an .npz file, or "
        f"a folder with train/ and test/ (or val/) that hold one folder of images a class"
    )


def data_record(dataset: Dataset, holder: Path) -> dict[str, Any]:
    """What a model file or a build remembers of its data set; ``load_recorded`` finds it again.

    Args:
        holder: the model file or build folder that keeps the record. A relative path of the data set is
            kept relative to the folder that the holder lies in, so that both can be moved together.

    Returns:
        ``data``, a name or path, and ``data_sha256`` of the test samples; for ``Checkpoint.training``.
    """
    name = dataset.name
    if name not in DATASETS and not Path(name).is_absolute():
        name = os.path.relpath(name, _folder(holder))
    return {"data": name, "data_sha256": samples_sha256(dataset.test_pixels, dataset.test_labels)}


def load_recorded(record: Mapping[str, Any], holder: Path) -> tuple[Dataset, str | None]:
    """The data set that a record names, and one line if its test samples have changed since.

    A relative path is looked for from the folder that the holder lies in, then from the current one. The
    record may be anyone's: whatever it names is only ever read as a data set.

    Args:
        record: has ``data``, a name or path, and perhaps ``data_sha256``; see ``data_record``.
        holder: the model file or build folder that the record is from.

    Raises:
        DataError: the record names no data set, or one that is not there or malformed.
    """
    name = record.get("data")
    if not isinstance(name, str):
        raise DataError(f"{holder}: names no data set; choose one with --data")
    dataset = load_dataset(name if name in DATASETS else str(_found(name, holder)))
    expected = record.get("data_sha256")
    if expected is None:
        return dataset, None
    found = samples_sha256(dataset.test_pixels, dataset.test_labels)
    if found == expected:
        return dataset, None
    return dataset, (
        f"data set {dataset.name} has changed since {holder} was made: SHA-256 of its test samples is "
        f"{found[:12]}..., not {str(expected)[:12]}..."
    )


def _folder(holder: Path) -> Path:
    """The folder that a file or folder lies in, from the current one."""
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
