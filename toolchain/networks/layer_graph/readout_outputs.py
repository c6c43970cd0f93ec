"""The outputs of a network: parts of the readout's logits."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from toolchain.networks.layer_graph.populations import ReadoutOutput
from toolchain.networks.linear_maps import Shape


class Readout(Protocol):
    """What float and integer readouts share."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def outputs(self) -> tuple[ReadoutOutput, ...]: ...


def has_classes(readout: Readout) -> bool:
    """Whether the largest logit of a sample is its class: one output, with several channels of one pixel."""
    channels, *size = readout.shape
    return channels > 1 and size == [1, 1] and not readout.outputs


def readout_outputs(readout: Readout) -> tuple[ReadoutOutput, ...]:
    """The outputs of a readout: those it names, or all of it as one with its own name."""
    channels, height, width = readout.shape
    whole = ReadoutOutput(name=readout.name, start=0, stop=channels, height=height, width=width)
    return readout.outputs or (whole,)


def split_outputs(readout: Readout, logits: np.ndarray) -> dict[str, np.ndarray]:
    """Logits of each output by its name.

    Args:
        logits: shape ``(samples, channels * height * width)`` of the readout, or with four dimensions.

    Returns:
        Views of shape ``(samples, channels, height, width)`` of the output.
    """
    maps = logits.reshape(len(logits), *readout.shape)
    return {
        output.name: maps[:, output.start : output.stop, : output.height, : output.width]
        for output in readout_outputs(readout)
    }
