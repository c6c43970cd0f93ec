"""Read an ONNX file as a network of another tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from toolchain.datasets import PixelSource
from toolchain.errors import QacDeployError, UnsupportedNetworkError, errors_of_file
from toolchain.importers.foreign.foreign_network import ForeignNetwork, Imported
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.foreign.input_layout import for_images, image_shape_of, layout_of
from toolchain.importers.onnx_format.model_file import OnnxModel, load_model
from toolchain.importers.onnx_format.names import shown
from toolchain.importers.onnx_format.network import ReadGraph
from toolchain.importers.onnx_format.quantization import is_qonnx
from toolchain.importers.onnx_format.reading import read_graph
from toolchain.importers.onnx_format.runtimes import judge_of
from toolchain.importers.onnx_format.values import Facts, Grid
from toolchain.importers.torch_module import Normalization
from toolchain.networks.linear_maps import Shape
from toolchain.shell_words import shell_command


def read_onnx(
    path: Path | str,
    image: Shape | None = None,
    max_value: int | None = None,
    normalization: Normalization | None = None,
) -> ForeignNetwork:
    """Read an ONNX file: with quantize and dequantize nodes, with QONNX's Quant nodes, or with ReLUs alone.

    Args:
        image: (channels, height, width), for sizes that the file leaves open.
        max_value: largest pixel, if the input is known to be ``pixels / max_value``, or these normalized. A
            quantizer of it becomes what it does to pixels; one whose grid holds every pixel is left out.
        normalization: of ``pixels / max_value``.

    Raises:
        ModelFileError: the file is missing or damaged; names the node where there is one.
        UnsupportedNetworkError: naming the node that cannot be taken, and what to do.
    """
    model = load_model(path)
    with errors_of_file(path):
        shape = _sample_shape(model, image)
        facts = _input_facts(max_value, normalization)
        read = read_graph(model, shape, facts)
        any_input = not _has_input_type(model) and (
            facts == Facts() or _is_same(read, model, shape)
        )
        runtime, execute = judge_of(model, read, shape)
    return ForeignNetwork(
        module=read.network.eval(),
        source=_source(model, read),
        runtime=runtime,
        execute=execute,
        input_shape=shape,
        notes=tuple(read.notes),
        any_input=any_input,
    )


def _has_input_type(model: OnnxModel) -> bool:
    """Whether QONNX holds the input to a type, such as UINT4, and refuses other values."""
    return any(a.tensor_name == model.input.name for a in model.proto.graph.quantization_annotation)


def _is_same(read: ReadGraph, model: OnnxModel, shape: tuple[int, ...]) -> bool:
    """Whether a file is read in the same way when nothing is known of its input."""
    try:
        other = read_graph(model, shape, Facts())
    except QacDeployError:
        return False
    ours, theirs = read.network.state_dict(), other.network.state_dict()
    return (
        read.network.steps == other.network.steps
        and ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
    )


def import_onnx(
    path: Path | str,
    input_shape: Shape | None = None,
    max_value: int = 255,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> Imported:
    """Read a quantized network from an ONNX file, compare it with its runtime, and convert it.

    Args:
        input_shape: (channels, height, width) of an image; None takes it from the file.
        max_value, normalization, samples: as ``convert`` takes them.

    Raises:
        ModelFileError, UnsupportedNetworkError: as ``read_onnx``, or the first quantizer that differs from
            the runtime.
    """
    network = read_onnx(path, input_shape, max_value, normalization)
    assert network.input_shape is not None
    if not network.is_quantized:
        command = shell_command(
            "qac-deploy", "convert", Path(path), "--data", "NAME", "--mean-timesteps", 4
        )
        raise UnsupportedNetworkError(
            f"{path}: has no quantizers, which set the timesteps; convert it with post-training conversion, "
            f"{command}"
        )
    with errors_of_file(path):
        image = input_shape or image_shape_of(network.input_shape)
        network = for_images(network, image)
        return import_network(network, image, max_value, normalization, samples=samples)


def _sample_shape(model: OnnxModel, image: Shape | None) -> tuple[int, ...]:
    """Shape of the input without the batch, with open sizes taken from an image."""
    declared = model.input.sizes[1:]
    name = shown(model.input.name)
    if not declared:
        raise UnsupportedNetworkError(
            f"input '{name}' has no axes beside the batch; the network must take images or vectors"
        )
    sizes = tuple(size for size in declared if size is not None)
    if len(sizes) == len(declared):
        return sizes
    if image is None:
        raise UnsupportedNetworkError(
            f"input '{name}' has open sizes beside the batch; say the shape of an image, for example "
            f"(3, 32, 32), or export it with fixed sizes"
        )
    channels, height, width = image
    first, last = (channels, height, width), (height, width, channels)
    options: dict[int, list[tuple[int, ...]]] = {
        3: [first, last],
        2: [(height, width), (channels, width)],
        1: [(channels * height * width,)],
    }
    for option in options.get(len(declared), []):
        if all(size in (None, own) for size, own in zip(declared, option, strict=True)):
            layout_of(option, image)
            return option
    raise UnsupportedNetworkError(
        f"input '{name}' of shape {declared} cannot hold an image of shape {tuple(image)}"
    )


def _input_facts(max_value: int | None, normalization: Normalization | None) -> Facts:
    """Bounds of the input, and its grid if that starts at 0."""
    if normalization is None:
        if max_value is None:
            return Facts()
        grid = Grid(scale=1 / max_value, levels=max_value)
        return Facts(low=0.0, high=1.0, grid=grid, of_pixels=True)
    if max_value is None:
        return Facts()
    mean, std = np.array(normalization.mean, float), np.array(normalization.std, float)
    if mean.size == 0 or std.size not in (1, mean.size) or not (std > 0).all():
        return Facts()  # an error of its own later
    low, high = float((-mean / std).min()), float(((1 - mean) / std).max())
    facts = Facts(low=low, high=high, of_pixels=True)
    if not mean.any() and (std == std[0]).all():
        grid = Grid(scale=1 / (max_value * float(std[0])), levels=max_value)
        facts = replace(facts, low=0.0, grid=grid)
    return facts


def _source(model: OnnxModel, read: ReadGraph) -> str:
    if any(is_qonnx(node) for node in model.nodes):
        kind = "QONNX"
    elif read.observed:
        kind = "ONNX with quantize, clip and dequantize"
    else:
        kind = "ONNX without quantizers"
    return f"{kind}, opset {model.opset}"
