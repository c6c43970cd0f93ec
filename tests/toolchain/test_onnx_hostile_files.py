"""ONNX files that are damaged, or made to do harm: an error of ours with the file, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx_mutants
import pytest
from onnx import TensorProto
from onnx_networks import Builder, joined_and_pooled

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format import import_onnx, read_onnx
from toolchain.importers.onnx_format.model_file import load_model


def network(quantize=lambda n, scale, name: n.qcdq(scale, 5, name=name)):
    return joined_and_pooled(quantize)


def plain():
    n = Builder()
    n.conv(1, 2)
    n.node("Relu")
    n.node("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    n.head(18)
    return n


@pytest.fixture(scope="module")
def seeds():
    qonnx = network(lambda n, scale, name: n.quant(scale, 3, name=name))
    return [n.model().SerializeToString() for n in (network(), qonnx, plain())]


def saved(folder, model):
    path = folder / "network.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def require_refused(path, reason, error=ModelFileError):
    with pytest.raises(error, match=reason) as raised:
        import_onnx(path)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"not protobuf at all", b"\x08\x08" * 9])
def test_other_files_are_no_onnx(tmp_path, content):
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    require_refused(path, "no ONNX file, or")


def test_a_missing_file(tmp_path):
    require_refused(tmp_path / "network.onnx", "no such file")


def test_a_tensor_with_fewer_bytes_than_its_shape_says(tmp_path):
    model = network().model()
    model.graph.initializer[0].dims[0] = 200
    require_refused(
        saved(tmp_path, model), r"initializer 'c0' of shape 200x1x3x3 needs 7,200 bytes and has 72"
    )


def test_a_tensor_of_a_huge_shape_is_not_made(tmp_path):
    model = network().model()
    model.graph.initializer[0].dims[:] = [2**31 - 1, 2**31 - 1]
    require_refused(
        saved(tmp_path, model), "all tensors take more than 1,073,741,824 bytes together"
    )


@pytest.mark.parametrize(
    ("location", "reason"),
    [("/etc/passwd", "external data must be in a file in the same folder, not '/etc/passwd'"),
     ("../secret", "external data must be in a file in the same folder, not '../secret'"),
     ("a/../../secret", "external data must be in a file in the same folder"),
     ("C:\\secret", "external data must be in a file in the same folder"),
     ("", "external data must be in a file in the same folder"),
     ("link", "'link' is a symbolic link; put the file itself there"),
     ("linked/secret", "'linked/secret' is a symbolic link"),
     ("folder", "'folder' is no plain file"),
     ("pipe", "'pipe' is no plain file"),
     ("short", "'short' has 3 bytes, and 72 are needed"),
     ("missing", "'missing' cannot be read; put it in the folder of the file")],
)  # fmt: skip
def test_external_data_outside_the_folder_is_not_read(tmp_path, location, reason):
    (tmp_path / "secret").write_bytes(bytes(100))
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "short").write_bytes(b"abc")
    os.mkfifo(folder / "pipe")
    model = network().model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    require_refused(saved(folder, model), reason)


def test_external_data_beside_the_file_are_read(tmp_path):
    path = tmp_path / "network.onnx"
    onnx.save(
        network().model(), path, save_as_external_data=True, location="all.bin", size_threshold=0
    )
    expected = network().model().graph.initializer[0]
    found = load_model(path).initializers["c0"]
    assert np.array_equal(found, onnx.numpy_helper.to_array(expected))
    assert len(import_onnx(path).graph.spiking) == 5


@pytest.mark.parametrize("domain", ["os", "antigravity", "qonnx.custom_op.channels_last"])
def test_a_domain_is_never_imported(tmp_path, domain):
    """QONNX's executor imports the module that a domain names."""
    n = Builder()
    n.conv(1, 2)
    n.quant(0.1, 4)
    n.node("Custom", domain=domain, name="custom")
    n.head(72)
    before = set(sys.modules)
    require_refused(
        saved(tmp_path, n.model()),
        f"node_custom: 'Custom' of domain '{domain}'",
        UnsupportedNetworkError,
    )
    assert "antigravity" not in set(sys.modules) - before


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan"), float("inf")])
def test_a_scale_must_be_positive_and_finite(tmp_path, scale):
    n = Builder()
    n.conv(1, 2)
    n.qcdq(scale, 5, name="q")
    n.head(72)
    require_refused(saved(tmp_path, n.model()), "node_q: its scale must be positive and finite")


def test_weights_must_be_finite(tmp_path):
    n = Builder()
    n.node("Conv", n.constant(np.full((2, 1, 3, 3), np.nan, np.float32)), name="conv")
    n.qcdq(0.1, 5)
    n.head(32)
    require_refused(saved(tmp_path, n.model()), "node_conv: its constants hold NaN or infinity")


def test_a_cycle_is_a_value_that_no_earlier_node_computes(tmp_path):
    model = network().model()
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    require_refused(
        saved(tmp_path, model), "node_conv0: reads 'logits', which no earlier node computes"
    )


def grown(n):
    for _ in range(40):
        n.node("Concat", n.current, axis=1)


def doubled(n):
    """Two ways at every level, which a search along all of them would follow 2^40 times."""
    for _ in range(40):
        n.node("Concat", n.current, axis=1)
        n.node(
            "Slice", n.constant([0], np.int64), n.constant([1], np.int64), n.constant([1], np.int64)
        )


def expanded(n):
    n.node("Expand", n.constant([1, 1, 6, 6], np.int64))
    n.node("ReduceMean", axes=[1, 2, 3])
    n.node("Expand", n.constant([1, 2**23, 2**23, 2**23], np.int64))


def huge_constant(n):
    n.node("ConstantOfShape", reads=n.constant([2**30, 2**30], np.int64))
    n.node("Add", reads="x")


@pytest.mark.parametrize("bomb", [grown, expanded, huge_constant])
def test_small_files_that_would_fill_the_memory_are_refused(tmp_path, bomb):
    n = Builder()
    n.conv(1, 1)
    bomb(n)
    n.head(1)
    path = saved(tmp_path, n.model())
    start = time.perf_counter()
    with pytest.raises(
        (ModelFileError, UnsupportedNetworkError), match=r"above the limit|too large"
    ):
        read_onnx(path)
    assert time.perf_counter() - start < 5


def test_paths_that_double_at_every_node_take_no_time_that_doubles(tmp_path):
    n = Builder()
    n.node("Relu")
    doubled(n)
    n.qcdq(0.1, 5)
    n.head(36)
    start = time.perf_counter()
    assert read_onnx(saved(tmp_path, n.model())).is_quantized
    assert time.perf_counter() - start < 10


def test_a_file_of_huge_batches_is_refused(tmp_path):
    model = network().model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**20
    require_refused(
        saved(tmp_path, model), "is fixed to a batch of 1,048,576", UnsupportedNetworkError
    )


def test_a_name_that_is_no_text(tmp_path):
    path = tmp_path / "network.onnx"
    path.write_bytes(network().model().SerializeToString().replace(b"logits", b"log\xff\xfes"))
    require_refused(path, "is no text|no ONNX file")


def test_names_are_shown_without_control_characters(tmp_path):
    model = network().model()
    model.graph.node[0].name = "\x1b[31mred" + "e" * 1000
    model.graph.node[0].op_type = "Einsum\n"
    with pytest.raises(UnsupportedNetworkError) as raised:
        import_onnx(saved(tmp_path, model))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


def test_mutants_are_loaded_or_refused(tmp_path, seeds):
    path = tmp_path / "mutant.onnx"
    for number in range(60):
        path.write_bytes(onnx_mutants.mutant(seeds, number))
        found = onnx_mutants.outcome(path)
        assert found == "loaded" or found.split(": ", 1)[1].startswith(str(path)), found


@pytest.mark.slow
def test_2000_mutants_are_loaded_or_refused_in_bounded_memory_and_time(tmp_path, seeds):
    """In a process of its own, which a crash of a runtime would end."""
    for index, content in enumerate(seeds):
        (tmp_path / f"seed{index}.onnx").write_bytes(content)
    (tmp_path / "work").mkdir()
    script = Path(onnx_mutants.__file__)
    files = [str(tmp_path / f"seed{index}.onnx") for index in range(len(seeds))]
    process = subprocess.run(
        [sys.executable, str(script), "1", "0", "2000", *files],
        capture_output=True, text=True, cwd=tmp_path / "work", check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    assert process.returncode == 0, lines[-1]
    assert [line for line in lines if line.get("result", "").startswith("DEFECT")] == []
    assert sum(lines[-1]["found"].values()) == 2000
    assert lines[-1]["found"]["loaded"] > 100
    assert lines[-1]["peak_kib"] < 2 * 2**20
    assert os.listdir(tmp_path / "work") == ["mutant.onnx"]
