"""ONNX files with quantizers, built node by node, against their own runtimes."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
from onnx_mutants import outcome
from onnx_networks import Builder
from random_onnx_networks import random_network

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign import import_network as importing
from toolchain.importers.foreign import runtime_comparison
from toolchain.importers.onnx_format import import_onnx, read_onnx
from toolchain.method.float_snn import run_float_snn
from toolchain.method.graph_comparison import probe_pixels

PIXELS = np.random.default_rng(1).integers(0, 256, (5, 1, 6, 6))


def timesteps(imported):
    return {p.name: p.timesteps for p in imported.graph.spiking}


def runtime_logits(path, values):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate(
        [session.run(None, {name: v[None].astype(np.float32)})[0] for v in values]
    )


def require_equal_logits(path, imported, pixels=PIXELS, values=None):
    """The layer graph has the logits of the runtime, but for ties."""
    expected = runtime_logits(path, pixels / 255 if values is None else values)
    found = run_float_snn(imported.graph, pixels).logits.reshape(expected.shape)
    assert np.allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("opset", "clip", "levels"),
    [(10, None, 255), (12, None, 255), (13, 1, 1), (13, 3, 3), (17, 5, 5), (19, 15, 15),
     (21, 200, 200), (23, 254, 254)],
)  # fmt: skip
def test_quantize_clip_dequantize_gives_any_number_of_timesteps(tmp_path, opset, clip, levels):
    network = Builder(opset=opset)
    network.conv(1, 4)
    network.qcdq(0.9 / (clip or 255), clip, name="first")
    network.conv(4, 2)
    network.qcdq(1.1 / (clip or 255), clip, name="second")
    network.head(72)
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert timesteps(imported) == {"node_first": levels, "node_second": levels}
    assert imported.agreement.num_counts == imported.agreement.num_samples * (144 + 72)
    assert imported.source == f"ONNX with quantize, clip and dequantize, opset {opset}"
    assert imported.runtime.startswith("onnxruntime 1.")
    require_equal_logits(path, imported)


@pytest.mark.parametrize(
    ("dtype", "zero", "relu", "levels"),
    [(np.uint8, 0, True, 255), (np.uint8, 128, True, 127), (np.int8, 0, True, 127),
     (np.int8, -128, True, 255),
     (np.int8, -128, False, 255), (np.uint8, 100, True, 155), (np.uint16, 0, False, 65535)],
)  # fmt: skip
def test_the_zero_point_is_the_first_level_behind_a_relu(tmp_path, dtype, zero, relu, levels):
    network = Builder(opset=21)
    network.conv(1, 4)
    if relu:
        network.node("Relu")
    network.qcdq(1.5 / levels, dtype=dtype, zero=zero, name="q")
    network.head(144)
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert timesteps(imported) == {"node_q": levels}
    if levels < 1000:  # the float network runs step by step
        require_equal_logits(path, imported)


def test_four_bit_integers_are_levels(tmp_path):
    import ml_dtypes

    network = Builder(opset=21)
    network.conv(1, 4)
    network.qcdq(0.1, dtype=ml_dtypes.uint4, name="q")
    network.head(144)
    assert timesteps(import_onnx(network.save(tmp_path))) == {"node_q": 15}


def signed(make):
    network = Builder()
    network.conv(1, 4)
    make(network)
    network.head(144)
    return network


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n.qcdq(0.01, dtype=np.int8, name="q"),
        lambda n: n.qcdq(0.01, dtype=np.uint8, zero=128, name="q"),
        lambda n: n.quant(0.01, 4, signed=1, name="q"),
    ],
)
def test_signed_activations_are_refused_with_two_ways_out(tmp_path, make):
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"node_q: it quantizes to values from -.* put a ReLU in front of this quantizer and train "
        r"again \(its range then starts at 0\), or remove this quantizer",
    ):
        import_onnx(signed(make).save(tmp_path))


@pytest.mark.parametrize("relu6", ["Clip", "Clip as attributes", "Min and Max"])
def test_a_clip_in_front_of_a_quantizer_bounds_its_levels(tmp_path, relu6):
    """Clip(0, 6) and a scale of 1 leave 6 of 255 levels, whatever way the clip is written."""
    network = Builder(opset=10 if "attributes" in relu6 else 13)
    network.node("Mul", network.constant(20.0, np.float32))
    network.conv(1, 4)
    if relu6 == "Clip":
        network.node("Clip", network.constant(0, np.float32), network.constant(6, np.float32))
    elif relu6 == "Clip as attributes":
        network.node("Clip", min=0.0, max=6.0)
    else:
        network.node("Max", network.constant(0, np.float32))
        network.node("Min", network.constant(6, np.float32))
    network.qcdq(1.0, name="q")
    network.head(144)
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert timesteps(imported) == {"node_q": 6}
    require_equal_logits(path, imported)


@pytest.mark.parametrize(("bound", "levels"), [(0.25, 2), (0.35, 4), (0.449, 4), (1e30, 255)])
def test_a_bound_between_two_counts_is_rounded_as_the_runtime_rounds_it(tmp_path, bound, levels):
    network = Builder()
    network.node("Mul", network.constant(20.0, np.float32))
    network.conv(1, 4)
    network.node("Clip", network.constant(0, np.float32), network.constant(bound, np.float32))
    network.qcdq(0.1, name="q")
    network.head(144)
    assert timesteps(import_onnx(network.save(tmp_path))) == {"node_q": levels}


def test_each_channel_may_have_its_own_scale(tmp_path):
    network = Builder()
    network.conv(1, 4)
    network.qcdq([0.1, 0.02, 0.3, 0.05], 7, name="q", axis=1)
    network.conv(4, 2)
    network.qcdq(0.1, 7, name="r")
    network.head(72)
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert timesteps(imported) == {"node_q": 7, "node_r": 7}
    require_equal_logits(path, imported)


def test_ties_are_counted(tmp_path):
    """Half of all values are between two counts: onnxruntime rounds 0.5 to 0 and 1.5 to 2, we round up."""
    network = Builder()
    network.node("Mul", network.constant(128.0, np.float32))
    network.qcdq(1.0, name="q")
    network.head(36)
    imported = import_onnx(network.save(tmp_path), max_value=256)
    halves_above_even = int((probe_pixels((1, 6, 6), 256) % 4 == 1).sum())
    assert imported.agreement.num_ties == halves_above_even > 0


def test_a_difference_of_the_runtime_is_named(tmp_path):
    """FLOOR in the file, read as if it were ROUND, differs; so does a bias that the reader lost."""
    network = Builder()
    network.conv(1, 4)
    network.quant(0.1, 4, rounding="FLOOR", name="q")
    network.head(144)
    path = network.save(tmp_path)
    import_onnx(path)
    foreign = read_onnx(path)
    foreign.module.get_submodule("node_q_half").constant.zero_()
    from toolchain.importers.foreign.import_network import import_network

    with pytest.raises(
        UnsupportedNetworkError, match=r"^node_q: qonnx 1.* gives \d+ steps of 0.1 where"
    ):
        import_network(foreign, (1, 6, 6), 255)


def residual(network, quantize):
    """Two branches with different scales, joined in front of a third quantizer."""
    network.conv(1, 4)
    network.node("Relu")
    first = quantize(network, 0.11, "a")
    network.conv(4, 4)
    network.node("Relu")
    quantize(network, 0.07, "b")
    network.node("Add", first)
    network.node("Relu")
    quantize(network, 0.13, "c")
    network.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], name="pool")
    network.head(36)


def test_branches_of_different_scales_join(tmp_path):
    network = Builder()
    residual(network, lambda n, scale, name: n.qcdq(scale, 5, name=name))
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert timesteps(imported) == {
        "node_a": 5, "node_b": 5, "node_c": 5, "node_pool.columns2": 5, "node_pool.rows2": 5,
    }  # fmt: skip
    require_equal_logits(path, imported)


@pytest.mark.parametrize(
    "domain", ["qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas"]
)
def test_qonnx_of_every_domain(tmp_path, domain):
    network = Builder()
    residual(network, lambda n, scale, name: n.quant(scale, 3, name=name, domain=domain))
    imported = import_onnx(network.save(tmp_path))
    assert timesteps(imported)["node_a"] == 7
    assert imported.source == "QONNX, opset 17"
    assert imported.runtime.startswith("qonnx 1.")


@pytest.mark.parametrize(
    ("options", "levels"),
    [({"bits": 1}, 1), ({"bits": 4}, 15), ({"bits": 4, "narrow": 1}, 14), ({"bits": 4, "signed": 1}, 7),
     ({"bits": 4, "rounding": "HALF_UP"}, 15), ({"bits": 4, "rounding": "FLOOR"}, 15),
     ({"bits": 4, "operation": "IntQuant"}, 15),
     ({"bits": 3, "scale": [[[[0.1]], [[0.2]], [[0.05]], [[0.3]]]][0]}, 7)],
)  # fmt: skip
def test_options_of_a_qonnx_quantizer(tmp_path, options, levels):
    network = Builder()
    network.conv(1, 4)
    network.node("Relu")
    scale = options.pop("scale", 0.1)
    scale = np.reshape(scale, (1, 4, 1, 1)) if np.size(scale) > 1 else scale
    network.quant(scale, name="q", **options)
    network.head(144)
    assert timesteps(import_onnx(network.save(tmp_path))) == {"node_q": levels}


def test_quantized_weights_are_rounded_as_the_runtime_rounds_them(tmp_path):
    """Weights of half a step, per channel and narrow: rounded to even, in float32."""
    network = Builder()
    weight = np.arange(-9, 9).reshape(2, 1, 3, 3).astype(np.float32) * np.float32(0.15)
    scale = np.full((2, 1, 1, 1), 0.3, np.float32)
    network.quant(scale, 4, signed=1, narrow=1, name="weight")
    quantized = network.nodes[-1]
    quantized.input[0] = network.constant(weight)
    network.current = "x"
    network.node("Conv", "weight", pads=[1, 1, 1, 1])
    network.quant(0.2, 4, name="q")
    network.head(72)
    assert timesteps(import_onnx(network.save(tmp_path))) == {"node_q": 15}


@pytest.mark.parametrize("operation", ["BipolarQuant", "FloatQuant", "Trunc", "MultiThreshold"])
def test_other_qonnx_operations_are_refused_by_name(tmp_path, operation):
    network = Builder()
    network.conv(1, 4)
    network.quant(0.1, 4, operation=operation, name="q")
    network.head(144)
    with pytest.raises(UnsupportedNetworkError, match=rf"node_q: '{operation}' of domain 'qonnx"):
        import_onnx(network.save(tmp_path))


@pytest.mark.parametrize("rounding", ["CEIL", "UP"])
def test_rounding_up_is_refused(tmp_path, rounding):
    network = signed(lambda n: n.quant(0.1, 4, rounding=rounding, name="q"))
    with pytest.raises(UnsupportedNetworkError, match=f"node_q: it rounds with {rounding}"):
        import_onnx(network.save(tmp_path))


def test_a_quantizer_of_pixels_whose_grid_holds_them_is_left_out(tmp_path):
    network = Builder()
    network.qcdq(np.float32(1 / 255), name="pixels")
    network.conv(1, 4)
    network.qcdq(0.1, 7, name="q")
    network.head(144)
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert timesteps(imported) == {"node_q": 7}
    assert imported.notes[0] == (
        "node_pixels: every value that it gets is on its grid already; it was left out"
    )
    assert timesteps(import_onnx(path, max_value=16)) == {"node_pixels": 255, "node_q": 7}


def test_a_quantizer_of_signed_logits_is_left_out(tmp_path):
    network = Builder()
    network.conv(1, 4)
    network.qcdq(0.1, 7, name="q")
    network.head(144)
    network.qcdq(0.05, dtype=np.int8, name="last")
    imported = import_onnx(network.save(tmp_path))
    assert timesteps(imported) == {"node_q": 7}
    assert imported.notes == ("node_last: quantizes the logits; it was left out",)


@pytest.mark.parametrize("signed", [True, False])
def test_quantizers_around_a_final_softmax_are_left_out(tmp_path, signed):
    """As ONNX Runtime's quantize_static writes them for a network that ends in one."""
    network = Builder()
    network.conv(1, 4)
    network.qcdq(0.1, 7, name="q")
    network.head(144)
    if signed:
        network.qcdq(0.05, dtype=np.int8, name="logits_q")
    network.node("Softmax", axis=1)
    network.qcdq(1 / 256, name="shares_q")
    path = network.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        imported = import_onnx(path)
    assert timesteps(imported) == {"node_q": 7}
    (note,) = imported.notes
    assert note == (
        "node_logits_q: quantizes the logits; it was left out, with the softmax behind it"
        if signed
        else "node_shares_q: quantizes the logits; it was left out"
    )


def test_quantizers_of_values_on_their_grid_are_no_populations(tmp_path):
    """As ONNX Runtime writes them behind a max pool, a reshape and a concatenation."""
    network = Builder()
    network.conv(1, 4)
    first = network.qcdq(0.1, name="q")
    network.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], name="pool")
    network.qcdq(0.1, name="pooled")
    pooled = network.current
    network.node("Concat", pooled, axis=1)
    network.qcdq(0.1, name="joined")
    network.node("Flatten", axis=1)
    network.qcdq(0.1, name="flat")
    network.head(72)
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert first
    assert set(timesteps(imported)) == {"node_q", "node_pool.columns2", "node_pool.rows2"}
    assert len(imported.notes) == 3
    require_equal_logits(path, imported)


def test_integers_may_move_between_quantize_and_dequantize(tmp_path):
    network = Builder()
    network.conv(1, 4)
    scale, zero = network.constant(0.1, np.float32), network.constant(0, np.uint8)
    network.node("QuantizeLinear", scale, zero, name="q")
    network.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], name="pool")
    network.node("Reshape", network.constant([-1, 36], np.int64))
    network.node("DequantizeLinear", scale, zero)
    network.head(36)
    path = network.save(tmp_path)
    imported = import_onnx(path)
    assert set(timesteps(imported)) == {"node_q", "node_pool.columns2", "node_pool.rows2"}
    require_equal_logits(path, imported)


def test_a_file_of_batch_one_takes_any_batch(tmp_path):
    network = Builder((1, 1, 6, 6))
    network.conv(1, 4)
    network.qcdq(0.1, 7, name="q")
    network.node("Reshape", network.constant([1, 144], np.int64))
    network.head(144)
    path = network.save(tmp_path)
    require_equal_logits(path, import_onnx(path))


def test_shapes_that_are_computed_from_the_batch(tmp_path):
    """Shape, Gather, Unsqueeze, Concat, Reshape: what exporters write for ``x.view(x.shape[0], -1)``."""
    network = Builder(opset=13)
    network.conv(1, 4)
    quantized = network.qcdq(0.1, 7, name="q")
    network.node("Shape")
    network.node("Gather", network.constant(0, np.int64))
    batch = network.node("Unsqueeze", network.constant([0], np.int64))
    network.node("Concat", network.constant([-1], np.int64), axis=0, reads=batch)
    shape = network.current
    network.node("Reshape", shape, reads=quantized)
    network.head(144)
    path = network.save(tmp_path)
    require_equal_logits(path, import_onnx(path))


def test_an_image_with_channels_last(tmp_path):
    """As converters from Keras write it: transposes around convolutions, SAME padding and a flat end."""
    network = Builder(("batch", 6, 6, 3))
    network.node("Transpose", perm=[0, 3, 1, 2])
    network.node("Pad", network.constant([0, 0, 0, 0, 0, 0, 1, 1], np.int64))
    network.conv(3, 4, pads=[0, 0, 0, 0], strides=[2, 2])
    network.node("Transpose", perm=[0, 2, 3, 1])
    network.node("Clip", network.constant(0, np.float32), network.constant(6, np.float32))
    network.qcdq(6 / 255, name="q")
    network.node("Transpose", perm=[0, 3, 1, 2])
    network.conv(4, 5, pads=None, auto_pad="SAME_UPPER", strides=[2, 2])
    network.node("Transpose", perm=[0, 2, 3, 1])
    network.qcdq(0.1, name="r")
    network.node("Reshape", network.constant([-1, 20], np.int64))
    weight = network.constant(network.weights(20, 3))
    network.node("MatMul", weight)
    network.node("Add", network.constant([0.1, 0.2, 0.3], np.float32))
    path = network.save(tmp_path)
    imported = import_onnx(path, (3, 6, 6))
    pixels = np.random.default_rng(2).integers(0, 256, (4, 3, 6, 6))
    require_equal_logits(path, imported, pixels, pixels.transpose(0, 2, 3, 1) / 255)
    assert timesteps(imported) == {"node_q": 255, "node_r": 255}


def test_sizes_that_the_file_leaves_open_come_from_the_image(tmp_path):
    network = Builder(("batch", 1, "height", "width"))
    network.conv(1, 4)
    network.qcdq(0.1, 7, name="q")
    network.node("GlobalAveragePool")
    network.head(4)
    path = network.save(tmp_path)
    require_equal_logits(path, import_onnx(path, (1, 6, 6)))
    with pytest.raises(UnsupportedNetworkError, match="input 'x' has open sizes beside the batch"):
        import_onnx(path)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_equal_their_runtime(tmp_path, seed):
    assert import_onnx(random_network(seed).save(tmp_path)).agreement.num_counts > 0


@pytest.mark.exhaustive
def test_many_random_networks_equal_their_runtime(tmp_path):
    """But for those in which a quantizer gets values that all round to 0."""
    found = [outcome(random_network(seed).save(tmp_path)) for seed in range(8, 600)]
    refused = [message for message in found if message != "loaded"]
    assert all(m.endswith("check its scale, zero point and bit width") for m in refused), set(
        refused
    )
    assert len(refused) < 60


@pytest.mark.parametrize("where", ["reading", "the runtime", "the comparison", "the conversion"])
def test_an_error_begins_with_the_file_once(tmp_path, where, monkeypatch):
    network = Builder()
    network.conv(1, 4)
    if where == "reading":
        network.node("Tanh")
    network.qcdq(0.1, 7, name="q")
    network.head(144)
    path = network.save(tmp_path)
    if where == "the runtime":
        run = onnxruntime.InferenceSession.run
        monkeypatch.setattr(
            onnxruntime.InferenceSession, "run", lambda self, names, feed: run(self, names, {})
        )
    if where == "the comparison":
        monkeypatch.setattr(runtime_comparison, "RUNTIME_TOLERANCE", -1.0)
    if where == "the conversion":
        monkeypatch.setattr(importing, "convert", refuse)
    with pytest.raises(UnsupportedNetworkError) as caught:
        import_onnx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count(str(path)) == 1


def refuse(*args, **options):
    raise UnsupportedNetworkError("q: has no spiking form")
