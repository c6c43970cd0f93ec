"""From a trained PyTorch network to a layer graph, compared with the network by execution.

``exported_program`` makes the network a functional graph, ``network_reader`` turns it into a layer graph, and
``graph_comparison`` runs both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from operator import index

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from toolchain.datasets import PixelSource
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_program import exported, runnable
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.network_reader import ReadNetwork, read_network
from toolchain.importers.operations.table import KNOWN
from toolchain.method.graph_comparison import compare_with_module
from toolchain.method.guard import TOLERANCE, evaluation_copy, execute
from toolchain.method.quantizers import quantizers
from toolchain.method.tracing import require_plain_module
from toolchain.networks.layer_graph import InputPopulation, LayerGraph
from toolchain.networks.linear_maps import Shape


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Input of a network: ``(pixels / max_value - mean) / std``, with one mean and std per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def convert(
    module: nn.Module | ExportedProgram,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> LayerGraph:
    """Convert a trained quantized network, in evaluation mode, to a layer graph.

    The network is executed and compared with the layer graph, population by population, on random
    pixels, on extremes and on ``samples``. A warning counts the spike counts that differ by rounding alone.

    Args:
        module: takes ``pixels / max_value`` of shape ``(B, *input_shape)``, returns logits. It stays as
            it is, including its mode. A program that ``torch.export`` made of such a module, with a dynamic
            batch axis, serves as well.
        max_value: largest pixel integer.
        normalization: applied to the input before the module; it becomes weights and biases.
        samples: some pixels of a data set to compare on, ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: naming the module or operation that has no spiking form and its replacement,
            or the first population that differs from the module.
    """
    return convert_with_calls(module, input_shape, max_value, normalization, samples=samples).graph


def convert_with_calls(
    module: nn.Module | ExportedProgram,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> ReadNetwork:
    """Convert as ``convert`` does; return also which call of a quantizer each population was."""
    image = _image(input_shape, max_value)
    input_shape = image.shape
    if isinstance(module, ExportedProgram):
        judge = runnable(module).to("cpu", torch.float64)
    else:
        require_plain_module(module)
        judge = evaluation_copy(module)
    _require_finite(judge)
    for name, quantizer in quantizers(judge).items():
        if (note := quantizer.cap_note()) is not None:
            warnings.warn(f"{name}: {note}", stacklevel=2)
    as_input = _normalizing(normalization, input_shape[0])
    execute(judge, as_input(torch.zeros(1, *input_shape, dtype=torch.float64)))
    program = exported(judge, input_shape, KNOWN)
    read = read_network(program, image, _first_values(image, normalization))
    if not read.graph.spiking:
        raise UnsupportedNetworkError(
            "the network has no quantizer between its input and its output; replace its activations with "
            "quantize_activations, and train it"
        )
    if read.left_out:
        warnings.warn(
            f"the network ends in {read.left_out}, which was left out: it does not change the order of the "
            f"logits",
            stacklevel=2,
        )
    agreement = compare_with_module(
        judge, read.graph, read.calls, as_input, _OUTPUT_FUNCTIONS[read.left_out], samples
    )
    if agreement.num_ties:
        warnings.warn(
            f"{agreement.num_ties:,} of {agreement.num_counts:,} spike counts lie on a rounding boundary of "
            f"their quantizer, within {TOLERANCE:g}, and differ by one from those of the network",
            stacklevel=2,
        )
    return read


def _image(input_shape: Shape, max_value: int) -> InputPopulation:
    """The input population of some pixels.

    Raises:
        UnsupportedNetworkError: the shape or the largest pixel is not what it must be.
    """
    try:
        channels, height, width = (index(size) for size in input_shape)
        largest = index(max_value)
    except (TypeError, ValueError):
        channels = height = width = largest = 0
    if min(channels, height, width, largest) < 1:
        raise UnsupportedNetworkError(
            f"input_shape must be (channels, height, width), and max_value the largest pixel, all positive "
            f"integers, not {input_shape} and {max_value}; pass for example (3, 32, 32) and 255"
        )
    return InputPopulation(
        name="input", shape=(channels, height, width), max_value=largest, unit=1 / largest
    )


def as_network_input(values: Tensor, normalization: Normalization | None) -> Tensor:
    """Take ``pixels / max_value``, float64 of shape ``(B, C, H, W)``, to the input of a network."""
    return _normalizing(normalization, values.shape[1])(values)


def _normalizing(
    normalization: Normalization | None, channels: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Function from ``pixels / max_value`` to the input of the network."""
    if normalization is None:
        return lambda values: values
    mean, std = (
        torch.tensor(field, dtype=torch.float64).reshape(-1, 1, 1)
        for field in (normalization.mean, normalization.std)
    )
    if not len(mean) == len(std) == channels or not (std > 0).all():
        raise UnsupportedNetworkError(
            f"normalization needs a mean and a positive std for each of {channels} channels, not "
            f"{normalization.mean} and {normalization.std}"
        )
    return lambda values: (values - mean) / std


def _require_finite(module: nn.Module) -> None:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UnsupportedNetworkError(
                f"'{name}' holds NaN or infinity; convert an earlier state of the network"
            )


def _first_values(image: InputPopulation, normalization: Normalization | None) -> LinearExpression:
    value = LinearExpression.of_population(image.name, image.shape)
    if normalization is None:
        return value
    mean, std = (np.array(v, float) for v in (normalization.mean, normalization.std))
    return value.scaled(1 / std).shifted(-mean / std)


_OUTPUT_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda logits: logits,
    "softmax": lambda logits: torch.softmax(logits, 1),
    "log_softmax": lambda logits: torch.log_softmax(logits, 1),
}
