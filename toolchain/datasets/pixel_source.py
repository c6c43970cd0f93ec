"""Where pixels come from: an array, or files that are decoded when they are read."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class PixelSource(Protocol):
    """Images by index: an array, or files that are decoded when they are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(B, C, H, W)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, samples: slice | np.ndarray, /) -> np.ndarray:
        """Pixel integers ``0..max_value`` of the chosen samples, shape ``(n, C, H, W)``."""
