"""A network from another tool, beside that tool's own execution of it (design 2.6).

A reader of a format makes a module of the file: the same operations in PyTorch, with quantizers of ours in
the place of the format's. ``compare_with_runtime`` runs both. The module is then converted as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.datasets import PixelSource
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.imported_quantizers import imported_quantizer as imported_quantizer
from toolchain.importers.pixel_quantizers import fit_pixel_quantizers
from toolchain.importers.torch_module import Normalization, as_network_input, convert
from toolchain.method.graph_comparison import probe_pixels
from toolchain.method.guard import execute
from toolchain.method.quantizers import ActivationQuantizer, quantizers
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import Shape

RUNTIME_TOLERANCE = 1e-5
"""Share of the range of a tensor: what additions in float32, in another order, may change."""

NUM_OWN_SAMPLES = 16
"""Samples of the user's data set on which both are compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RuntimeValues:
    """What the format's own runtime computed for one batch.

    Attributes:
        logits: ``(B, ...)``.
        quantized: result of each quantizer, by its name in the module.
    """

    logits: np.ndarray
    quantized: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignNetwork:
    """A network that was read from a file or an object of another tool.

    Attributes:
        module: computes the same in float64, on a batch of any size. It has a quantizer for each quantized
            activation, each called once, or none at all if the network is a plain ReLU network.
        source: what it is, for people, such as ``ONNX with quantize, clip and dequantize, opset 17``.
        runtime: name and version of the judge, such as ``onnxruntime 1.32.0``.
        execute: runs the judge on float32 inputs, shape ``(B, *input_shape)``.
        input_shape: of one sample as the network takes it, without the batch axis and of any rank; None
            if it is not known. ``input_layout.for_images`` fits images to it.
        notes: what was left out or decided, one line each.
    """

    module: nn.Module
    source: str
    runtime: str
    execute: Callable[[np.ndarray], RuntimeValues]
    input_shape: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_quantized(self) -> bool:
        return bool(quantizers(self.module))


@dataclass(frozen=True, kw_only=True)
class RuntimeAgreement:
    """Numbers of a comparison that found no difference.

    Attributes:
        num_ties: counts that differ by one, because the value lies on a rounding boundary of the quantizer
            (ours rounds half up, most formats half to even) or within float32's rounding of it.
    """

    num_samples: int
    num_counts: int
    num_ties: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A layer graph that was made of a foreign network, and how far both agree."""

    graph: LayerGraph
    source: str
    runtime: str
    agreement: RuntimeAgreement
    notes: tuple[str, ...] = ()


def import_network(
    network: ForeignNetwork,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> Imported:
    """Compare a quantized network with its runtime, and convert it to a layer graph.

    Args:
        input_shape, max_value, normalization, samples: as ``convert`` takes them.

    Raises:
        UnsupportedNetworkError: the first quantizer or the logits in which both differ, or an operation
            that has no spiking form.
    """
    pixels = probe_pixels(input_shape, max_value)
    if samples is not None:
        pixels = np.concatenate([np.asarray(samples[:NUM_OWN_SAMPLES]), pixels])
    values = torch.from_numpy(pixels).to(torch.float64) / max_value
    inputs = as_network_input(values, normalization).to(torch.float32)
    pixel_notes = fit_pixel_quantizers(
        network.module,
        input_shape,
        max_value,
        None if normalization is None else normalization.mean,
        None if normalization is None else normalization.std,
    )
    agreement = compare_with_runtime(network, inputs)
    graph = convert(network.module, input_shape, max_value, normalization, samples=samples)
    return Imported(
        graph=graph,
        source=network.source,
        runtime=network.runtime,
        agreement=agreement,
        notes=(*network.notes, *pixel_notes),
    )


def compare_with_runtime(network: ForeignNetwork, inputs: Tensor) -> RuntimeAgreement:
    """Execute the module and the runtime on the same inputs, and compare every count and the logits.

    After its comparison, each quantizer of the module gives what the runtime gave. So the first quantizer
    that differs is the one that was read wrongly, and a tie does not affect later layers.

    Args:
        inputs: float32, ``(B, *input_shape)``.

    Raises:
        UnsupportedNetworkError: naming the first quantizer that differs, or the logits.
    """
    theirs = network.execute(inputs.numpy())
    comparison = _Comparison(network, theirs)
    handles = [
        quantizer.register_forward_hook(comparison.hook_of(name))
        for name, quantizer in quantizers(network.module).items()
    ]
    try:
        logits = execute(network.module, inputs.to(torch.float64))
    finally:
        for handle in handles:
            handle.remove()
    comparison.compare_logits(logits)
    return RuntimeAgreement(
        num_samples=len(inputs), num_counts=comparison.num_counts, num_ties=comparison.num_ties
    )


def _largest_of_each_channel(values: Tensor) -> Tensor:
    """Largest magnitude of each channel, in a shape that broadcasts; outliers of others do not count."""
    others = [axis for axis in range(values.ndim) if axis != 1]
    return values.abs().amax(dim=others, keepdim=True)


class _Comparison:
    def __init__(self, network: ForeignNetwork, theirs: RuntimeValues) -> None:
        self.network, self.theirs = network, theirs
        self.num_counts = self.num_ties = 0

    def hook_of(
        self, name: str
    ) -> Callable[[ActivationQuantizer, tuple[Any, ...], Tensor], Tensor]:
        def hook(quantizer: ActivationQuantizer, given: tuple[Any, ...], output: Tensor) -> Tensor:
            return self._compared(name, quantizer, given[0], output)

        return hook

    def _compared(
        self, name: str, quantizer: ActivationQuantizer, given: Tensor, output: Tensor
    ) -> Tensor:
        """Compare the counts of one quantizer; return those of the runtime, as values."""
        if name not in self.theirs.quantized:
            raise UnsupportedNetworkError(f"{name}: {self.network.runtime} does not compute it")
        theirs = torch.from_numpy(np.array(self.theirs.quantized[name], np.float64))
        if theirs.shape != output.shape:
            raise UnsupportedNetworkError(
                f"{name}: {self.network.runtime} gives values of shape {tuple(theirs.shape)}, the network "
                f"that was read from it {tuple(output.shape)}"
            )
        step, levels = (float(value.detach()) for value in quantizer.step_and_levels())
        counts, expected = (output / step).round(), (theirs / step).round()
        off_grid = (theirs / step - expected).abs().max()
        if not off_grid <= RUNTIME_TOLERANCE * (1 + levels):  # also when it is not a number
            raise UnsupportedNetworkError(
                f"{name}: {self.network.runtime} gives values that are no multiples of {step:g}, as this "
                f"quantizer's are"
            )
        self.num_counts += counts.numel()
        different = counts != expected
        if different.any():
            position = given / step
            slack = RUNTIME_TOLERANCE * (1 + _largest_of_each_channel(position))
            tied = ((position - 0.5) - (position - 0.5).round()).abs() <= slack
            wrong = different & ~(tied & ((counts - expected).abs() == 1))
            if wrong.any():
                at = tuple(int(i) for i in wrong.nonzero()[0])
                raise UnsupportedNetworkError(
                    f"{name}: {self.network.runtime} gives {float(expected[at]):g} steps of {step:g} where "
                    f"the network that was read from it gives {float(counts[at]):g}, at sample and neuron "
                    f"{at}"
                )
            self.num_ties += int(different.sum())
        return expected * step

    def compare_logits(self, ours: Tensor) -> None:
        theirs = torch.from_numpy(np.array(self.theirs.logits, np.float64))
        if theirs.numel() != ours.numel():
            raise UnsupportedNetworkError(
                f"{self.network.runtime} gives logits of shape {tuple(theirs.shape)}, the network that was "
                f"read from it {tuple(ours.shape)}"
            )
        theirs = theirs.reshape(ours.shape)
        scale = max(float(theirs.abs().max()), float(ours.abs().max()))
        largest = float((ours - theirs).abs().max())
        if not largest <= RUNTIME_TOLERANCE * scale:
            raise UnsupportedNetworkError(
                f"the logits differ from those of {self.network.runtime} by {largest:.3g} at most, in a "
                f"range of {scale:.3g}"
            )
