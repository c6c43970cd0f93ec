"""Our quantizer in the place of another tool's."""

from __future__ import annotations

from toolchain.method.quantizers import FixedTimestepQuantizer


def imported_quantizer(step: float, timesteps: int) -> FixedTimestepQuantizer:
    """A quantizer with step size d and T levels, in float64 so that no bit of a scale is lost."""
    quantizer = FixedTimestepQuantizer(timesteps).double()
    quantizer.set_threshold(step * timesteps)
    return quantizer
