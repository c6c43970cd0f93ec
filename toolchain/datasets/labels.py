"""What labels must be, and what they imply."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.errors import DataError

MOST_UNSEEN = 65_536
"""Most classes without a training image: each costs a row of weights in the network that is made for them."""

_SHOWN = 5  # classes listed in a message


def class_labels(where: str, array: np.ndarray) -> np.ndarray:
    """Labels as int64, of shape ``(B,)``, or ``(B, H, W)`` with one class per pixel.

    A column of shape ``(B, 1)`` is the same labels with one axis more.

    Args:
        where: the file and field, for messages.

    Raises:
        DataError: there is none, or they are no integers, negative, one-hot, or of another shape.
    """
    if not array.size:
        raise DataError(f"{where} of shape {array.shape} holds no label; store one for each image")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and _is_one_hot(array):
        raise DataError(
            f"{where} is one-hot, of shape {array.shape}; store the numbers of the classes: "
            f"labels.argmax(axis=1)"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{where} must be integers, not {array.dtype}; {_remedy(array)}")
    if array.ndim not in (1, 3):
        raise DataError(
            f"{where} must have shape (B,), or (B, H, W) for one class per pixel, not {array.shape}"
        )
    if array.min() < 0:
        raise DataError(
            f"{where} holds {array.min()}, but classes are numbered from 0; leave out images without a class"
        )
    if array.max() >= 2**31:
        raise DataError(f"{where} holds {array.max()}; number the classes from 0")
    return array.astype(np.int64)


def _is_one_hot(array: np.ndarray) -> bool:
    return bool(np.issubdtype(array.dtype, np.number) or array.dtype == bool) and bool(
        ((array != 0).sum(axis=1) == 1).all() and (array.max(axis=1) == 1).all()
    )


def _remedy(array: np.ndarray) -> str:
    if array.dtype == bool or (
        np.issubdtype(array.dtype, np.floating) and bool((array == np.rint(array)).all())
    ):
        return "store them with labels.astype(np.int64)"
    if np.issubdtype(array.dtype, np.str_):
        return "store their numbers: np.unique(labels, return_inverse=True)[1]"
    return "only classes can be learned, numbered from 0"


def implied_classes(
    where: str, labels: Mapping[str, np.ndarray], declared: int | None, how_to_declare: str
) -> tuple[int, tuple[str, ...]]:
    """Number of classes, and notes on classes that no training image has.

    Args:
        where: the file, for messages.
        labels: of training and test, by the name of their part or field.
        declared: the number of classes, if the data set says it.
        how_to_declare: how it is said, for messages.

    Raises:
        DataError: a label is above the declared number of classes, or implies more classes than there are
            images (or pixels with a label), or far more are declared than have an image.
    """
    largest, part = max((int(array.max(initial=0)), name) for name, array in labels.items())
    if declared is not None and largest >= declared:
        raise DataError(
            f"{where}: {part} holds {largest}, but there are {declared:,} classes, 0 to {declared - 1:,}"
        )
    num_labels = sum(array.size for array in labels.values())
    if declared is None and largest >= max(num_labels, 1):
        raise DataError(
            f"{where}: {part} holds {largest:,}, which implies {largest + 1:,} classes for {num_labels:,} "
            f"labels; number the classes from 0 without gaps, or {how_to_declare}"
        )
    num_classes = largest + 1 if declared is None else declared
    trained = np.unique(next(iter(labels.values())))
    num_unseen = num_classes - len(trained)
    if num_unseen > MOST_UNSEEN:
        raise DataError(
            f"{where}: declares {num_classes:,} classes, of which {num_unseen:,} have no training image, "
            f"more than {MOST_UNSEEN:,}; number the classes from 0 without gaps"
        )
    if not num_unseen:
        return num_classes, ()
    first = np.arange(min(num_classes, len(trained) + _SHOWN))  # holds that many unseen ones
    listed = ", ".join(map(str, np.setdiff1d(first, trained)[:_SHOWN]))
    more = ", ..." if num_unseen > _SHOWN else ""
    return num_classes, (
        f"classes that no training image has: {num_unseen:,} of {num_classes:,} ({listed}{more})",
    )
