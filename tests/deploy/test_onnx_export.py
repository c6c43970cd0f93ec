"""ONNX and QONNX: onnxruntime and qonnx give our counts and logits, and what cannot be written is named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from builders import connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_maximum_networks import max_pool_network
from map_networks import map_and_class_network
from small_networks import residual_network
from strategies import integer_networks, random_pixels

from deploy.backends.onnx_format.execution import compare_with_network, qonnx_executor
from deploy.backends.onnx_format.losses import losses
from deploy.backends.onnx_format.network import to_onnx, to_qonnx
from deploy.backends.onnx_format.rounding import exact_rounding
from sim.engines import simulate
from toolchain.datasets import load_dataset
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerNetwork,
    verify_integer_network,
)
from toolchain.networks.integer_network.accumulator_bounds import Interval
from toolchain.networks.integer_network.serialize import load_integer_network
from toolchain.networks.linear_maps import Convolution, SumPool

INTEGER_OPERATORS = {
    "QLinearConv", "QLinearMatMul", "QGemm", "MatMulNBits", "MatMulIntegerToFloat", "QLinearAdd",
    "QLinearMul", "QLinearAveragePool", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul",
}  # fmt: skip


def operators(export):
    return [node.op_type for node in export.model.graph.node]


def agreed(network, seed=0, samples=4):
    """The export of a network, after checking that every count and logit is equal."""
    export = to_onnx(verify_integer_network(network))
    onnx.checker.check_model(export.model, full_check=True)
    compare_with_network(export, network, random_pixels(network, seed, samples))
    present = export.tensors.keys() | export.pools.populations
    assert present == {p.name for p in network.spiking}
    return export


@settings(max_examples=12)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_random_networks_give_the_same_counts_and_logits(network, seed):
    agreed(network, seed)


@pytest.mark.exhaustive
@settings(max_examples=600)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_many_random_networks_give_the_same_counts_and_logits(network, seed):
    agreed(network, seed)


def with_longer_windows(network, seed):
    """The network with T up to 400 and thresholds up to 4,096 times as large; maxima stay as they are."""
    rng = np.random.default_rng(seed)
    changed = []
    for population in network.populations:
        if population.kind == "spiking":
            factor = 1 << int(rng.integers(0, 13))
            population = replace(
                population,
                timesteps=int(rng.choice([1, 5, 40, 255, 400])),
                threshold=population.threshold * factor,
                initial_potential=population.initial_potential * factor
                + int(rng.integers(0, factor)),
            )
        changed.append(population)
    return IntegerNetwork.build(changed, network.synapses)


@settings(max_examples=6)
@given(integer_networks(extended=False), st.integers(0, 2**32 - 1))
def test_long_windows_and_large_thresholds_give_the_same_counts(network, seed):
    agreed(with_longer_windows(network, seed), seed, samples=6)


@settings(max_examples=6)
@given(integer_networks(max_pools=True), st.integers(0, 2**32 - 1))
def test_random_max_pools_give_the_same_counts_and_logits(network, seed):
    agreed(network, seed)


def wide_network(timesteps, threshold, max_value=255, weight=127):
    """input -> hidden -> logits, with 300 inputs of the largest weight."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-weight, weight + 1, (5, 300))
    return network_of(
        spiking("hidden", (5, 1, 1), timesteps, threshold, np.asarray(threshold) // 3, bias=[1, 2, -3, 4, 5]),
        connect("input", "hidden", dense(weights), exponent=3),
        connect("hidden", "logits", dense(rng.integers(-99, 100, (3, 5))), exponent=4),
        image=(3, 10, 10), max_value=max_value, classes=3, bias=[7, -7, 0],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("timesteps", "threshold", "max_value", "in_float64"),
    [
        (255, 2_000_000, 255, ["hidden"]),  # boundaries nearer than float32's spacing
        (7, 2_000_000, 255, []),
        (300, 1_000, 1, []),  # counts of 16 bits
        (3, [2**22, 3 * 2**20, 64, 2**23 - 64, 12_345_664], 65_535, ["hidden"]),  # sums beyond 2^24
    ],
    ids=["many steps", "few steps", "16-bit counts", "16-bit pixels"],
)
def test_what_float32_cannot_hold_is_computed_in_float64(
    timesteps, threshold, max_value, in_float64
):
    export = agreed(wide_network(timesteps, threshold, max_value), samples=200)
    assert export.in_float64 == in_float64
    assert ("Floor" in operators(export)) == bool(in_float64)


def test_sums_of_single_bits_beyond_float32_are_refused_by_name():
    pools = [SumPool(kernel=(10, 10), stride=(1, 1), padding=(9, 9)) for _ in range(4)]
    network = network_of(
        spiking("hidden", (1, 46, 46), 2, 900),
        connect("input", "hidden", Convolution(weight=np.full((1, 1, 1, 1), 9, np.int8)), *pools),
        connect("hidden", "logits", dense(np.ones((1, 46 * 46)))),
        image=(1, 10, 10),
    )
    with pytest.raises(
        UnsupportedNetworkError, match=r"input -> hidden .*its weights add up to more than"
    ):
        to_onnx(network)


@given(st.integers(1, 9), st.integers(0, 3), st.integers(1, 400), st.integers(-90, 90), st.data())
@settings(max_examples=30)
def test_a_rounding_gives_the_count_of_every_sum(timesteps, exponent, threshold, bias, data):
    start = data.draw(st.integers(0, threshold - 1))
    population = spiking("n", (1, 1, 1), timesteps, threshold, start, bias)
    sums = Interval(low=np.array([-700]), high=np.array([700]))
    every = np.arange(-700, 701)
    window = start + timesteps * (every * 2**exponent + bias)
    expected = np.clip(window // threshold, 0, timesteps)
    for divides in (True, False):
        rounding = exact_rounding(population, exponent, sums, divides=divides)
        shifted = every.astype(np.float32) + rounding.offset.reshape(-1)
        scale = rounding.scale.reshape(-1)
        level = np.rint(shifted / scale if divides else shifted * scale)
        np.testing.assert_array_equal(np.clip(level, 0, timesteps), expected)


def test_the_comparison_names_the_first_population_that_differs():
    network = residual_network()
    export = to_onnx(network)
    weight = next(
        c for c in export.model.graph.initializer if c.name.startswith("inner.0_from_stem")
    )
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[:] = 127 - values.flat[:]
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    with pytest.raises(UnsupportedNetworkError) as refusal:
        compare_with_network(export, network, random_pixels(network, 0))
    assert str(refusal.value).startswith(
        f"onnxruntime {onnxruntime.__version__} computes other integers than the exact engine from the "
        f"exported model: inner.0: counts differ at"
    )


def test_the_comparison_finds_a_logit_that_differs():
    network = residual_network()
    export = to_onnx(network)
    bias = next(c for c in export.model.graph.initializer if c.name == "logits_bias")
    values = onnx.numpy_helper.to_array(bias) + np.float32(1)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    with pytest.raises(
        UnsupportedNetworkError, match=r"model: logits: logits differ at \(sample, "
    ):
        compare_with_network(export, network, random_pixels(network, 0))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((2, 2), (2, 2), (0, 0)), ((3, 3), (2, 2), (1, 1)), ((2, 3), (1, 1), (0, 1)), ((3, 2), (3, 1), (1, 0))],
    ids=str,
)  # fmt: skip
def test_exact_max_pools_become_max_pool_nodes(kernel, stride, padding):
    read = Convolution(weight=np.arange(-8, 10, dtype=np.int8).reshape(1, 2, 3, 3), padding=(1, 1))
    plain = max_pool_network(
        ("a", (1, 1, 1), (read,), 0), kernel=kernel, stride=stride, padding=padding
    )
    shape = _pooled_shape(plain)
    network = max_pool_network(
        ("a", (1, *shape), (read,), 1), kernel=kernel, stride=stride, padding=padding
    )
    export = agreed(network)
    assert operators(export).count("MaxPool") == 1
    assert export.pools.populations == {p.name for p in network.spiking if p.role == "maximum"}
    (pool,) = (n for n in export.model.graph.node if n.op_type == "MaxPool")
    attributes = {a.name: list(a.ints) for a in pool.attribute}
    assert attributes["kernel_shape"] == list(kernel)
    assert attributes["strides"] == list(stride)


def _pooled_shape(network):
    (part,) = (s for s in network.incoming("a") if s.source == "x")
    return part.weighted_input_shape(network["x"].shape)[1:]


def test_a_maximum_that_is_no_max_pool_stays_as_its_neurons():
    read = Convolution(weight=np.full((1, 2, 1, 1), 3, np.int8))
    network = max_pool_network(("a", (1, 3, 3), (read,), 0))
    changed = [
        replace(s, exponent=1) if s.target == "a" and s.source != "x" else s
        for s in network.synapses
    ]
    export = agreed(IntegerNetwork.build(network.populations, changed))
    assert "MaxPool" not in operators(export)
    assert not export.pools.populations


def test_several_outputs_and_every_kind_of_map():
    export = agreed(map_and_class_network(), samples=8)
    assert [o.name for o in export.model.graph.output] == ["mask", "class"]
    sizes = [
        [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim]
        for o in export.model.graph.output
    ]
    assert sizes == [["batch", 3, 4, 4], ["batch", 2, 1, 1]]
    assert "Resize" in operators(export)


@pytest.mark.parametrize("method", ["replicate", "truncate"])
def test_another_alignment_is_refused_by_name(method):
    network = residual_network()
    synapses = [replace(s, alignment=method) for s in network.synapses]
    with pytest.raises(UnsupportedNetworkError) as refusal:
        to_onnx(IntegerNetwork.build(network.populations, synapses))
    assert str(refusal.value) == (
        f"input -> stem (conv 3x3, {method}): with {method} alignment the count depends on the order of "
        f"spikes, which ONNX cannot express; compile with --alignment average, or export with --format c"
    )


def test_an_initial_potential_above_the_threshold_is_refused_by_name():
    network = network_of(
        spiking("n", timesteps=2, threshold=5, initial=5),
        connect("input", "n", dense([[3]])),
        connect("n", "logits", dense([[1]])),
    )
    with pytest.raises(UnsupportedNetworkError) as refusal:
        to_onnx(network)
    assert str(refusal.value) == (
        "n: its initial potentials must be from 0 to below the threshold for one quantizer to give its "
        "count, but they reach 5 and 5; export with --format c"
    )


def test_names_that_mean_something_in_onnx_do_no_harm():
    names = {
        "input": "",
        "stem": "one",
        "inner.0": "logits_bias",
        "join": "../$(x) %s\"'",
    }
    network = residual_network()
    renamed = IntegerNetwork.build(
        [replace(p, name=names.get(p.name, p.name)) for p in network.populations],
        [
            replace(s, source=names.get(s.source, s.source), target=names.get(s.target, s.target))
            for s in network.synapses
        ],
    )
    agreed(renamed)


@pytest.fixture(scope="module")
def exported(compiled, tmp_path_factory):
    """(command's JSON, file, network)."""
    from installed_command import run_command

    folder = tmp_path_factory.mktemp("exported")
    process = run_command("export", compiled[1], "--format", "onnx", "--json", cwd=folder)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), folder / "network.onnx", load_integer_network(compiled[1])


def test_the_command_says_what_was_compared(exported):
    document, file, network = exported
    assert document["runtime"] == f"onnxruntime {onnxruntime.__version__}"
    assert document["samples"] == 54
    assert document["equal_logits"] == 54 * 10
    assert document["equal_counts"] == 54 * sum(int(np.prod(p.shape)) for p in network.spiking)
    assert document["float64_populations"] == []
    assert any("spike trains" in loss for loss in document["losses"])
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert model.SerializeToString(deterministic=True) == to_onnx(network).model.SerializeToString(
        deterministic=True
    )
    weights = [
        c for c in model.graph.initializer if c.data_type == onnx.TensorProto.INT8 and c.dims
    ]
    stored = {onnx.numpy_helper.to_array(weight).tobytes() for weight in weights}
    assert {s.weighted.weight.tobytes() for s in network.synapses} <= stored


def test_all_test_samples_give_the_same_logits(exported):
    _, file, network = exported
    pixels = load_dataset("digits").test_pixels
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {"input": pixels.astype(np.float32)})
    np.testing.assert_array_equal(logits, simulate(network, pixels).logits)


def test_onnxruntime_fuses_nothing_into_integer_operators(exported, tmp_path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(exported[1], options, providers=["CPUExecutionProvider"])
    fused = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert not fused & INTEGER_OPERATORS


def test_another_file_is_not_replaced(qac_deploy, compiled, tmp_path):
    (tmp_path / "network.onnx").write_bytes(b"\x08\x08\x12\x07pytorch and more")
    process = qac_deploy("export", compiled[1], "--format", "onnx")
    assert process.returncode == 2
    assert "network.onnx: exists and is not an ONNX file of ours" in process.stderr
    assert (tmp_path / "network.onnx").read_bytes().startswith(b"\x08\x08\x12\x07pytorch")


def with_timesteps(network, timesteps):
    return IntegerNetwork.build(
        [replace(p, timesteps=timesteps.get(p.name, p.timesteps)) for p in network.populations],
        network.synapses,
    )


def test_qonnx_refuses_other_timesteps_and_says_which_would_fit():
    with pytest.raises(UnsupportedNetworkError) as refusal:
        to_qonnx(residual_network())
    assert str(refusal.value) == (
        "inner.0 (T=2), join (T=4): the timesteps of a QONNX quantizer must be 2^b - 1, such as 1, 3, 7 or "
        "15; compile with --timesteps 'inner.0=3' --timesteps 'join=3', or export with --format onnx, which "
        "takes any T"
    )


def test_qonnx_gives_equal_counts_before_and_after_qonnx_transformations():
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.util.cleanup import cleanup_model

    network = with_timesteps(residual_network(), {"inner.0": 3, "join": 7})
    export = to_qonnx(network)
    pixels = random_pixels(network, 2, samples=4)
    agreement = compare_with_network(export, network, pixels, qonnx_executor)
    assert agreement.runtime.startswith("qonnx ")
    cleaned = cleanup_model(ModelWrapper(export.model)).transform(InferDataTypes())
    quantizers = cleaned.get_nodes_by_op_type("Quant")
    types = [str(cleaned.get_tensor_datatype(node.output[0])) for node in quantizers]
    assert cleaned.get_tensor_datatype(cleaned.graph.input[0].name).name == "UINT4"
    assert types.count("UINT2") == 2
    assert types.count("UINT3") == 1
    of_weights = [q for q in quantizers if cleaned.get_initializer(q.input[0]) is not None]
    assert len(of_weights) == len(network.synapses)
    changed = replace(
        export,
        model=cleaned.model,
        tensors={},
        outputs={"logits": cleaned.graph.output[0].name},
    )
    compare_with_network(changed, network, pixels, qonnx_executor)


def test_what_the_file_does_not_say_is_listed():
    pooled = max_pool_network(
        ("a", (1, 3, 3), (Convolution(weight=np.ones((1, 2, 1, 1), np.int8)),), 0)
    )
    populations = [
        replace(p, initial_potential=p.threshold // 5) if p.name == "a" else p
        for p in pooled.populations
    ]
    network = IntegerNetwork.build(populations, pooled.synapses)
    assert losses(to_onnx(network), network)[2:] == [
        "initial potentials of a: the counts include them, but an importer takes half a threshold and "
        "another bias",
        "populations rx1, ry1: MaxPool nodes compute what they do",
    ]
    wide = wide_network(255, 2_000_000)
    assert losses(to_onnx(wide), wide)[-1] == (
        "hidden: float32 is not exact for them, so they are computed in float64 in front of their "
        "quantizers, which other tools may not take"
    )


def test_the_command_refuses_timesteps_that_qonnx_lacks_and_writes_nothing(
    qac_deploy, compiled, tmp_path
):
    process = qac_deploy("export", compiled[1], "--format", "qonnx")
    assert process.returncode == 2
    assert "must be 2^b - 1" in process.stderr
    assert not list(tmp_path.iterdir())
