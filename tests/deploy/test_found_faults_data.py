"""Data sets that were read wrongly, or at any price: through ``train`` and what follows it."""

from __future__ import annotations

import gzip
import json
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from toolchain.files.checkpoint import load_checkpoint

TRAIN = ("train", "--arch", "lenet", "--width", "0.1", "--epochs", "1", "--out", "model.pt")


def refused(process, *words):
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    for word in words:
        assert word in process.stderr


def write_arrays(path, shape, dtype=np.uint8, high=256, classes=2, num=40):
    random = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_images"] = random.integers(0, high, (num, *shape)).astype(dtype)
        arrays[f"{part}_labels"] = np.arange(num) % classes
    np.savez(path, **arrays)


def write_folder(root, image, others=()):
    """One class of the image, and one of its opposite."""
    for part in ("train", "test"):
        for name in ("dark", "light"):
            folder = root / part / name
            folder.mkdir(parents=True)
            Image.fromarray(image if name == "dark" else np.iinfo(image.dtype).max - image).save(
                folder / "0.png"
            )
            for index, content in enumerate(others):
                (folder / f"x{index}.png").write_bytes(content)
    return root


def test_a_folder_of_grey_images_of_16_bits_keeps_them(qac_deploy, tmp_path):
    write_folder(tmp_path / "own", np.arange(64, dtype=np.uint16).reshape(8, 8) * 900)
    process = qac_deploy(
        *TRAIN[:-2], "--arch", "vgg-9", "--width", "0.02", "--data", "own", "--out", "model.pt"
    )
    assert process.returncode == 0, process.stderr
    assert "pixels 0..65535, 2 classes" in process.stderr
    graph = load_checkpoint(tmp_path / "model.pt").graph
    assert graph.input.max_value == 65_535


@pytest.mark.slow
def test_a_folder_of_images_is_found_again_by_compile(qac_deploy, tmp_path):
    write_folder(tmp_path / "own", np.arange(64, dtype=np.uint8).reshape(8, 8))
    arguments = ("--data", "own", "--arch", "resnet-mini")  # at 224x224, no core has LeNet's axons
    assert qac_deploy(*TRAIN, *arguments).returncode == 0
    report = json.loads(qac_deploy("compile", "model.pt", "--json").stdout)
    assert (report["data"], report["data_note"], report["fidelity"]["samples"]) == ("own", None, 2)


def test_the_last_axis_of_an_array_may_hold_the_channels(qac_deploy, tmp_path):
    write_arrays(tmp_path / "own.npz", (28, 28, 3))
    process = qac_deploy(*TRAIN, "--data", "own.npz")
    assert process.returncode == 0, process.stderr
    assert load_checkpoint(tmp_path / "model.pt").graph.input.shape == (3, 28, 28)


def test_a_last_batch_of_one_image_and_batch_norm_of_one_pixel(qac_deploy, tmp_path):
    write_arrays(tmp_path / "own.npz", (8, 8), num=65)
    options = ("--arch", "resnet-18", "--width", "0.05", "--batch-size", "64", "--epochs", "1")
    process = qac_deploy("train", "--data", "own.npz", *options)
    assert process.returncode == 0, process.stderr


def png_of(width, height):
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 2) * height))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        content += (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )
    return content


def idx(shape, data=b"", *, compressed=True):
    content = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + data
    return gzip.compress(content, 1) if compressed else content


def large_image(folder):
    write_folder(folder, np.zeros((8, 8), np.uint8), [png_of(65_500, 1)])


def large_idx(folder):
    folder.mkdir()
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(
            idx((8_290_816, 28, 28), bytes(10**6))
        )
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx((8_290_816,), bytes(10**6)))


def large_label(folder):
    write_arrays(folder.with_suffix(".npz"), (8, 8), num=40)
    with np.load(folder.with_suffix(".npz")) as stored:
        arrays = dict(stored)
    arrays["train_labels"][3] = 10**6
    np.savez(folder.with_suffix(".npz"), **arrays)


BOMBS = {
    "an image of one row": (
        large_image,
        "own",
        ("x0.png", "65,500 x 1 pixels", "above the limit of"),
    ),
    "an array of gigabytes": (large_idx, "own", ("own/t", "bytes", "above the limit of")),
    "a label of a million": (large_label, "own.npz", ("own.npz", "1,000,001 classes")),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_takes_gigabytes_is_refused_at_once(qac_deploy, tmp_path, bomb):
    write, name, words = BOMBS[bomb]
    write(tmp_path / "own")
    begin = time.monotonic()
    refused(qac_deploy(*TRAIN, "--data", name, timeout=60), *words)
    assert time.monotonic() < begin + 20


def test_postscript_under_the_name_of_an_image_is_not_given_to_ghostscript(qac_deploy, tmp_path):
    """Pillow would start ``gs``, which executes the file."""
    marker = tmp_path / "executed"
    (tmp_path / "bin").mkdir()
    for name in ("gs", "gsx"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    postscript = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    write_folder(tmp_path / "own", np.zeros((8, 8), np.uint8), [postscript])
    search = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    process = qac_deploy(*TRAIN, "--data", "own", PATH=search, timeout=60)
    refused(process, "x0.png", "JPEG, PNG, BMP, WEBP")
    assert not marker.exists()
