"""Patches, tokens and slices with a step are converted, although they are no channels, rows and columns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from guarded_networks import equal_or_refused
from torch import nn


class Tokens(nn.Module):
    """Patches as tokens of three features each, mixed along tokens and features."""

    def __init__(self, split, patch):
        super().__init__()
        self.split = split
        tokens, pixels = 64 // patch**2, patch**2
        self.position = nn.Parameter(torch.randn(1, tokens, 3))
        self.embed, self.mix, self.last = (
            nn.Linear(pixels, 3),
            nn.Linear(tokens, tokens),
            nn.Linear(3, 5),
        )

    def forward(self, x):
        x = F.relu(self.embed(self.split(x)) + self.position)
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        return self.last(F.relu(x).mean(1))


def unfolded(x):
    return F.unfold(x, 4, stride=4).transpose(1, 2)


def reshaped(x):
    batch, _, height, width = x.shape
    return x.reshape(batch, height // 4, 4, width // 4, 4).transpose(2, 3).reshape(batch, -1, 16)


@pytest.mark.parametrize("split", [unfolded, reshaped])
def test_tokens_of_patches_are_mixed(split):
    torch.manual_seed(0)
    assert equal_or_refused(Tokens(split, 4)) is None


class Focus(nn.Module):
    """Every second row and column as channels, as in YOLOv5."""

    def __init__(self):
        super().__init__()
        self.a, self.f = nn.Conv2d(4, 3, 3), nn.Linear(12, 5)

    def forward(self, x):
        x = torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
        return self.f(F.relu(self.a(x)).flatten(1))


def test_slices_with_a_step_become_channels():
    torch.manual_seed(0)
    assert equal_or_refused(Focus()) is None


def test_a_matrix_above_the_limit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr("toolchain.importers.operations.as_matrix.MAX_MATRIX", 700)
    said = equal_or_refused(Tokens(unfolded, 4))
    assert said is not None
    assert said.endswith(
        "elements of a (1, 8, 8) feature map are rearranged to (16, 1, 4) other than by channels, rows and "
        "columns; move whole channels, rows or columns (as a matrix, it has 768 entries, above the limit of "
        "700)"
    )
