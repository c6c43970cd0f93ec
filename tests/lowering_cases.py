"""Loihi's integer widths, and the smallest network to lower to them."""

from __future__ import annotations

import numpy as np

from toolchain.networks.integer_network import IntegerWidths
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import Dense

LOIHI = IntegerWidths(
    weight_bits=8,
    max_exponent=13,
    state_bits=24,
    threshold_mantissa_bits=17,
    threshold_shift=6,
    bias_mantissa_bits=13,
    bias_exponent_bits=3,
)


def value(x):
    return np.full((1, 1, 1), float(x))


def two_neurons(weight=0.5, bias=0.25, alignment="average"):
    """input -> hidden (T = 4, alpha = 2) -> readout, one neuron each."""
    return LayerGraph.build(
        [
            InputPopulation(name="input", shape=(1, 1, 1), max_value=10, unit=0.1),
            SpikingPopulation(
                name="hidden",
                shape=(1, 1, 1),
                timesteps=4,
                threshold=value(2),
                initial_potential=value(1),
                bias=value(bias),
            ),
            ReadoutPopulation(name="readout", shape=(1, 1, 1), bias=value(1)),
        ],
        [
            Synapse(
                source="input",
                target="hidden",
                maps=(Dense(weight=np.array([[weight]])),),
                alignment=alignment,
            ),
            Synapse(source="hidden", target="readout", maps=(Dense(weight=np.array([[-3.0]])),)),
        ],
    )
