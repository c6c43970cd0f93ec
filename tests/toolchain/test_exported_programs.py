"""Programs of torch.export as networks, and what conversion says about a network before it reads it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers import torch_module
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.training import ann_logits

SHAPE = (1, 8, 8)
PIXELS = np.random.default_rng(0).integers(0, 17, (9, *SHAPE))


def pooled_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), TimestepQuantizer(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3), TimestepQuantizer(3.0), nn.Flatten(), nn.Linear(16, 3),
    ).eval()  # fmt: skip


def exported(network, **options):
    return torch.export.export(network, (torch.zeros(2, *SHAPE),), **options)


def test_a_saved_program_is_converted_as_its_module(tmp_path):
    network = pooled_network()
    batch = torch.export.Dim("batch")
    program = exported(network, dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "network.pt2")
    graph = convert(torch.export.load(tmp_path / "network.pt2"), SHAPE, 16)
    assert [p.name for p in graph.spiking] == ["1", "2.columns2", "2.rows2", "4"]
    logits = run_float_snn(graph, PIXELS).logits
    assert np.allclose(logits, ann_logits(network, PIXELS, 16), rtol=0, atol=1e-6)


def test_the_quantizers_of_a_program_are_compared(monkeypatch):
    """Quantizers of a program are operations: a reader that takes one T for another is found there."""
    program = exported(pooled_network(), dynamic_shapes=({0: torch.export.Dim("batch")},))
    right = torch_module.read_network

    def wrong(*args):
        read = right(*args)
        change = {"1": 3}
        return replace(
            read,
            graph=read.graph.with_spiking(
                lambda p: replace(p, timesteps=change.get(p.name, p.timesteps))
            ),
        )

    monkeypatch.setattr(torch_module, "read_network", wrong)
    with pytest.raises(UnsupportedNetworkError, match=r"^1: quantize gives values that are not"):
        convert(program, SHAPE, 16)


def test_a_program_of_one_batch_size_says_how_to_export_it():
    with pytest.raises(UnsupportedNetworkError, match="specify dynamic_shapes"):
        convert(torch.export.export(pooled_network(), (torch.zeros(1, *SHAPE),)), SHAPE, 16)


def test_a_weight_that_is_no_number_is_named():
    network = pooled_network()
    network[3].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(UnsupportedNetworkError, match=r"^'3\.weight' holds NaN or infinity"):
        convert(network, SHAPE, 16)


def test_a_network_without_quantizers_is_refused():
    with pytest.raises(UnsupportedNetworkError, match="the network has no quantizer between"):
        convert(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), SHAPE, 16)


def test_timesteps_above_the_cap_are_said():
    network = pooled_network()
    nn.init.constant_(network[1].t, 40.0)
    with pytest.warns(
        UserWarning, match=r"^1: T = 40 is capped at max_timesteps = 16; pass a larger"
    ):
        graph = convert(network, SHAPE, 16)
    assert graph["1"].timesteps == 16


def test_a_network_that_changes_its_buffers_is_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = pooled_network()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x):
            self.seen += 1
            return self.body(x)

    with pytest.raises(UnsupportedNetworkError, match="the network changes its buffer 'seen'"):
        convert(Counting(), SHAPE, 16)
