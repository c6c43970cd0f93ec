"""An exported network comes back from ONNX and QONNX with the same integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from residual_designs import random_residual_network
from torch import nn

from deploy.backends.onnx_format.network import to_onnx, to_qonnx
from hw_models.target_description import load_target
from toolchain.files.checkpoint import load_checkpoint
from toolchain.importers.onnx_format import import_onnx
from toolchain.importers.torch_module import Normalization, convert
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import FixedTimestepQuantizer
from toolchain.passes.pipeline import PassOptions, chosen_graph, lower_to_integers

WIDTHS = load_target("loihi-sim").widths


def trained_digits(request):
    return load_checkpoint(request.getfixturevalue("trained")[1]).graph


def residual_graph(request):
    return random_residual_network(2)


def max_pooled_graph(request):
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 4, 3), nn.ReLU(),
        nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(4, 40), nn.ReLU(), nn.Linear(40, 3),
    )  # fmt: skip
    module = quantize_activations(network, lambda: FixedTimestepQuantizer(5), max_pool="exact")
    return convert(module, (1, 8, 8), 255)


def imported(export, network, path):
    """The integer network that compiling the written file gives."""
    onnx.save(export.model, path)
    source = network.input
    as_they_are = Normalization(
        mean=(0.0,) * source.shape[0], std=(1 / source.max_value,) * source.shape[0]
    )
    graph = import_onnx(path, source.shape, source.max_value, as_they_are).graph
    return lower_to_integers(graph, WIDTHS)


def assert_same_integers(network, other, *, names):
    """Every integer; the populations of role ``maximum`` may have other names."""
    assert len(network.populations) == len(other.populations)
    ours = {
        theirs.name: own.name
        for own, theirs in zip(network.populations, other.populations, strict=True)
    }
    if names:
        assert [p.name.replace(".", "_") for p in network.spiking] == [
            p.name for p in other.spiking
        ]
    for own, theirs in zip(network.populations, other.populations, strict=True):
        for field in ("kind", "shape", "timesteps", "role", "max_value"):
            assert getattr(own, field, None) == getattr(theirs, field, None), own.name
        for field in ("threshold", "initial_potential", "bias"):
            if hasattr(own, field):
                arrays = np.broadcast_arrays(getattr(own, field), getattr(theirs, field))
                np.testing.assert_array_equal(*arrays, f"{own.name}: {field}")
    synapses = {(ours[s.source], ours[s.target]): s for s in other.synapses}
    assert synapses.keys() == {(s.source, s.target) for s in network.synapses}
    for own in network.synapses:
        theirs = synapses[own.source, own.target]
        assert [type(m) for m in own.maps] == [type(m) for m in theirs.maps], str(own)
        assert own.exponent == theirs.exponent, str(own)
        np.testing.assert_array_equal(own.weighted.weight, theirs.weighted.weight, str(own))


@pytest.mark.parametrize(
    ("graph", "names"),
    [(trained_digits, True), (residual_graph, True), (max_pooled_graph, False)],
    ids=["digits", "residual", "max pools"],
)
def test_onnx_gives_back_every_integer(graph, names, request, tmp_path):
    network = lower_to_integers(graph(request), WIDTHS)
    assert_same_integers(
        network, imported(to_onnx(network), network, tmp_path / "x.onnx"), names=names
    )


def test_qonnx_gives_back_every_integer(tmp_path):
    graph = residual_graph(None)
    timesteps = {p.name: 2 ** (1 + i % 3) - 1 for i, p in enumerate(graph.spiking)}
    network = lower_to_integers(chosen_graph(graph, PassOptions(timesteps=timesteps)), WIDTHS)
    assert_same_integers(
        network, imported(to_qonnx(network), network, tmp_path / "x.onnx"), names=True
    )


def test_a_calibrated_initial_potential_comes_back_with_the_same_counts_only(tmp_path):
    graph = residual_graph(None)
    calibrated = [
        replace(p, initial_potential=p.threshold * 0.2) if p.name == "inner" else p
        for p in graph.populations
    ]
    network = lower_to_integers(type(graph).build(calibrated, graph.synapses), WIDTHS)
    other = imported(to_onnx(network), network, tmp_path / "x.onnx")
    assert (network["inner"].initial_potential != other["inner"].initial_potential).all()
    assert_same_integers(
        network,
        type(network).build(
            [
                replace(
                    p,
                    initial_potential=network[p.name].initial_potential,
                    bias=network[p.name].bias,
                )
                if p.name == "inner"
                else p
                for p in other.populations
            ],
            other.synapses,
        ),
        names=True,
    )
