"""The pace of a pipeline in words."""

from __future__ import annotations

from fractions import Fraction


def every_ticks(ticks: float | Fraction | str) -> str:
    """``every tick``, or ``every 3 ticks``; a fraction stays one, such as ``11/2``."""
    text = (
        ticks
        if isinstance(ticks, str)
        else f"{ticks:g}"
        if isinstance(ticks, float)
        else str(ticks)
    )
    return "every tick" if text == "1" else f"every {text} ticks"
