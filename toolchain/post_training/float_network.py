"""The user's float network as a layer graph, compared with the network by execution (design 2.6)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from toolchain.datasets import PixelSource
from toolchain.errors import DataError, UnsupportedNetworkError
from toolchain.importers.exported_format.program_activations import quantize_program
from toolchain.importers.exported_format.program_modules import module_of
from toolchain.importers.exported_program import exported
from toolchain.importers.foreign.foreign_network import ForeignNetwork
from toolchain.importers.foreign.import_network import NUM_OWN_SAMPLES
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime
from toolchain.importers.operations.table import KNOWN
from toolchain.importers.torch_module import Normalization, as_network_input, convert_with_calls
from toolchain.method.float_snn import input_current
from toolchain.method.graph_comparison import probe_pixels
from toolchain.method.guard import difference_of, evaluation_copy, execute
from toolchain.method.quantize_activations import balance_thresholds
from toolchain.method.quantizers import FixedTimestepQuantizer, quantizers
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import Shape
from toolchain.post_training.closed_form import GraphTensors, relu_with_clips, run_pass

_TIMESTEPS_WHILE_READ = 15  # of each quantizer, while the graph is compared with the module


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatGraph:
    """A plain ReLU network as a layer graph.

    Attributes:
        graph: its populations and synapses; T and thresholds are yet to be chosen.
        clips: largest activation of the populations that the network clips, as ReLU6 does.
        source: what it was read from, for people.
        judge: whose execution it was compared with.
        num_compared: samples on which the logits were equal.
    """

    graph: LayerGraph
    clips: dict[str, float]
    source: str
    judge: str
    num_compared: int
    notes: tuple[str, ...] = field(default=())


def read_float_network(
    network: ForeignNetwork | nn.Module | ExportedProgram,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None,
    samples: PixelSource,
) -> FloatGraph:
    """Read a plain ReLU network, and compare it three times.

    The module is compared with the format's runtime, its quantized copy with the layer graph population by
    population, and the logits of the layer graph as a float ANN with those of the module.

    Args:
        samples: pixels of training images, ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: it has quantizers already, it has an operation without a spiking form, or
            something differs.
        DataError: the images have another shape than the network's input.
    """
    own = np.asarray(samples[:NUM_OWN_SAMPLES])
    pixels = np.concatenate([own, probe_pixels(input_shape, max_value)])
    values = torch.from_numpy(pixels).to(torch.float64) / max_value
    inputs = as_network_input(values, normalization)
    source, judge = "PyTorch module", "PyTorch"
    notes: tuple[str, ...] = ()
    module: nn.Module | ExportedProgram
    match network:
        case ForeignNetwork():
            module, notes = network.module, network.notes
            source, judge = network.source, network.runtime
            if network.input_shape not in (None, tuple(input_shape)):
                raise DataError(
                    f"the images have shape {tuple(input_shape)}, but the network's input is "
                    f"{network.input_shape}; choose another data set"
                )
        case ExportedProgram():
            module, source = network, "exported program"
        case _:
            module = network
    if isinstance(module, nn.Module) and quantizers(module):
        raise UnsupportedNetworkError(
            f"the network has {len(quantizers(module))} quantized activations already; convert it as it is, "
            f"without --mean-timesteps"
        )
    if isinstance(network, ForeignNetwork):
        compare_with_runtime(network, inputs.to(torch.float32))
        module = exported(
            evaluation_copy(network.module), input_shape, KNOWN
        )  # whatever a reader wrote
    prepared = _with_quantizers(module, inputs[: len(own)])
    if isinstance(module, ExportedProgram):
        module = module_of(module)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = convert_with_calls(prepared, input_shape, max_value, normalization, samples=own)
    names = {call.population: call.module for call in read.calls}
    found = quantizers(prepared)
    clips = {
        population: float(clip)
        for population, name in names.items()
        if (clip := found[name].clip) is not None
    }
    _compare_as_float(read.graph, clips, module, pixels, inputs, read.left_out)
    return FloatGraph(
        graph=read.graph,
        clips=clips,
        source=source,
        judge=judge,
        num_compared=len(pixels),
        notes=(
            *notes,
            *(str(w.message) for w in caught if "rounding boundary" not in str(w.message)),
        ),
    )


def _with_quantizers(module: nn.Module | ExportedProgram, inputs: Tensor) -> nn.Module:
    """A copy with quantizers that clip at the largest activation, so that all levels are reached."""

    def make_quantizer() -> FixedTimestepQuantizer:
        return FixedTimestepQuantizer(_TIMESTEPS_WHILE_READ)

    quantized = quantize_program(module, make_quantizer).eval().double()
    balance_thresholds(quantized, inputs, 1.0)
    return quantized


def _compare_as_float(
    graph: LayerGraph,
    clips: dict[str, float],
    module: nn.Module,
    pixels: np.ndarray,
    inputs: Tensor,
    left_out: str,
) -> None:
    """Require that the graph with ReLUs gives the logits of the module.

    Raises:
        UnsupportedNetworkError: they differ.
    """
    expected = execute(evaluation_copy(module), inputs)
    images = input_current(graph, pixels, torch.float64)
    with torch.inference_mode():
        tensors = GraphTensors.of(graph, torch.float64)
        logits = run_pass(graph, tensors, images, relu_with_clips(clips)).logits
    if left_out:
        logits = {"softmax": torch.softmax, "log_softmax": torch.log_softmax}[left_out](logits, 1)
    if graph.readout.outputs:
        return  # several outputs share one canvas; each was compared in its quantized form
    if (found := difference_of(expected, logits, 0.0)) is not None:
        raise UnsupportedNetworkError(
            f"the layer graph of {type(module).__name__} gives other logits than the network: {found}"
        )
