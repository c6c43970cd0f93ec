"""What each source neuron adds to one neuron: a synapse is linear, so its gradient is the weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sim.exact.linear_kernels import exact_arithmetic
from sim.torch_maps import transmit
from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse
from toolchain.networks.integer_network.network import step_frames


@dataclass(frozen=True, kw_only=True, eq=False)
class Contributions:
    """What each neuron of a source adds to the input of one neuron in a window, all steps together.

    Attributes:
        values: spikes (or pixels) of each source neuron that the window reads, int64 ``(C, H, W)``; an
            averaging synapse reads its whole count in every step.
        weights: what one of them adds, 2^exponent included, int64 ``(C, H, W)``.
    """

    values: np.ndarray
    weights: np.ndarray

    @property
    def amounts(self) -> np.ndarray:
        """``values * weights``; their sum is the window's input through the synapse."""
        return self.values * self.weights


def contributions(
    network: IntegerNetwork, synapse: IntegerSynapse, neuron: int, frames: np.ndarray
) -> Contributions:
    """The contributions to one neuron of the target.

    Args:
        neuron: position in row-major order ``(C, H, W)``.
        frames: values that the source sends in each of its steps, ``(T, C, H, W)``.
    """
    target = network[synapse.target]
    if synapse.alignment == "average":
        values = frames.sum(axis=0, dtype=np.int64) * target.timesteps
    else:
        read = [frame for frame in step_frames(network, synapse) if frame is not None]
        values = frames[read].sum(axis=0, dtype=np.int64)
    return Contributions(values=values, weights=_weights(network, synapse, neuron))


def _weights(network: IntegerNetwork, synapse: IntegerSynapse, neuron: int) -> np.ndarray:
    with exact_arithmetic(), torch.inference_mode(False), torch.enable_grad():
        source = torch.zeros((1, *network[synapse.source].shape), dtype=torch.float64)
        source.requires_grad_()
        (gradient,) = torch.autograd.grad(transmit(synapse, source).flatten()[neuron], source)
    return gradient[0].to(torch.int64).numpy()
