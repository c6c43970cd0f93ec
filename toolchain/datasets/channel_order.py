"""Which axis of an array of images holds the channels."""

from __future__ import annotations

import numpy as np

from toolchain.errors import DataError

LAYOUTS = ("NCHW", "NHWC")
_MOST_CHANNELS = 4  # grey, with transparency, RGB, RGBA


def channels_first(
    where: str, images: np.ndarray, layout: str | None, field: str
) -> tuple[np.ndarray, str | None]:
    """Images as ``(B, C, H, W)``, and a note if they were stored otherwise.

    Without a stated layout, the last axis holds the channels if it is 1 to 4 long and both axes before it
    are longer.

    Args:
        where: the file and field, for messages.
        images: ``(B, H, W)`` or four axes.
        layout: one of ``LAYOUTS``, or None to tell it from the shape.
        field: its name alone, for the note.

    Raises:
        DataError: the shape has other axes, an empty image, or allows both orders.
    """
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(
            f"{where} must have shape (B, H, W) or (B, C, H, W), without empty axes, not {images.shape}"
        )
    if images.ndim == 3:
        return images[:, None], None
    if layout is None:
        layout = _layout(where, images.shape)
    if layout == "NCHW":
        return images, None
    _, height, width, channels = images.shape
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), (
        f"{field} of shape {images.shape} is read as {height} x {width} pixels with {channels} channel(s), "
        f'the last axis; if that is wrong, store layout="NCHW" in the file'
    )


def _layout(where: str, shape: tuple[int, ...]) -> str:
    _, first, middle, last = shape
    if last <= _MOST_CHANNELS and last < min(first, middle):
        return "NHWC"
    few_in_both = max(first, last) <= _MOST_CHANNELS
    if not few_in_both or first < min(middle, last) or middle == last == 1:
        return "NCHW"
    raise DataError(
        f'{where} of shape {shape} may have its channels first or last; store layout="NCHW" in the file '
        f'if they are first, or layout="NHWC" if they are last, which is np.transpose(images, (0, 3, 1, 2)) '
        f"with the channels first"
    )
