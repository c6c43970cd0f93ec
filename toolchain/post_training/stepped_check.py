"""The closed form compared with the simulation of every step, which is its judge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.float_snn import input_current, run_float_snn
from toolchain.method.guard import TOLERANCE
from toolchain.networks.layer_graph import LayerGraph, SpikingPopulation
from toolchain.post_training.closed_form import GraphTensors, run_pass


def compare_with_stepped(graph: LayerGraph, pixels: np.ndarray) -> int:
    """Require that the closed form counts the spikes that a simulation in float64 counts.

    Each population reads the simulated counts of its sources.

    Args:
        pixels: integers, ``(B, C, H, W)``.

    Returns:
        Number of counts that differ by one because the membrane potential ends on the threshold, within
        rounding.

    Raises:
        UnsupportedNetworkError: another count differs; names the population.
    """
    run = run_float_snn(graph, pixels, with_counts=True)
    num_ties = 0

    def compared(population: SpikingPopulation, current: Tensor) -> Tensor:
        nonlocal num_ties
        threshold, initial = (
            torch.from_numpy(v) for v in (population.threshold, population.initial_potential)
        )
        position = (initial + population.timesteps * current) / threshold
        counts = position.floor().clamp(0, population.timesteps)
        simulated = torch.from_numpy(run.counts[population.name]).to(torch.float64)
        different = counts != simulated
        slack = TOLERANCE * population.timesteps * (1 + position.abs())
        tied = ((position - position.round()).abs() <= slack) & ((counts - simulated).abs() == 1)
        if (different & ~tied).any():
            raise UnsupportedNetworkError(
                f"{population.name}: {int((different & ~tied).sum()):,} spike counts of the simulation "
                f"differ from the closed form"
            )
        num_ties += int(different.sum())
        return simulated * (threshold / population.timesteps)

    images = input_current(graph, pixels, torch.float64)
    with torch.inference_mode():
        run_pass(graph, GraphTensors.of(graph, torch.float64), images, compared, every=True)
    return num_ties
