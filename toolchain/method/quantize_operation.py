"""The quantizer as one operation of an exported program.

``torch.export`` would record the arithmetic of a quantizer. With an operation of its own, a program that was
exported, saved and loaded again still says where its quantizers are, and it runs.
"""

from __future__ import annotations

import torch
from torch import Tensor, library


@library.custom_op("qac_deploy::quantize", mutates_args=())
def quantize(values: Tensor, threshold: Tensor, levels: Tensor, name: str) -> Tensor:
    """``d * floor(clip(values / d, 0, T) + 1/2)`` with ``d = alpha / T``, in all four cases (Eq. 7-10).

    Args:
        threshold: clipping level alpha, a scalar.
        levels: T, an integer-valued scalar.
        name: path of the quantizer in its network.
    """
    step = threshold / levels
    counts = (values / step).clamp_(min=0).minimum(levels).add_(0.5).floor_()
    return counts * step


@quantize.register_fake
def _shape(values: Tensor, threshold: Tensor, levels: Tensor, name: str) -> Tensor:
    return torch.empty_like(values)
