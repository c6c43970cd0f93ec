"""Patches, tokens, slices with a step and outputs in any order: no channels, rows and columns, yet linear."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from guarded_networks import equal_or_refused
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer


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


class Heads(nn.Module):
    """Outputs that are computed from one feature map and its mean."""

    def __init__(self, outputs):
        super().__init__()
        self.a, self.b, self.f, self.outputs = (
            nn.Conv2d(1, 4, 3),
            nn.Conv2d(4, 6, 3),
            nn.Linear(4, 3),
            outputs,
        )

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.outputs(self.b(x), self.f(x.mean((2, 3))))


ONE_TENSOR = {
    "channels last": lambda boxes, classes: boxes.permute(0, 2, 3, 1),
    "anchors": lambda boxes, classes: boxes.view(-1, 2, 3, 4, 4).permute(0, 1, 3, 4, 2),
    "shuffled pixels": lambda boxes, classes: F.pixel_shuffle(boxes[:, :4], 2),
    "stacked": lambda boxes, classes: torch.stack([classes, 2 * classes], 1),
    "one number": lambda boxes, classes: classes[:, 0],
}


@pytest.mark.parametrize("outputs", ONE_TENSOR.values(), ids=ONE_TENSOR)
def test_outputs_in_any_order_are_rows_of_logits(outputs):
    torch.manual_seed(0)
    assert equal_or_refused(Heads(outputs)) is None


def test_outputs_that_fit_no_common_map_are_rows_of_logits():
    torch.manual_seed(0)
    network = Heads(lambda boxes, classes: {"classes": classes, "boxes": boxes})
    graph = convert(quantize_activations(network, TimestepQuantizer), (1, 8, 8), 16)
    sizes = [(o.name, o.stop - o.start, o.height, o.width) for o in graph.readout.outputs]
    assert sizes == [("classes", 3, 1, 1), ("boxes", 96, 1, 1)]


def test_softmax_of_one_of_several_outputs_is_refused():
    network = Heads(lambda boxes, classes: (boxes, torch.softmax(classes, 1)))
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(quantize_activations(network, TimestepQuantizer), (1, 8, 8), 16)
    assert str(refusal.value) == (
        "output '1' ends in softmax; return logits where there are several outputs"
    )
