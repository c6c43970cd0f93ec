"""Text in pictures of matplotlib: it is shown as it is, whatever characters it has."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from toolchain.printable import printable


def plot_text(value: object) -> str:
    """A value as text for matplotlib, to which two dollar signs would enclose a formula."""
    return printable(value).replace("$", r"\$")


@contextmanager
def drawing(style: Mapping[str, Any]) -> Iterator[None]:
    """Draw in the block with settings of matplotlib; letters that the font lacks are boxes, not warnings."""
    import matplotlib

    matplotlib.use("Agg")
    settings: Any = dict(style)
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield
