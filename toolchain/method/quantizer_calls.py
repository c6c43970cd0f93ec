"""What ties the populations of a layer graph to the calls of a network's quantizers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.networks.linear_maps import Pair, window_positions


@dataclass(frozen=True, kw_only=True)
class MaxWindow:
    """Geometry of a max pool along rows and columns; its padding never wins."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def output_size(self, axis: int, size: int) -> int:
        """Positions along one axis."""
        return window_positions(
            size, self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizerCall:
    """One call of a quantizer, and the population that it became.

    Attributes:
        module: path of the quantizer in the network.
        repeat: number of the call among those of this quantizer, from 0.
        order: neuron at each place of the quantizer's tensor in row-major order; None if they are the same.
        window: max pooling in front of the quantizer, which follows the population; None if there is none.
    """

    module: str
    repeat: int
    population: str
    order: np.ndarray | None = None
    window: MaxWindow | None = None
