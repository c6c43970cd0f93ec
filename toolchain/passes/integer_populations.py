"""A population with its integers, once they are chosen."""

from __future__ import annotations

import numpy as np

from toolchain.networks.integer_network import IntegerReadout, IntegerSpiking
from toolchain.networks.layer_graph import ReadoutPopulation, SpikingPopulation


def integer_readout(
    population: ReadoutPopulation, unit: np.ndarray, bias: np.ndarray
) -> IntegerReadout:
    """The readout with an integer bias.

    Args:
        unit: real value of one integer of the accumulator.
    """
    return IntegerReadout(
        name=population.name,
        shape=population.shape,
        bias=bias,
        # the integer logit is a sum over the readout's steps, the float one their mean (Eq. 15)
        unit=float(unit.max()) * (1 / population.timesteps),
        timesteps=population.timesteps,
        outputs=population.outputs,
    )


def integer_spiking(
    population: SpikingPopulation, threshold: np.ndarray, bias: np.ndarray
) -> IntegerSpiking:
    """The population with its integers; V0 is the share of Theta that v(0) is of v_th."""
    share = population.initial_potential / population.threshold
    start = np.floor(share * threshold).astype(np.int64)
    return IntegerSpiking(
        name=population.name,
        shape=population.shape,
        timesteps=population.timesteps,
        threshold=threshold,
        initial_potential=np.clip(start, 0, threshold - 1),
        bias=bias,
        role=population.role,
    )
