"""matplotlib, for plots that are written to files."""

from __future__ import annotations

import os
from typing import Any


def matplotlib_for_files() -> tuple[Any, Any]:
    """Return matplotlib and its pyplot, which draw without a display.

    MPLBACKEND of the environment is for windows and notebooks. A name that matplotlib does not know would end
    its import, so that another takes its place meanwhile.
    """
    named = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "Agg"
    try:
        import matplotlib
        from matplotlib import pyplot
    finally:
        os.environ.pop("MPLBACKEND")
        if named is not None:
            os.environ["MPLBACKEND"] = named
    matplotlib.use("Agg")
    return matplotlib, pyplot
