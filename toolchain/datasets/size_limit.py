"""One limit on the memory that a data file may ask for, checked before the memory is taken.

A compressed file of some megabytes can declare terabytes. Readers therefore ask here, with the size that a
header declares, before they allocate or decompress.
"""

from __future__ import annotations

import os
from pathlib import Path

from toolchain.errors import DataError

DEFAULT_LIMIT_BYTES = 4 * 2**30
VARIABLE = "QAC_DEPLOY_LIMIT_BYTES"


def size_limit(limit_bytes: int | None) -> int:
    """The limit asked for, else that of the environment variable, else 4 GiB.

    Raises:
        DataError: the environment variable is not a positive number of bytes.
    """
    if limit_bytes is not None:
        return limit_bytes
    text = os.environ.get(VARIABLE)
    if not text:
        return DEFAULT_LIMIT_BYTES
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < 1:
        raise DataError(f"{VARIABLE} must be a positive number of bytes, not '{text[:40]}'")
    return int(text)


def check_size(path: Path, what: str, num_bytes: int, limit_bytes: int) -> None:
    """Check what a file asks for.

    Args:
        what: that needs the bytes, for the message.

    Raises:
        DataError: it is above the limit; the message says how to raise it.
    """
    if num_bytes > limit_bytes:
        raise DataError(
            f"{path}: {what} would take {num_bytes:,} bytes of memory, above the limit of {limit_bytes:,}; "
            f"if the file is right, add --limit-bytes {num_bytes}, or in Python pass limit_bytes={num_bytes} "
            f"to load_dataset"
        )
