"""Clips of ONNX files that are part of a quantizer, in front of it or behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx_networks import Builder

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.onnx_format import import_onnx, read_onnx
from toolchain.method.quantizers import quantizers


def timesteps(imported):
    return {p.name: p.timesteps for p in imported.graph.spiking}


def levels_of(network):
    return {n: int(q.step_and_levels()[1]) for n, q in quantizers(network.module).items()}


def drive(network):
    """Compare a network with its runtime, on inputs that reach its clips."""
    inputs = 3 * torch.rand((8, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    assert compare_with_runtime(network, inputs).num_counts


def clipped_network(quantize, bound=1.5, again=False, others=False):
    """A quantizer whose real values a clip follows, and perhaps a second quantizer."""
    network = Builder()
    network.conv(1, 2)
    quantized = quantize(network)
    network.node("Clip", network.constant(0, np.float32), network.constant(bound, np.float32))
    if again:
        network.qcdq(0.03, name="again")
    if others:
        network.node("Add", quantized)
    network.head(72)
    return network


@pytest.mark.parametrize(
    "quantize",
    [
        lambda n: n.qcdq(0.05, name="q"),
        lambda n: n.qcdq(0.05, dtype=np.int8, name="q"),
        lambda n: n.qcdq(0.05, zero=128, name="q"),
        lambda n: n.quant(0.05, 8, signed=1, name="q"),
    ],
    ids=["uint8", "int8", "zero point", "QONNX"],
)
def test_a_clip_behind_a_quantizer_at_one_of_its_levels_is_its_t(tmp_path, quantize):
    network = read_onnx(clipped_network(quantize).save(tmp_path))
    assert levels_of(network) == {"node_q": 30}
    drive(network)


def test_a_clip_behind_a_quantizer_between_two_levels_is_refused(tmp_path):
    def quantize(network):
        return network.qcdq(0.05, name="q")

    path = clipped_network(quantize, bound=1.51).save(tmp_path)
    with pytest.raises(
        UnsupportedNetworkError, match=r"node_clip.: .* no multiple of its step 0.05"
    ):
        read_onnx(path)
    network = read_onnx(clipped_network(quantize, again=True).save(tmp_path))
    assert levels_of(network) == {"node_q": 30, "node_again": 50}
    network = read_onnx(clipped_network(quantize, others=True).save(tmp_path))
    assert levels_of(network) == {"node_q": 255, "node_clip3": 30}
    drive(network)


@pytest.mark.parametrize(("bound", "expected"), [(0.5, {"node_q": 100}), (4.0, {"node_q": 255})])
def test_a_clip_that_is_one_count_of_all_channels_is_part_of_their_quantizer(
    tmp_path, bound, expected
):
    scales = [0.005, 0.00501] if bound < 1 else [0.005, 0.015]
    network = clipped_channels(bound, scales)
    network = read_onnx(network.save(tmp_path))
    assert levels_of(network) == expected
    drive(network)


def test_a_clip_that_is_another_count_of_each_channel_is_refused_with_a_remedy(tmp_path):
    path = clipped_channels(0.5, [0.01, 0.005]).save(tmp_path)
    with pytest.raises(UnsupportedNetworkError, match=r"node_clip.: its upper bound .* 50 to 100"):
        read_onnx(path)


def clipped_channels(bound, scales):
    network = Builder()
    network.conv(1, 2)
    network.node("Clip", network.constant(0, np.float32), network.constant(bound, np.float32))
    network.qcdq(scales, axis=1, name="q")
    network.head(72)
    return network


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_a_max_pool_with_ceil_mode_between_a_clip_and_its_quantizer(tmp_path, pads):
    network = Builder()
    network.conv(1, 2)
    network.node("Clip", network.constant(0, np.float32), network.constant(0.5, np.float32))
    network.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=pads, ceil_mode=1)
    network.qcdq(0.02, name="q")
    network.node("GlobalAveragePool")
    network.head(2)
    imported = import_onnx(network.save(tmp_path))
    assert timesteps(imported)["node_q"] == 25


def test_a_clip_of_pixels_in_a_network_without_quantizers_adds_none(tmp_path):
    network = Builder()
    network.node("Clip", network.constant(0, np.float32), network.constant(0.2, np.float32))
    network.conv(1, 2)
    network.node("Relu")
    network.head(72)
    assert not read_onnx(network.save(tmp_path), (1, 6, 6), 255).is_quantized


def test_a_part_of_a_split_that_nothing_reads(tmp_path):
    network = Builder(opset=18)
    network.conv(1, 2)
    network.node("Relu")
    network.node("Split", axis=1, num_outputs=2, outputs=2)
    network.qcdq(0.1, 7, name="q")
    network.head(36)
    network = read_onnx(network.save(tmp_path))
    assert levels_of(network) == {"node_q": 7}
    drive(network)
