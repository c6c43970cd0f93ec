"""Random shifts and mirroring of image batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shift_and_mirror(images: Tensor) -> Tensor:
    """Shift each image at random by up to 1/8 of its size, zero-padded, and mirror it with probability 1/2.

    Args:
        images: ``(B, C, H, W)``.
    """
    batch, _, height, width = images.shape
    reach_y, reach_x = height // 8, width // 8
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y))
    top = torch.randint(0, 2 * reach_y + 1, (batch, 1))
    left = torch.randint(0, 2 * reach_x + 1, (batch, 1))
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    mirrored = torch.rand(batch, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    sample = torch.arange(batch)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
