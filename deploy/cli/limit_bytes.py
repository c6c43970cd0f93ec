"""``--limit-bytes``, which every command has that reads data."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def _set_limit(limit_bytes: int | None) -> int | None:
    """Set the limit for all that this command reads, in its child processes as well."""
    if limit_bytes is not None:
        from toolchain.datasets.size_limit import VARIABLE

        os.environ[VARIABLE] = str(limit_bytes)
    return limit_bytes


LimitBytesOption = Annotated[
    int | None,
    typer.Option(
        "--limit-bytes",
        metavar="BYTES",
        min=1,
        callback=_set_limit,
        show_default=False,
        help="Most memory that a data file may take (default: QAC_DEPLOY_LIMIT_BYTES, else 4 GiB).",
    ),
]
