"""Folders of images with one folder per class, as for ImageNet. Images are decoded when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.datasets.dataset import Dataset
from toolchain.errors import DataError

RESIZED, CROPPED = 256, 224  # shorter side and centre crop, as is usual for evaluation on ImageNet
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats that are read, whatever the suffix. Pillow has others, such as EPS, which starts Ghostscript."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files as a source of ``(3, 224, 224)`` pixels."""

    paths: tuple[Path, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.paths), 3, CROPPED, CROPPED

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, samples: slice | np.ndarray, /) -> np.ndarray:
        indices = np.arange(len(self.paths))[samples]
        return np.stack([_decode(self.paths[index]) for index in indices])


def load_image_folder(folder: Path) -> Dataset:
    """Read ``train/<class>/*`` and ``test/<class>/*`` or ``val/<class>/*``.

    Raises:
        DataError: a folder is missing or empty, or the two do not hold the same classes.
    """
    train_folder = folder / "train"
    test_folder = folder / "test" if (folder / "test").is_dir() else folder / "val"
    for part in (train_folder, test_folder):
        if not part.is_dir():
            raise DataError(
                f"{folder}: has no folder {part.name}/; make it, with one folder of images per class"
            )
    classes = [p.name for p in sorted(train_folder.iterdir()) if p.is_dir()]
    train_files, train_labels = _list_images(train_folder, classes)
    test_files, test_labels = _list_images(test_folder, classes)
    return Dataset(
        name=str(folder),
        max_value=255,
        num_classes=len(classes),
        train_pixels=train_files,
        train_labels=train_labels,
        test_pixels=test_files,
        test_labels=test_labels,
    )


def _list_images(folder: Path, classes: list[str]) -> tuple[ImageFiles, np.ndarray]:
    found = {p.name for p in folder.iterdir() if p.is_dir()}
    if found != set(classes):
        odd = sorted(found ^ set(classes))
        raise DataError(
            f"{folder}: must have the same classes as the training images, but differs in {odd[:5]}; add or "
            f"remove these folders"
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = [p for p in sorted((folder / name).iterdir()) if p.suffix.lower() in _SUFFIXES]
        paths += images
        labels += [label] * len(images)
    return ImageFiles(tuple(paths)), np.array(labels, dtype=np.int64)


def _decode(path: Path) -> np.ndarray:
    """Decode a file, resize its shorter side and crop the centre; uint8, shape ``(3, 224, 224)``."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DataError(
            "image folders need the package pillow; install it with pip install 'qac-deploy[images]'"
        ) from None
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.mode.startswith(("I", "F")):  # conversion to RGB would clip them to 255
                raise DataError(
                    f"{path}: has more than 8 bits per channel; save it with 8 (Pillow: mode L or RGB)"
                )
            image = opened.convert("RGB")
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: not an image in one of the formats {', '.join(_FORMATS)}; remove or replace it"
        ) from None
    except (OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise DataError(f"{path}: cannot be decoded: {error}; remove or replace it") from None
    scale = RESIZED / min(image.size)
    width, height = (max(CROPPED, round(side * scale)) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - CROPPED) // 2, (height - CROPPED) // 2
    cropped = resized.crop((left, top, left + CROPPED, top + CROPPED))
    return np.asarray(cropped, dtype=np.uint8).transpose(2, 0, 1)
