"""Where quantizers of ONNX files stand: what belongs to them, and what is quantized a second time."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from onnx_networks import Builder

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.onnx_format import import_onnx, read_onnx, runtimes
from toolchain.method.quantizers import quantizers


def timesteps(imported):
    return {p.name: p.timesteps for p in imported.graph.spiking}


def two_readers(n, relu_read_by_sum):
    """A ReLU that a quantizer reads, and a sum reads it or its quantized values."""
    n.conv(1, 2)
    relu = n.node("Relu", name="relu")
    quantized = n.qcdq(0.1, 7, name="a")
    n.conv(2, 2)
    n.node("Add", relu if relu_read_by_sum else quantized)
    n.qcdq(0.2, 7, name="b")
    n.head(72)


def test_a_relu_is_part_of_all_its_quantizers(tmp_path):
    network = Builder()
    network.conv(1, 2)
    relu = network.node("Relu")
    first = network.qcdq(0.1, 7, name="a")
    network.node("MaxPool", reads=relu, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    second = network.qcdq(0.2, 3, name="b")
    network.node("Add", first, reads=second)
    network.head(72)
    found = timesteps(import_onnx(network.save(tmp_path)))
    assert (found["node_a"], found["node_b"]) == (7, 3)


def test_a_relu_that_is_read_without_a_quantizer_is_refused_by_name(tmp_path):
    network = Builder()
    two_readers(network, relu_read_by_sum=False)
    assert timesteps(import_onnx(network.save(tmp_path))) == {"node_a": 7, "node_b": 7}
    network = Builder()
    two_readers(network, relu_read_by_sum=True)
    with pytest.raises(
        UnsupportedNetworkError,
        match="node_relu: 'Relu' has no quantizer, though others have; quantize its result",
    ):
        import_onnx(network.save(tmp_path))


@pytest.mark.parametrize("form", ["qcdq", "quant"])
def test_a_signed_quantizer_in_front_of_a_relu_starts_at_0(tmp_path, form):
    network = Builder()
    network.conv(1, 2)
    if form == "qcdq":
        network.qcdq(0.01, dtype=np.int8, name="q")
    else:
        network.quant(0.01, 8, signed=1, name="q")
    network.node("Relu")
    network.head(72)
    imported = import_onnx(network.save(tmp_path))
    assert timesteps(imported) == {"node_q": 127}
    assert imported.agreement.num_counts == imported.agreement.num_samples * 72


def test_a_coarser_quantizer_of_quantized_values_is_a_population(tmp_path):
    network = Builder()
    network.conv(1, 2)
    network.qcdq(0.1, 15, name="fine")
    network.qcdq(0.3, 5, name="coarse")
    network.head(72)
    imported = import_onnx(network.save(tmp_path))
    assert timesteps(imported) == {"node_fine": 15, "node_coarse": 5}


@pytest.mark.parametrize(
    ("scale", "clip", "kept"), [(0.1, 3, False), (0.2, 3, True), (0.1, 2, True), (0.05, 6, False)]
)
def test_a_quantizer_of_values_on_its_grid_is_left_out(tmp_path, scale, clip, kept):
    """It holds 0, 0.1, 0.2 and 0.3 if its step divides 0.1 and it reaches 0.3."""
    network = Builder()
    network.conv(1, 2)
    network.qcdq(0.1, 3, name="q")
    network.qcdq(scale, clip, name="again")
    network.head(72)
    imported = import_onnx(network.save(tmp_path))
    assert ("node_again" in timesteps(imported)) == kept
    left_out = "node_again: every value that it gets is on its grid already; it was left out"
    assert (left_out in imported.notes) != kept


def test_values_of_two_grids_are_quantized_again(tmp_path):
    network = Builder()
    network.conv(1, 2)
    first = network.qcdq(0.1, 3, name="a")
    network.node("Conv", network.constant(network.weights(2, 1, 1, 1)), reads="x")
    network.qcdq(0.07, 3, name="b")
    network.node("Concat", first, axis=1)
    network.qcdq(0.1, 3, name="joined")
    network.head(144)
    assert set(timesteps(import_onnx(network.save(tmp_path)))) == {
        "node_a",
        "node_b",
        "node_joined",
    }


def test_one_quantizer_that_is_dequantized_twice(tmp_path):
    network = Builder()
    network.conv(1, 2)
    scale, zero = network.constant(0.1, np.float32), network.constant(0, np.uint8)
    integers = network.node("QuantizeLinear", scale, zero, name="q")
    first = network.node("DequantizeLinear", scale, zero)
    network.node("DequantizeLinear", scale, zero, reads=integers)
    network.node("Add", first)
    network.head(72)
    assert timesteps(import_onnx(network.save(tmp_path))) == {"node_q": 255}


def test_a_dequantizer_of_another_scale_is_refused(tmp_path):
    network = Builder()
    network.conv(1, 2)
    zero = network.constant(0, np.uint8)
    network.node("QuantizeLinear", network.constant(0.1, np.float32), zero, name="q")
    network.node("DequantizeLinear", network.constant(0.2, np.float32), zero, name="dq")
    network.head(72)
    with pytest.raises(
        UnsupportedNetworkError, match="node_dq: its scale or zero point is not that of"
    ):
        import_onnx(network.save(tmp_path))


def test_computing_with_integers_is_refused(tmp_path):
    network = Builder()
    network.conv(1, 2)
    network.node("QuantizeLinear", network.constant(0.1, np.float32), network.constant(0, np.uint8))
    network.node("AveragePool", kernel_shape=[2, 2], name="pool")
    network.head(50)
    with pytest.raises(
        UnsupportedNetworkError, match="node_pool: it computes with the integers of a quant"
    ):
        import_onnx(network.save(tmp_path))


def weights_per_row(n):
    integers, scales = n.random.integers(-127, 128, (4, 1, 3, 3)), n.random.uniform(0.001, 0.01, 4)
    zeros = n.constant([0] * 4, np.int8)
    n.node(
        "DequantizeLinear",
        n.constant(scales, np.float32),
        zeros,
        reads=n.constant(integers, np.int8),
        axis=0,
    )


def weights_in_blocks(n):
    n.opset = 21
    integers, scales = (
        n.random.integers(-127, 128, (4, 1, 3, 3)),
        n.random.uniform(0.001, 0.01, (2, 1, 3, 3)),
    )
    n.node("DequantizeLinear", n.constant(scales, np.float32), reads=n.constant(integers, np.int8),
           axis=0, block_size=2)  # fmt: skip


def weights_of_four_bits(n):
    import ml_dtypes

    n.opset = 21
    integers = n.random.integers(-7, 8, (4, 1, 3, 3)).astype(ml_dtypes.int4)
    scale, zero = n.constant(0.05, np.float32), n.constant(0, ml_dtypes.int4)
    n.node("DequantizeLinear", scale, zero, reads=n.constant(integers))


def weights_with_a_zero_point(n):
    integers = n.random.integers(0, 256, (4, 1, 3, 3))
    n.node("DequantizeLinear", n.constant(0.01, np.float32), n.constant(120, np.uint8),
           reads=n.constant(integers, np.uint8))  # fmt: skip


def weights_that_the_file_quantizes(n):
    scale, zero = n.constant(0.02, np.float32), n.constant(0, np.int8)
    n.node("QuantizeLinear", scale, zero, reads=n.constant(n.weights(4, 1, 3, 3)))
    n.node("Clip", n.constant(-7, np.int8), n.constant(7, np.int8))
    n.node("DequantizeLinear", scale, zero)


@pytest.mark.parametrize(
    "weights",
    [weights_per_row, weights_in_blocks, weights_of_four_bits, weights_with_a_zero_point,
     weights_that_the_file_quantizes],
)  # fmt: skip
def test_quantized_weights_in_every_form(tmp_path, weights):
    network = Builder()
    weights(network)
    network.node("Conv", network.current, reads="x", pads=[1, 1, 1, 1])
    network.qcdq(0.1, 7, name="q")
    network.head(144)
    foreign = read_onnx(network.save(tmp_path))
    assert compare_with_runtime(foreign, torch.rand(4, 1, 6, 6)).num_counts == 4 * 144


def test_a_file_of_fixed_batches_is_filled_up(tmp_path):
    network = Builder((4, 1, 6, 6))
    network.conv(1, 2)
    network.qcdq(0.1, 7, name="q")
    network.node("Reshape", network.constant([4, 72], np.int64))
    network.head(72)
    foreign = read_onnx(network.save(tmp_path))
    assert compare_with_runtime(foreign, torch.rand(9, 1, 6, 6)).num_samples == 9


def test_several_outputs(tmp_path):
    network = Builder()
    network.conv(1, 2)
    quantized = network.qcdq(0.1, 7, name="q")
    first = network.head(72)
    network.node("GlobalAveragePool", reads=quantized, name="means")
    imported = import_onnx(network.save(tmp_path, first, "means"))
    assert [output.name for output in imported.graph.readout.outputs] == ["logits", "means"]


def test_quantizers_have_the_names_of_their_nodes(tmp_path):
    """Also names that a module cannot have."""
    network = Builder()
    network.conv(1, 2)
    network.qcdq(0.1, 7, name="q")
    network.conv(2, 2)
    network.qcdq(0.1, 7, name="r")
    network.head(72)
    model = network.model()
    for node, name in zip(
        [n for n in model.graph.node if n.op_type == "QuantizeLinear"],
        ("forward", "a.b"),
        strict=True,
    ):
        node.name = name
    path = tmp_path / "network.onnx"
    path.write_bytes(model.SerializeToString())
    assert list(quantizers(read_onnx(path).module)) == ["forward_1", "a.b"]
    assert len(import_onnx(path).graph.spiking) == 2


@pytest.mark.parametrize(
    ("package", "quantize"), [("onnx", "qcdq"), ("onnxruntime", "qcdq"), ("qonnx", "quant")]
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, package, quantize):
    network = Builder()
    network.conv(1, 2)
    getattr(network, quantize)(0.1, 7)
    network.head(72)
    path = network.save(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UnsupportedNetworkError, match=r"install it with pip install 'qac-deploy\[onnx\]'"
    ):
        import_onnx(path)


def clip_of_one_branch(folder, scale):
    """A clip from 0 to 2.5 and a ReLU, joined and quantized with T = 255."""
    network = Builder()
    conv = network.conv(1, 2)
    bounds = [network.constant(value, np.float32) for value in (0, 2.5)]
    first = network.node("Clip", *bounds, name="clip")
    second = network.node("Relu", reads=conv)
    network.node("Concat", second, reads=first, axis=1)
    network.qcdq(scale, name="q")
    network.head(144)
    return network.save(folder)


def test_the_clip_of_one_joined_branch_is_not_lost(tmp_path):
    """The quantizer clips at 12.75, and cannot clip one branch at 2.5 alone."""
    with pytest.raises(UnsupportedNetworkError, match="node_clip: 'Clip' has no quantizer"):
        import_onnx(clip_of_one_branch(tmp_path, 0.05))
    imported = import_onnx(clip_of_one_branch(tmp_path, 2.5 / 255))  # it clips all at 2.5
    assert timesteps(imported)["node_q"] == 255


def test_integers_are_clipped_and_then_pooled(tmp_path):
    network = Builder()
    network.conv(1, 2)
    scale, zero, seven = (
        network.constant(value, kind)
        for value, kind in ((0.05, np.float32), (0, np.uint8), (7, np.uint8))
    )
    network.node("QuantizeLinear", scale, zero, name="q")
    network.node("Clip", zero, seven)
    network.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    network.node("DequantizeLinear", scale, zero)
    network.head(18)
    found = timesteps(import_onnx(network.save(tmp_path)))
    assert set(found.values()) == {7}


def test_a_default_session_that_differs_is_said(tmp_path, monkeypatch):
    network = Builder()
    network.conv(1, 2)
    network.qcdq(0.1, 7, name="q")
    network.head(72)
    path = network.save(tmp_path)
    assert import_onnx(path).notes == ()
    as_written = runtimes._onnxruntime

    def session(model, wanted, shape, *, rewritten=False):
        name, run = as_written(model, wanted, shape, rewritten=rewritten)
        factor = 1.5 if rewritten else 1
        return (
            name,
            lambda given: (
                {n: factor * v for n, v in run(given).items()} if rewritten else run(given)
            ),
        )

    monkeypatch.setattr(runtimes, "_onnxruntime", session)
    (note,) = import_onnx(path).notes
    assert "rewrites the file by default, and its logits then differ by up to 50.00%" in note
