"""Image data sets as pixel integers. Nothing is downloaded, and nothing in a data file is executed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toolchain.datasets.built_in import load_digits, load_mnist5k
from toolchain.datasets.cifar import load_cifar10, load_cifar100
from toolchain.datasets.dataset import Dataset, PixelSource
from toolchain.datasets.fashion_mnist import load_fashion_mnist
from toolchain.datasets.image_folder import load_image_folder
from toolchain.datasets.npz import load_npz
from toolchain.errors import DataError

__all__ = ["DATASETS", "Dataset", "PixelSource", "load_dataset"]

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
