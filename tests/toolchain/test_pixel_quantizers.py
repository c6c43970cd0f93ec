"""Quantizers of a network's input, which is pixels or normalized pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx_networks import Builder

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import RuntimeValues
from toolchain.importers.foreign.import_network import import_network, with_pixel_quantizers
from toolchain.importers.foreign.runtime_comparison import (
    compare_with_runtime,
)
from toolchain.importers.onnx_format import import_onnx, read_onnx
from toolchain.importers.torch_module import Normalization, as_network_input
from toolchain.method.quantizers import quantizers

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
OF_INTEGERS = Normalization(mean=(128 / 255,), std=(128 / 255,))
"""The input of pixels p is then (p - 128) / 128."""


def timesteps(imported):
    return {p.name: p.timesteps for p in imported.graph.spiking}


def read(path, normalization=None, channels=1):
    """T of each quantizer of a file that was compared with its runtime, and the notes."""
    shape = channels, 6, 6
    network = with_pixel_quantizers(
        read_onnx(path, shape, 255, normalization), shape, 255, normalization
    )
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, *shape))) / 255.0
    inputs = as_network_input(pixels.to(torch.float64), normalization).to(torch.float32)
    assert compare_with_runtime(network, inputs).num_counts
    found = {name: int(q.step_and_levels()[1]) for name, q in quantizers(network.module).items()}
    return found, network.notes


def qcdq(scale, **options):
    return lambda n, name: n.qcdq(scale, name=name, **options)


def quant(scale, bits, **options):
    return lambda n, name: n.quant(scale, bits, name=name, **options)


def saved(folder, quantize, *, channels=1, before=(), again=()):
    """A file whose input is quantized, behind some operations on constants, and perhaps again."""
    result = Builder(("batch", channels, 6, 6))
    for operation, constant in before:
        result.node(operation, result.constant(constant, np.float32))
    quantize(result, "pixels")
    for operation, attributes in again:
        result.node(operation, **attributes)
        quantize(result, "again")
    result.conv(channels, 4)
    if result.domains:
        result.quant(0.1, 3, name="q")
    else:
        result.qcdq(0.1, 7, name="q")
    result.head(144)
    return result.save(folder)


@pytest.mark.parametrize(
    ("quantize", "expected"),
    [(qcdq(0.0186, zero=114), 255), (quant(0.0186, 8, signed=1), 114 + 127)],
    ids=["QDQ", "QONNX"],
)
def test_a_quantizer_of_normalized_pixels_counts_from_its_lowest_level(
    tmp_path, quantize, expected
):
    imported = import_onnx(saved(tmp_path, quantize, channels=3), normalization=IMAGENET)
    assert timesteps(imported) == {"node_pixels.counts": expected, "node_q": 7}
    assert imported.agreement.num_counts == 12 * (3 + 4) * 36
    (note,) = imported.notes[:1]
    assert f"population with T = {expected}, whose counts are the levels above the lowest" in note
    assert "quantize pixels that are not normalized, with the step 1 / 255" in note


@pytest.mark.parametrize(
    "quantize",
    [
        qcdq(1 / 128, dtype=np.int8),
        qcdq(1 / 128, zero=128),
        quant(1 / 128, 8, signed=1),
    ],
    ids=["int8", "uint8", "QONNX"],
)
def test_a_signed_grid_that_holds_every_pixel_needs_no_neurons(tmp_path, quantize):
    found, notes = read(saved(tmp_path, quantize), OF_INTEGERS)
    assert found == {"node_q": 7}
    assert "so it became a factor of 1" in notes[0]


def test_a_factor_and_an_offset_for_each_channel(tmp_path):
    """Each channel's grid holds every second pixel level."""
    quantize = qcdq([1 / 128, 1 / 64, 1 / 32], dtype=np.int8, axis=1)
    normalization = Normalization(
        mean=tuple(128 / 255 for _ in range(3)), std=(128 / 255, 64 / 255, 32 / 255)
    )
    found, _ = read(saved(tmp_path, quantize, channels=3), normalization, 3)
    assert found == {"node_q": 7}
    quantize = qcdq([0.0186, 0.0192, 0.0201], dtype=np.int8, axis=1)
    found, _ = read(saved(tmp_path, quantize, channels=3), IMAGENET, 3)
    assert found == {"node_pixels.counts": 114 + 127, "node_q": 7}


@pytest.mark.parametrize(
    "before",
    [
        [("Sub", 0.5), ("Div", 0.25)],
        [("Mul", [[[4.0] * 6]]), ("Add", -2.0)],
    ],
)
def test_a_file_that_normalizes_pixels_itself(tmp_path, before):
    found, _ = read(saved(tmp_path, qcdq(1 / 60, zero=120), before=before))
    assert found == {"node_pixels.counts": 240, "node_q": 7}


@pytest.mark.parametrize(
    "again",
    [
        ("Transpose", {"perm": [0, 1, 3, 2]}),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ],
)
def test_the_same_quantizer_behind_a_movement_adds_no_second_population(tmp_path, again):
    path = saved(tmp_path, qcdq(0.0186, zero=114), channels=3, again=[again])
    found, notes = read(path, IMAGENET, 3)
    assert found == {"node_pixels.counts": 255, "node_q": 7}
    assert (
        notes[0] == "node_again: every value that it gets is on its grid already; it was left out"
    )


def test_a_quantizer_of_pixels_that_are_not_negative_keeps_its_levels_from_0(tmp_path):
    path = saved(tmp_path, qcdq(1 / 127, dtype=np.int8))
    found, notes = read(path)
    assert found == {"node_pixels": 127, "node_q": 7}
    assert "T = 127; calibrate it on the whole range of pixels" in notes[0]
    path = saved(tmp_path, qcdq(1 / 16, dtype=np.uint8))  # a pixel reaches 16 of its levels
    assert read(path)[0] == {"node_pixels": 16, "node_q": 7}


def test_a_clip_of_the_integers_of_pixels(tmp_path):
    network = Builder()
    names = network.constant(1 / 255, np.float32), network.constant(0, np.uint8)
    network.node("QuantizeLinear", *names, name="pixels")
    network.node("Clip", network.constant(9, np.uint8), network.constant(200, np.uint8))
    network.node("DequantizeLinear", *names)
    network.conv(1, 4)
    network.qcdq(0.1, 7, name="q")
    network.head(144)
    assert read(network.save(tmp_path))[0] == {"node_pixels.counts": 191, "node_q": 7}


def test_roundings_of_normalized_pixels(tmp_path):
    found = {}
    for rounding in ("FLOOR", "HALF_UP"):
        path = saved(tmp_path, quant(0.0186, 8, signed=1, rounding=rounding), channels=3)
        found[rounding], _ = read(path, IMAGENET, 3)
    assert found["FLOOR"]["node_pixels.counts"] == 114 + 127
    assert found["HALF_UP"]["node_pixels.counts"] == 114 + 127
    for rounding in ("DOWN", "UP"):  # the level 0 of DOWN is twice as wide as others
        path = saved(tmp_path, quant(0.0186, 8, signed=1, rounding=rounding), channels=3)
        with pytest.raises(
            UnsupportedNetworkError, match=r"node_pixels: .* does not round as neurons do"
        ):
            read(path, IMAGENET, 3)


@pytest.mark.parametrize("when", ["images", "stimuli"])
def test_a_runtime_with_another_level_or_other_logits_is_noticed(tmp_path, when):
    network = read_onnx(
        saved(tmp_path, qcdq(0.0186, zero=114), channels=3), (3, 6, 6), 255, IMAGENET
    )
    given = []

    def execute(inputs, stimuli=None):
        found = network.execute(inputs, stimuli)
        quantized = dict(found.quantized)
        if stimuli is None and when == "images":
            quantized["node_pixels"] = quantized["node_pixels"] - np.float32(0.0186) * 3
        if stimuli is not None:
            given.append(stimuli["node_pixels"])
            assert "node_pixels" in found.stimulated
        logits = found.logits + (stimuli is not None and when == "stimuli")
        return RuntimeValues(logits=logits, quantized=quantized, stimulated=found.stimulated)

    reason = "node_pixels.counts: .* steps of 1 where" if when == "images" else "the logits differ"
    with pytest.raises(UnsupportedNetworkError, match=reason):
        import_network(replace(network, execute=execute), (3, 6, 6), 255, IMAGENET)
    if when == "stimuli":
        (values,) = given
        levels = values / np.float32(0.0186)
        assert (levels.min().round(), levels.max().round()) == (-114, 141)
