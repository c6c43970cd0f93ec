"""What ``convert`` takes a file for, and the options that belong to it."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from deploy.convert.options import ConvertOptions, normalization_of, shape_of
from deploy.convert.recognise import Format, recognise
from toolchain.errors import ModelFileError, OptionError
from toolchain.importers.torch_module import Normalization


def state_dict(path):
    torch.save({"weight": torch.zeros(2)}, path)


def exported(path):
    torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(2),)), path)


def onnx_file(path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 2]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "network", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph), path)


def nir_file(path):
    nir = pytest.importorskip("nir")
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(weight=np.ones((2, 2)))))


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (state_dict, Format.STATE_DICT),
        (exported, Format.EXPORTED),
        (onnx_file, Format.ONNX),
        (nir_file, Format.NIR),
    ],
)
@pytest.mark.parametrize("name", ["network", "network.pth"])
def test_a_file_is_recognised_by_its_content(tmp_path, write, expected, name):
    write(tmp_path / name)
    assert recognise(tmp_path / name) is expected


def zip_of(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "")

    return write


def content(data):
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (content(b""), "is empty"),
        (content(b"hello, world"), "of no known format; convert reads ONNX files"),
        (content(pickle.dumps([1], protocol=2)), "is a pickle, which can run code"),
        (content(pickle.dumps([1], protocol=4)), "is a pickle, which can run code"),
        (content(pickle.dumps([1], protocol=5)), "is a pickle, which can run code"),
        (content(b"PK\x03\x04 and no more"), "is a damaged zip archive"),
        (content(b"\x1c\0\0\0TFL3"), "is a TensorFlow Lite file; convert it with tf2onnx"),
        (content(b"GGUF\x03"), "is a GGUF file"),
        (zip_of("a/data.pkl", "a/code/x.py"), "is a TorchScript archive"),
        (zip_of("config.json", "model.weights.h5"), "is a Keras file"),
        (zip_of("word/document.xml"), "is a zip archive of no known kind"),
        (lambda path: path.mkdir(), "is a folder; name the file of a network"),
        (lambda path: None, "no such file"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    ],
)
def test_other_files_are_refused_with_what_to_do(tmp_path, write, message):
    path = tmp_path / "network"
    write(path)
    with pytest.raises(ModelFileError, match=message) as error:
        recognise(path)
    assert str(path) in str(error.value)


def test_a_saved_model_of_tensorflow_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ModelFileError, match="convert a TensorFlow SavedModel with tf2onnx"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("options", "file_format", "message"),
    [
        ({"levels": 4}, Format.ONNX, "--levels belongs to a state_dict or training checkpoint, and this"),
        ({"timesteps": 4}, Format.EXPORTED, "--timesteps belongs to a NIR graph, and this is an exported"),
        ({"mean_timesteps": 4}, Format.NIR, "--mean-timesteps belongs to an ONNX file or an exported"),
        ({"input_shape": (1, 2, 3)}, Format.STATE_DICT, "--input-shape belongs to an ONNX file or"),
    ],
)  # fmt: skip
def test_an_option_of_another_format_is_refused(options, file_format, message):
    with pytest.raises(OptionError, match=message):
        ConvertOptions(**options).require_of(file_format)


def test_normalizations():
    assert normalization_of(None, 255) is None
    assert normalization_of("none", 255) is None
    assert normalization_of("pixels", 16) == Normalization(mean=(0.0,), std=(1 / 16,))
    assert normalization_of("0.5,0.25/2,4", 255) == Normalization(mean=(0.5, 0.25), std=(2.0, 4.0))
    assert normalization_of("imagenet", 255).mean == (0.485, 0.456, 0.406)
    for text in ("mnist", "0.5", "0.5/a", "1/2/3"):
        with pytest.raises(
            OptionError, match=r"--normalize must be one of cifar-10, .*, or MEANS/STDS"
        ):
            normalization_of(text, 255)


def test_shapes():
    assert shape_of(None) is None
    assert shape_of("3x32x16") == shape_of("3,32,16") == (3, 32, 16)
    for text in ("3x32", "3x0x3", "axbxc", "-1x2x3", "3x3x3x3"):
        with pytest.raises(OptionError, match=f"must be CHANNELSxHEIGHTxWIDTH, .* not '{text}'"):
            shape_of(text)
