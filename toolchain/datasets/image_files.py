"""Image files, decoded when they are read: what is refused, what is converted, and to which depth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from toolchain.datasets.size_limit import DEFAULT_LIMIT_BYTES, check_size
from toolchain.errors import DataError
from toolchain.shown_values import first_line, shown_text

if TYPE_CHECKING:
    from PIL import Image

RESIZED, CROPPED = 256, 224  # shorter side and centre crop, as is usual for evaluation on ImageNet
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats that are read, whatever the suffix. Pillow has others, such as EPS, which starts Ghostscript."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_HEADER_BYTES = 26  # up to the colour type of a PNG file


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files as a source of ``(3, 224, 224)`` pixels, uint8 or uint16.

    A pixel keeps the depth of its file: of 8 bits, or 16 where a file is grey with 16 bits, which then is
    in all three channels. Palettes and fewer bits become 8 bits, CMYK becomes RGB without its colour
    profile, transparent pixels are drawn on black, and an image is turned as its EXIF orientation says.
    """

    paths: tuple[Path, ...]
    max_value: int = 255
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.paths), 3, CROPPED, CROPPED

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, samples: slice | np.ndarray, /) -> np.ndarray:
        indices = np.arange(len(self.paths))[samples]
        decoded = np.empty((len(indices), *self.shape[1:]), _pixel_type(self.max_value))
        for place, index in enumerate(indices):
            decoded[place] = _decode(self.paths[index], self.max_value, self.limit_bytes)
        return decoded


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of its pixels, without decoding them."""

    max_value: int = 255
    transparent: bool = False


def read_header(path: Path, limit_bytes: int) -> ImageHeader:
    """Read what a file says of its pixels.

    A JPEG file has 8 bits per channel and no transparency, so that it is not looked into.

    Raises:
        DataError: it is none of ``FORMATS``, animated, too large, or has 16 bits in several channels.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_JPEG))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {first_line(error)}; remove or replace it"
        ) from None
    if start == _JPEG:
        return ImageHeader()
    with _opened(path, limit_bytes) as (_, header):
        return header


@contextmanager
def _opened(path: Path, limit_bytes: int) -> Iterator[tuple[Image.Image, ImageHeader]]:
    """Open an image and check what its header says; errors of Pillow become ours."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DataError(
            "image folders need the package pillow; install it with pip install 'qac-deploy[images]'"
        ) from None
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
        pillows_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None  # --limit-bytes takes its place, and can be raised
        try:
            opened = Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = pillows_limit
        with opened as image:
            yield image, _checked(path, image, start, limit_bytes)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: not an image in one of the formats {', '.join(FORMATS)}; remove or replace it"
        ) from None
    except Exception as error:  # decoders raise many types on damaged content
        raise DataError(
            f"{path}: cannot be decoded: {first_line(error)}; remove or replace it"
        ) from None


def _checked(path: Path, image: Image.Image, start: bytes, limit_bytes: int) -> ImageHeader:
    frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    if frames != 1:  # a JPEG file may hold previews behind the image itself
        raise DataError(
            f"{path}: {image.format} of {frames} frames; save the frame to use as an image of its own"
        )
    transparent = "A" in image.getbands() or "transparency" in image.info
    depth = start[24] if start.startswith(_PNG) else 8
    if depth == 16 and (transparent or not image.mode.startswith("I")):
        raise DataError(
            f"{path}: PNG of 16 bits with colours or transparency, which Pillow reduces to 8 bits; save it "
            f"with 8 bits or in grey, or put the images as uint16 arrays into an .npz file"
        )
    width, height = image.size
    check_size(path, f"its {width:,} x {height:,} pixels", 4 * width * height, limit_bytes)
    width, height = _resized(image.size)
    check_size(
        path,
        f"the image of {image.size[0]:,} x {image.size[1]:,} pixels, resized to {width:,} x {height:,},",
        4 * width * height,
        limit_bytes,
    )
    return ImageHeader(65_535 if depth == 16 else 255, transparent)


def _resized(size: tuple[int, int]) -> tuple[int, int]:
    scale = RESIZED / min(size)
    width, height = (max(CROPPED, round(side * scale)) for side in size)
    return width, height


def _pixel_type(max_value: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if max_value == 255 else np.uint16


def _decode(path: Path, max_value: int, limit_bytes: int) -> np.ndarray:
    """Decode a file, resize its shorter side and crop the centre; shape ``(3, 224, 224)``."""
    with _opened(path, limit_bytes) as (opened, header):
        from PIL import Image, ImageOps

        if header.max_value != max_value:
            raise DataError(
                f"{path}: has pixels 0..{header.max_value:,}, but the other images have 0..{max_value:,}; it "
                f"was replaced since the folder was read"
            )
        if opened.format == "PNG":
            _require_checksums(path)
        opened.load()
        image = _in_own_depth(opened, header)
        image = ImageOps.exif_transpose(image)
        width, height = _resized(image.size)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - CROPPED) // 2, (height - CROPPED) // 2
        cropped = resized.crop((left, top, left + CROPPED, top + CROPPED))
        pixels = np.asarray(cropped).astype(_pixel_type(max_value))
    return np.broadcast_to(np.atleast_3d(pixels), (CROPPED, CROPPED, 3)).transpose(2, 0, 1)


def _require_checksums(path: Path) -> None:
    """Check the CRC-32 of every chunk of a PNG file; Pillow skips that of the pixels.

    Raises:
        DataError: a chunk is damaged, or the file ends before its last one.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        place, kind = len(_PNG), b""
        while kind != b"IEND":
            kind = content[place + 4 : place + 8]
            end = place + 8 + int.from_bytes(content[place : place + 4], "big")
            stored = content[end : end + 4]
            if len(stored) < 4:
                raise DataError(
                    f"{path}: cannot be decoded: it ends within a chunk; remove or replace it"
                )
            if crc32(content[place + 4 : end]) != int.from_bytes(stored, "big"):
                raise DataError(
                    f"{path}: damaged: its chunk {shown_text(kind.decode('latin1'))} does not match its "
                    f"checksum; remove or replace it"
                )
            place = end + 4


def _in_own_depth(image: Image.Image, header: ImageHeader) -> Image.Image:
    """As 32-bit integers if the file is grey with 16 bits, else as RGB."""
    if header.max_value > 255:
        return image.convert("I")
    if not header.transparent:
        return image.convert("RGB")
    from PIL import Image

    layers = image.convert("RGBA")
    black = Image.new("RGBA", layers.size, (0, 0, 0, 255))
    drawn = Image.alpha_composite(black, layers).convert("RGB")
    drawn.info = layers.info
    return drawn
