"""A data set: pixels and labels, split into training and test samples."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from toolchain.datasets.digest import samples_sha256
from toolchain.datasets.pixel_source import PixelSource
from toolchain.errors import DataError
from toolchain.networks.linear_maps import Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Pixel integers ``0..max_value`` of shape ``(B, C, H, W)`` and class labels.

    Labels have shape ``(B,)``, or ``(B, H, W)`` for networks whose readout is a map, with one class per
    pixel. The split into training and test samples is always the same.

    Attributes:
        name: as it was asked for, or the path of a file or folder.
        max_value: largest pixel; networks take ``pixels / max_value``.
        num_classes: classes are ``0..num_classes - 1``.
        train_pixels, test_pixels: slices give arrays; large data sets are read image by image.
        train_labels, test_labels: see above.
        source: where the samples are from, if the name does not say it.
        notes: what was changed or noticed while reading, one line each.
    """

    name: str
    max_value: int
    num_classes: int
    train_pixels: PixelSource
    train_labels: np.ndarray
    test_pixels: PixelSource
    test_labels: np.ndarray
    source: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, pixels, labels in (
            ("training", self.train_pixels, self.train_labels),
            ("test", self.test_pixels, self.test_labels),
        ):
            if len(pixels) != len(labels):
                raise DataError(
                    f"{self.name}: {len(pixels):,} {part} images but {len(labels):,} labels"
                )
            if not len(labels):
                raise DataError(f"{self.name}: there is no {part} image")
            if labels.ndim not in (1, 3):
                raise DataError(
                    f"{self.name}: {part} labels must have shape (B,), or (B, H, W) for one class per "
                    f"pixel, not {labels.shape}"
                )
            if labels.min() < 0 or labels.max() >= self.num_classes:
                raise DataError(
                    f"{self.name}: {part} labels must be 0 to {self.num_classes - 1}, "
                    f"not {labels.min()} to {labels.max()}"
                )
        if self.train_pixels.shape[1:] != self.test_pixels.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {self.train_pixels.shape[1:]}, "
                f"test images {self.test_pixels.shape[1:]}"
            )
        if self.train_labels.shape[1:] != self.test_labels.shape[1:]:
            raise DataError(
                f"{self.name}: labels of a training image have shape {self.train_labels.shape[1:]}, "
                f"of a test image {self.test_labels.shape[1:]}"
            )

    @property
    def input_shape(self) -> Shape:
        """(channels, height, width) of an image."""
        channels, height, width = self.train_pixels.shape[1:]
        return channels, height, width

    @cached_property
    def test_sha256(self) -> str:
        """SHA-256 of the test images and labels."""
        return samples_sha256(self.test_pixels, self.test_labels)

    @property
    def contents(self) -> list[str]:
        """What was read, in one line, and one more line for each note; the same wherever the files lie."""
        image = " x ".join(map(str, self.input_shape))
        maps = " x ".join(map(str, self.test_labels.shape[1:]))
        per_pixel = f" in label maps of {maps}" if maps else ""
        line = (
            f"{len(self.train_labels):,} training and {len(self.test_labels):,} test images of {image}, "
            f"pixels 0..{self.max_value}, {self.num_classes:,} classes{per_pixel}; SHA-256 of the test "
            f"samples {self.test_sha256[:12]}"
        )
        return [line, *self.notes]

    @property
    def description(self) -> str:
        """What was read, and where from; one more line for each note."""
        source = f", from {self.source}" if self.source else ""
        line, *notes = self.contents
        return "\n".join(
            [f"data set {self.name}{source}: {line}", *(f"  {note}" for note in notes)]
        )


def data_folder(name: str, first_file: str, how_to_get: str, *elsewhere: Path) -> Path:
    """Find the folder with a data set's files.

    Looks in ``$QAC_DEPLOY_DATA/name``, in ``~/.local/share/qac-deploy/name``, and ``elsewhere``.

    Args:
        first_file: a file of the data set, plain or with suffix ``.gz``.
        how_to_get: where the files come from, for the message.

    Raises:
        DataError: ``first_file`` is in none of them; the message says how to get it and where to put it.
    """
    root = os.environ.get("QAC_DEPLOY_DATA")
    home = Path("~/.local/share/qac-deploy").expanduser()
    folders = [*([Path(root) / name] if root else []), home / name, *elsewhere]
    for folder in folders:
        if (folder / first_file).is_file() or (folder / f"{first_file}.gz").is_file():
            return folder
    raise DataError(
        f"data set '{name}' is not on this machine: no {first_file} in "
        f"{', '.join(map(str, folders))}. {how_to_get}, and put its files into {folders[0]} "
        f"(or name the parent folder in QAC_DEPLOY_DATA)"
    )
