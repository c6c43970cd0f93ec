"""From a NIR graph to a layer graph, compared with the graph's own execution."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.datasets import PixelSource
from toolchain.errors import DataError, ModelFileError, OptionError, UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import Imported
from toolchain.importers.foreign.import_network import NUM_OWN_SAMPLES
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.nir_format.comparison import RUNTIME, compare_with_graph
from toolchain.importers.nir_format.conventions import convention_of
from toolchain.importers.nir_format.hdf5_file import plain_content, read_hdf5
from toolchain.importers.nir_format.network import read_network
from toolchain.importers.nir_format.nodes import Port
from toolchain.importers.nir_format.own_export import own_export
from toolchain.importers.nir_format.populations import populations_of
from toolchain.importers.tensor_views import feature_map_shape
from toolchain.importers.torch_module import Normalization
from toolchain.method.graph_comparison import probe_pixels
from toolchain.networks.layer_graph import InputPopulation
from toolchain.networks.layer_graph.structure import MAX_PIXEL, MAX_TIMESTEPS
from toolchain.networks.linear_maps import Shape

_SOFT_RESET = (
    "reset: by subtraction of v_threshold (soft), which the format cannot say; a network that was trained "
    "with a reset to v_reset fires otherwise"
)


def import_nir(
    path_or_graph: Path | str | Any,
    *,
    reset: str = "soft",
    timesteps: int | None = None,
    dt: float | None = None,
    input_shape: Shape | None = None,
    max_value: int = 255,
    normalization: Normalization | None = None,
    samples: PixelSource | None = None,
) -> Imported:
    """Import a NIR graph of integrate-and-fire neurons without leak.

    The pixels, divided by ``max_value``, are the input in each of T steps. Every population runs the same T
    steps from v = 0. What the writer does not say is in the ``notes`` of the result.

    Args:
        path_or_graph: a file that ``nir.write`` wrote, or a ``nir.NIRGraph``.
        reset: ``soft`` subtracts the threshold, which the format cannot say.
        timesteps: T, which the format does not hold, except in the metadata of `qac-deploy export`.
        dt: length of a step, in the unit of the graph's r and tau. None takes that of the writer.
        input_shape: (channels, height, width) of an image, if the Input is flat or has no shape.
        max_value: largest pixel.
        normalization: of the pixels, before the network.
        samples: some pixels of a data set to compare on, ``(B, C, H, W)``.

    Raises:
        ModelFileError: the file is damaged; the message names the node and field.
        UnsupportedNetworkError: a node or structure has no exact form, or the layer graph differs from the
            graph's own execution.
        OptionError: an argument is missing or impossible.
    """
    label, record = _content_of(path_or_graph)
    _check_reset(label, reset)
    network = read_network(label, record)
    convention = convention_of(network, dt)
    if (own := own_export(network)) is not None:
        timesteps, max_value, normalization = own.options(
            label, timesteps, max_value, normalization
        )
        convention = own.convention(convention)
    timesteps = _checked_timesteps(label, timesteps)
    if not 1 <= max_value <= MAX_PIXEL:
        raise OptionError(f"max_value must be from 1 to {MAX_PIXEL:,}, not {max_value}")
    port = network.nodes[network.input]
    assert isinstance(port, Port)
    own_shape, image_shape, shape_notes = _shapes(label, port.shape, input_shape)
    image = InputPopulation(
        name="input", shape=image_shape, max_value=max_value, unit=1 / max_value
    )
    normalization = _per_channel(normalization, image_shape[0])
    pixels = _pixels(image, samples)
    first = _first_values(image, normalization)
    read = populations_of(network, convention, image, first, own_shape, timesteps)
    agreement = compare_with_graph(read, convention, pixels, normalization, own_shape)
    given = "pixels" if own else f"pixels / {max_value}"
    if normalization is not None and not own:
        given = f"normalized {given}"
    notes = [
        *convention.notes,
        *([] if own else [_SOFT_RESET]),
        f"input: {given} in each of {timesteps} steps; each spike is passed on in its own step",
        *shape_notes,
        *read.notes,
    ]
    if exact := [name for name, margin in read.margins.items() if margin > 0]:
        notes.append(
            f"{', '.join(exact)}: fires above its threshold and not at it, exactly, as its potentials are "
            f"multiples of one number; the threshold is raised by less than that"
        )
    if agreement.num_ties:
        notes.append(
            f"ties: {agreement.num_ties:,} of {agreement.num_counts:,} potentials lie at the threshold, "
            f"within rounding, where one of the two networks fires and the other does not; such a neuron may "
            f"fire a step earlier or later than in its writer's simulator"
        )
    return Imported(
        graph=read.graph,
        source=f"NIR graph, written by {convention.writer}",
        runtime=RUNTIME,
        agreement=agreement,
        notes=tuple(notes),
    )


def _content_of(path_or_graph: Path | str | Any) -> tuple[str, Mapping[str, object]]:
    """Name and content of a graph in a file or in memory."""
    if not isinstance(path_or_graph, Path | str):
        if not hasattr(path_or_graph, "to_dict"):
            raise TypeError(
                f"import_nir takes a path or a nir.NIRGraph, not {type(path_or_graph).__name__}"
            )
        return "the NIR graph", plain_content(path_or_graph.to_dict())
    path = Path(path_or_graph)
    root = read_hdf5(path)
    graph = root.get("node")
    if isinstance(graph, dict):
        return str(path), graph
    if "layer" in root:
        raise ModelFileError(f"{path}: is a NetX file of lava-dl, which has no float network")
    if root.keys() & {"model_weights", "layer_names", "layers"}:
        raise ModelFileError(f"{path}: is a Keras file; convert it with tf2onnx")
    raise ModelFileError(
        f"{path}: has no group 'node', so it is not a NIR graph; write it with nir.write"
    )


def _check_reset(label: str, reset: str) -> None:
    if reset == "zero":
        raise UnsupportedNetworkError(
            f"{label}: a reset to zero forgets by how much a neuron exceeded its threshold, and has no exact "
            f"form here; train with a reset by subtraction (snnTorch: reset_mechanism='subtract', "
            f"SpikingJelly: v_reset=None, sinabs: MembraneSubtract), and import with reset='soft'"
        )
    if reset != "soft":
        raise OptionError(f"reset must be soft or zero, not '{reset}'")


def _checked_timesteps(label: str, timesteps: int | None) -> int:
    if timesteps is None:
        raise OptionError(
            f"{label}: NIR has no number of timesteps; pass the one that the network was trained with, such "
            f"as timesteps=16 (--timesteps 16)"
        )
    if not 1 <= timesteps <= MAX_TIMESTEPS:
        raise OptionError(f"timesteps must be from 1 to {MAX_TIMESTEPS:,}, not {timesteps}")
    return timesteps


def _shapes(
    label: str, own: tuple[int, ...] | None, image: Shape | None
) -> tuple[tuple[int, ...], Shape, list[str]]:
    """Shape of the Input and of an image, and what was assumed."""
    if image is not None and (len(image) != 3 or min(image) < 1):
        raise OptionError(
            f"input_shape must be (channels, height, width), such as (1, 28, 28), not {image}"
        )
    if own is None:
        if image is None:
            raise OptionError(
                f"{label}: the Input has no shape; pass that of an image, such as input_shape=(1, 28, 28)"
            )
        return image, image, [f"the Input has no shape: {_times(image)} as given"]
    notes = []
    if len(own) == 4 and own[0] == 1:
        own = own[1:]
        notes.append("the first axis of the Input, of size 1, is taken as the batch")
    if len(own) > 3:
        raise UnsupportedNetworkError(
            f"{label}: the Input takes values of shape {_times(own)} in each step; only images, "
            f"(channels, height, width), and vectors are read"
        )
    if image is None:
        return own, feature_map_shape(own), notes
    if prod(own) != prod(image):
        raise OptionError(
            f"{label}: the Input takes {_times(own)} values, but input_shape is {_times(image)}"
        )
    if own != tuple(image):
        notes.append(f"images of {_times(image)} are the Input of {_times(own)} in row-major order")
    return own, image, notes


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _per_channel(normalization: Normalization | None, channels: int) -> Normalization | None:
    """The same with one mean and std for each channel, where there is one for all."""
    if normalization is None or len(normalization.mean) != 1 or len(normalization.std) != 1:
        return normalization
    return Normalization(mean=normalization.mean * channels, std=normalization.std * channels)


def _pixels(image: InputPopulation, samples: PixelSource | None) -> np.ndarray:
    pixels = probe_pixels(image.shape, image.max_value)
    if samples is None:
        return pixels
    if samples.shape[1:] != image.shape:
        raise DataError(
            f"samples have shape {samples.shape[1:]}, but images of the network are {image.shape}; choose "
            f"another data set, or pass input_shape"
        )
    return np.concatenate([np.asarray(samples[:NUM_OWN_SAMPLES]), pixels])


def _first_values(image: InputPopulation, normalization: Normalization | None) -> LinearExpression:
    """What the network is given, as an expression of pixels / max_value."""
    value = LinearExpression.of_population(image.name, image.shape)
    if normalization is None:
        return value
    mean, std = (np.array(field, float) for field in (normalization.mean, normalization.std))
    return value.scaled(1 / std).shifted(-mean / std)
