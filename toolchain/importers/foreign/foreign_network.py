"""A network from another tool, beside that tool's own execution of it (design 2.6).

A reader of a format makes a module of the file: the same operations in PyTorch, with quantizers of ours in
the place of the format's. ``runtime_comparison`` runs both, and ``import_network`` converts the module as any
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from toolchain.importers.foreign.pixel_quantizers import (
    PixelQuantizer,
)
from toolchain.method.quantizers import quantizers
from toolchain.networks.layer_graph import LayerGraph


@dataclass(frozen=True, kw_only=True, eq=False)
class RuntimeValues:
    """What the format's own runtime computed for one batch.

    Attributes:
        logits: ``(B, ...)``.
        quantized: result of each quantizer, by its name in the module.
        stimulated: quantizers whose stimulus was given on in place of that result.
        remarks: what else the runtime shows on this batch, one line each.
    """

    logits: np.ndarray
    quantized: Mapping[str, np.ndarray]
    stimulated: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


class Judge(Protocol):
    """The format's own runtime, on a network in evaluation mode."""

    def __call__(
        self, inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        """Execute a batch.

        Args:
            inputs: float32, ``(B, *input_shape)``.
            stimuli: what quantizers give to whatever reads them, by name, in place of what they compute. It
                is on their grid. What they compute is returned nevertheless.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignNetwork:
    """A network that was read from a file or an object of another tool.

    Attributes:
        module: computes the same in float64, on a batch of any size. It has a quantizer for each quantized
            activation, each called once, or none at all if the network is a plain ReLU network.
        source: what it is, for people, such as ``ONNX with quantize, clip and dequantize, opset 17``.
        runtime: name and version of the judge, such as ``onnxruntime 1.32.0``.
        execute: the judge.
        input_shape: of one sample as the network takes it, without the batch axis and of any rank; None
            if it is not known. ``input_layout.for_images`` fits images to it.
        notes: what was left out or decided, one line each.
        any_input: whether the module computes the same on every input, and not on images of pixels alone,
            because nothing in it follows from what pixels are.
    """

    module: nn.Module
    source: str
    runtime: str
    execute: Judge
    input_shape: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    any_input: bool = False

    @property
    def is_quantized(self) -> bool:
        of_pixels = (isinstance(part, PixelQuantizer) for part in self.module.modules())
        return bool(quantizers(self.module)) or any(of_pixels)


@dataclass(frozen=True, kw_only=True)
class RuntimeAgreement:
    """Numbers of a comparison that found no difference.

    Attributes:
        num_ties: counts that differ by one, because the value lies on a rounding boundary of the quantizer
            (ours rounds half up, most formats half to even) or within float32's rounding of it.
        remarks: of the runtime, one line each.
    """

    num_samples: int
    num_counts: int
    num_ties: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A layer graph that was made of a foreign network, and how far both agree."""

    graph: LayerGraph
    source: str
    runtime: str
    agreement: RuntimeAgreement
    notes: tuple[str, ...] = ()
