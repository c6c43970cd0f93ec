"""Every operation of the ONNX table, executed beside onnxruntime, without quantizers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx_networks import Builder

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.onnx_format import import_onnx, read_onnx

F, I = np.float32, np.int64  # noqa: E741


def conv(**attributes):
    def make(n):
        groups = attributes.get("group", 1)
        n.node(
            "Conv",
            n.constant(n.weights(4, 4 // groups, 3, 3)),
            n.constant(n.weights(4)),
            **attributes,
        )

    return make


def transposed(groups=1, **attributes):
    def make(n):
        weight = n.constant(n.weights(4, 6 // groups, 3, 3))
        n.node("ConvTranspose", weight, group=groups, **attributes)

    return make


def node(operation, *constants, opset=17, **attributes):
    def make(n):
        n.opset = opset
        n.node(
            operation, *(n.constant(c) if c is not None else "" for c in constants), **attributes
        )

    return make


def pool(operation, kernel, **attributes):
    return node(operation, kernel_shape=kernel, **attributes)


def flat(then):
    def make(n):
        n.node("Flatten")
        then(n)

    return make


def two_of(operation, second="Neg", **attributes):
    def make(n):
        first = n.current
        n.node(second)
        n.node(operation, first, **attributes)

    return make


def split(n):
    n.node("Split", n.constant([1, 3], I), axis=1, outputs=2, name="parts")
    n.node("Concat", "parts", axis=1, reads="parts_1")


def old_split(n):
    n.opset = 11
    n.node("Split", axis=1, split=[3, 1], outputs=2, name="parts")
    n.node("Concat", "parts", axis=1, reads="parts_1")


def batch_norm(n):
    arrays = [n.weights(4), n.weights(4), n.weights(4), np.abs(n.weights(4)) + F(0.1)]
    n.node("BatchNormalization", *map(n.constant, arrays), epsilon=1e-3)


def joined_with_a_constant(n):
    n.node("Concat", n.constant(n.weights(1, 2, 6, 8)), axis=1)


def left_product(n):
    n.node("MatMul", "x", reads=n.constant(n.weights(5, 6)))


def constants(n):
    """A weight that the file computes from others."""
    n.node("Transpose", reads=n.constant(n.weights(3, 192)), perm=[1, 0])
    n.node("Mul", n.constant(0.5, F))
    weight = n.node("Slice", n.constant([0], I), n.constant([2], I), n.constant([1], I))
    n.node("Flatten", reads="x")
    n.node("MatMul", weight)


CASES = {
    "conv": conv(pads=[1, 1, 1, 1]),
    "conv of one side": conv(pads=[0, 1, 2, 0], strides=[2, 1]),
    "conv with groups": conv(group=2, dilations=[2, 1]),
    "conv depthwise": conv(group=4, pads=[1, 1, 1, 1]),
    "conv same upper": conv(auto_pad="SAME_UPPER", strides=[2, 3]),
    "conv same lower": conv(auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv valid": conv(auto_pad="VALID"),
    "transposed": transposed(strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    "transposed with groups": transposed(2, strides=[2, 1], dilations=[1, 2]),
    "transposed of one side": transposed(strides=[2, 2], pads=[0, 1, 1, 0]),
    "transposed same": transposed(strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed to a shape": transposed(strides=[2, 2], output_shape=[12, 15]),
    "max pool": pool("MaxPool", [2, 3], strides=[2, 1]),
    "max pool with padding": pool("MaxPool", [3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "max pool of one side": pool("MaxPool", [2, 2], strides=[2, 2], pads=[0, 0, 1, 1]),
    "max pool ceil": pool("MaxPool", [3, 3], strides=[2, 2], ceil_mode=1),
    "max pool same": pool("MaxPool", [3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "average pool": pool("AveragePool", [2, 2], strides=[2, 2]),
    "average pool with padding": pool("AveragePool", [3, 3], pads=[1, 1, 1, 1]),
    "average pool that counts padding": pool("AveragePool", [3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "average pool of one side": pool("AveragePool", [2, 2], strides=[2, 2], pads=[0, 0, 1, 1]),
    "average pool at the beginning": pool("AveragePool", [2, 2], strides=[2, 2], pads=[1, 1, 0, 0]),
    "average pool same": pool("AveragePool", [3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "average pool ceil": pool("AveragePool", [3, 3], strides=[2, 2], ceil_mode=1),
    "global average pool": node("GlobalAveragePool"),
    "global max pool": node("GlobalMaxPool"),
    "mean": node("ReduceMean", axes=[2, 3], keepdims=0),
    "mean of opset 18": node("ReduceMean", np.array([-1, -2]), opset=18),
    "sum": node("ReduceSum", np.array([1, 2])),
    "sum of opset 11": node("ReduceSum", opset=11, axes=[1], keepdims=1),
    "largest": node("ReduceMax", axes=[-1]),
    "gemm": flat(lambda n: n.node("Gemm", n.constant(n.weights(192, 3)), n.constant(n.weights(3)),
                                  alpha=0.5, beta=2.0)),
    "gemm transposed": flat(lambda n: n.node("Gemm", n.constant(n.weights(3, 192)), transB=1)),
    "matmul": lambda n: n.node("MatMul", n.constant(n.weights(8, 5))),
    "matmul with a stack": lambda n: n.node("MatMul", n.constant(n.weights(4, 8, 2))),
    "matmul from the left": left_product,
    "batch norm": batch_norm,
    "add": two_of("Add", "Relu"),
    "add per channel": lambda n: n.node("Add", n.constant(n.weights(4, 1, 1))),
    "subtract": two_of("Sub", "Relu"),
    "subtract from": lambda n: n.node("Sub", "x", reads=n.constant(F(3.0))),
    "multiply": lambda n: n.node("Mul", n.constant(n.weights(1, 4, 1, 1))),
    "divide": node("Div", F(3.0)),
    "sum of three": lambda n: n.node("Sum", "x", n.constant(n.weights(1, 4, 1, 1))),
    "clip": node("Clip", None, F(0.5)),
    "softmax": flat(node("Softmax", axis=1)),
    "log softmax of opset 11": flat(node("LogSoftmax", opset=11)),
    "reshape": node("Reshape", np.array([0, -1, 8])),
    "reshape to a batch": node("Reshape", np.array([-1, 8, 24])),
    "reshape with zeros": node("Reshape", np.array([-1, 192]), allowzero=1),
    "transpose": node("Transpose", perm=[0, 3, 1, 2]),
    "unsqueeze": node("Unsqueeze", np.array([1, -1])),
    "unsqueeze of opset 11": node("Unsqueeze", opset=11, axes=[2]),
    "squeeze": lambda n: (n.node("GlobalAveragePool"), n.node("Squeeze", n.constant([2, 3], I))),
    "split": split,
    "split of opset 11": old_split,
    "concat": two_of("Concat", axis=-1),
    "concat with a constant": joined_with_a_constant,
    "slice": node("Slice", np.array([1, -3]), np.array([3, 2**31 - 1]), np.array([1, 3]), np.array([1, 2])),
    "slice backwards": node("Slice", np.array([-1]), np.array([-(2**31)]), np.array([3]), np.array([-2])),
    "slice of opset 9": node("Slice", opset=9, starts=[1], ends=[100], axes=[2]),
    "gather": node("Gather", np.array([3, 0, -2]), axis=1),
    "gather one": node("Gather", np.array(2), axis=2),
    "pad": node("Pad", np.array([0, 0, 1, 2, 0, 0, 0, 3])),
    "pad with a value": node("Pad", np.array([0, 0, 1, 2, 0, 0, 0, 3]), F(0.25)),
    "pad channels": node("Pad", np.array([0, 1, 0, 0, 0, 2, 0, 0])),
    "pad by reflection": node("Pad", np.array([0, 0, 1, 2, 0, 0, 1, 3]), mode="reflect"),
    "pad by edges": node("Pad", np.array([0, 0, 1, 2, 0, 0, 1, 3]), mode="edge"),
    "pad of opset 10": node("Pad", opset=10, pads=[0, 0, 1, 0, 0, 0, -1, 0]),
    "pad of some axes": node("Pad", np.array([1, 2]), None, np.array([-1]), opset=18),
    "expand": lambda n: (n.node("GlobalAveragePool"), n.node("Expand", n.constant([1, 4, 2, 3], I))),
    "tile": node("Tile", np.array([1, 2, 1, 3])),
    "nearest": node("Resize", None, np.array([1, 1, 2, 2], F), mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric"),
    "nearest to a size": node("Resize", None, None, np.array([1, 4, 12, 16])),
    "bilinear": node("Resize", None, np.array([1, 1, 2, 2], F), mode="linear"),
    "bilinear with corners": node("Resize", None, np.array([1, 1, 2, 2], F), mode="linear",
                                  coordinate_transformation_mode="align_corners"),
    "resize of opset 10": node("Resize", np.array([1, 1, 2, 3], F), opset=10),
    "upsample": node("Upsample", np.array([1, 1, 2, 2], F), opset=9),
    "depth to space": node("DepthToSpace", blocksize=2),
    "depth to space crd": node("DepthToSpace", blocksize=2, mode="CRD"),
    "space to depth": node("SpaceToDepth", blocksize=2),
    "identity, dropout, cast": lambda n: (n.node("Identity"), n.node("Dropout"), n.node("Cast", to=1)),
    "constants": constants,
    "Relu": node("Relu"),
    "Neg": node("Neg"),
}  # fmt: skip


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_an_operation_equals_that_of_the_runtime(tmp_path, make):
    network = Builder(("batch", 4, 6, 8), seed=3)
    make(network)
    foreign = read_onnx(network.save(tmp_path))
    inputs = torch.randn(3, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    assert not foreign.is_quantized
    assert foreign.source.startswith("ONNX without quantizers, opset ")
    assert compare_with_runtime(replace(foreign), inputs).num_samples == 3


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (node("If"), "'If'"),
        (node("Einsum", equation="bchw->bc"), "node_einsum0: 'Einsum' has no spiking form"),
        (node("LayerNormalization", np.ones(8, F)), "node_layernormalization0: 'LayerNorm"),
        (node("QLinearConv"), "use quantize_static with quant_format=QuantFormat.QDQ"),
        (node("Custom", domain="my.domain"), "node_custom0: 'Custom' of domain 'my.domain' has no spiking"),
        (node("Transpose", perm=[1, 0, 2, 3]), "node_transpose0: its first axis is not the batch"),
        (node("Reshape", np.array([4, -1])), "node_reshape0: its first axis is not the batch"),
        (node("Slice", np.array([0]), np.array([1]), np.array([0])), "node_slice0: 'Slice' works"),
        (node("Cast", to=6), "node_cast0: it casts values of the network"),
        (node("MaxPool", kernel_shape=[2, 2], outputs=2), "node_maxpool0: it returns the indices"),
    ],
)  # fmt: skip
def test_other_operations_are_refused_with_the_name_of_their_node(tmp_path, make, reason):
    network = Builder(("batch", 4, 6, 8))
    make(network)
    with pytest.raises((UnsupportedNetworkError, ModelFileError), match=reason):
        read_onnx(network.save(tmp_path))


@pytest.mark.parametrize("name", ["LeakyRelu", "Sigmoid", "HardSigmoid", "Elu"])
def test_activations_between_quantizers_are_refused_with_the_name_of_their_node(tmp_path, name):
    network = Builder()
    network.conv(1, 4)
    network.node(name, name="act")
    network.conv(4, 4)
    network.qcdq(0.1, 7)
    network.head(144)
    with pytest.raises(
        UnsupportedNetworkError,
        match=rf"node_act: '{name}' has no integrate-and-fire form; replace it by ReLU",
    ):
        import_onnx(network.save(tmp_path))


def test_a_network_without_quantizers_says_what_converts_it(tmp_path):
    network = Builder()
    network.conv(1, 4)
    network.node("Relu")
    network.head(144)
    with pytest.raises(UnsupportedNetworkError, match=r"has no quantizers, .* --mean-timesteps 4"):
        import_onnx(network.save(tmp_path))
