"""Folders of images with one folder per class, as for ImageNet. Images are decoded when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolchain.datasets.dataset import Dataset
from toolchain.datasets.image_files import FORMATS, ImageFiles, read_header
from toolchain.errors import DataError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def load_image_folder(folder: Path, limit_bytes: int) -> Dataset:
    """Read ``train/<class>/*`` and ``test/<class>/*`` or ``val/<class>/*``.

    Raises:
        DataError: a folder is missing or empty, the two do not hold the same classes, or an image cannot be
            used or is of another depth than the others.
    """
    train_folder = folder / "train"
    test_folder = folder / "test" if (folder / "test").is_dir() else folder / "val"
    for part in (train_folder, test_folder):
        if not part.is_dir():
            raise DataError(
                f"{folder}: has no folder {part.name}/; make it, with one folder of images per class"
            )
    classes = [p.name for p in sorted(train_folder.iterdir()) if p.is_dir()]
    skipped: list[Path] = []
    train_paths, train_labels = _list_images(train_folder, classes, skipped)
    test_paths, test_labels = _list_images(test_folder, classes, skipped)
    max_value, num_transparent = _read_headers(folder, train_paths + test_paths, limit_bytes)
    notes = []
    if skipped:
        notes.append(
            f"skipped, not named as images: {len(skipped):,}, such as {skipped[0].relative_to(folder)}"
        )
    if num_transparent:
        notes.append(f"images with transparency, drawn on black: {num_transparent:,}")
    return Dataset(
        name=str(folder),
        max_value=max_value,
        num_classes=len(classes),
        train_pixels=ImageFiles(tuple(train_paths), max_value, limit_bytes),
        train_labels=train_labels,
        test_pixels=ImageFiles(tuple(test_paths), max_value, limit_bytes),
        test_labels=test_labels,
        notes=tuple(notes),
    )


def _list_images(
    folder: Path, classes: list[str], skipped: list[Path]
) -> tuple[list[Path], np.ndarray]:
    entries = sorted(folder.iterdir())
    found = {p.name for p in entries if p.is_dir()}
    if found != set(classes):
        odd = sorted(found ^ set(classes))
        raise DataError(
            f"{folder}: must have the same classes as the training images, but differs in {odd[:5]}; add or "
            f"remove these folders"
        )
    others = [p for p in entries if not p.is_dir()]
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).iterdir()):
            if path.suffix.lower() in _SUFFIXES and path.is_file():
                paths.append(path)
                labels.append(label)
            else:
                others.append(path)
    others = [p for p in others if not p.name.startswith(".")]
    if not paths:
        beside = f", but other files, such as {others[0]}" if others else ""
        raise DataError(
            f"{folder}: there is no image in its class folders{beside}; give images in one of the formats "
            f"{', '.join(FORMATS)}, named {', '.join(sorted(_SUFFIXES))}"
        )
    skipped += others
    return paths, np.array(labels, dtype=np.int64)


def _read_headers(folder: Path, paths: Sequence[Path], limit_bytes: int) -> tuple[int, int]:
    """Largest pixel that all files can hold, and how many have transparency.

    Raises:
        DataError: two files are of different depth, or a file cannot be used.
    """
    example: dict[int, Path] = {}
    num_transparent = 0
    for path in paths:
        header = read_header(path, limit_bytes)
        num_transparent += header.transparent
        example.setdefault(header.max_value, path)
        if len(example) > 1:
            deep, shallow = (example[value].relative_to(folder) for value in sorted(example)[::-1])
            raise DataError(
                f"{folder}: {deep} has 16 bits per channel, but {shallow} has 8; save all images with one "
                f"depth"
            )
    return next(iter(example)), num_transparent
