"""Networks in a few lines: what a test does not name has the plainest value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hw_models.target_description import load_target
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import Dense

ONE = (1, 1, 1)
WIDTHS = replace(load_target("loihi-sim").widths, distinct_thresholds=None)
"""Integers of loihi-sim, without its limit of distinct thresholds."""


def per_channel(values, channels=1):
    """(channels, 1, 1): one number for all channels, or one per channel; arrays of three axes as they are."""
    values = np.asarray(values)
    if values.ndim == 3:
        return values
    return values.reshape(-1, 1, 1) * np.ones((channels, 1, 1), values.dtype)


def dense(weights):
    """A dense map of int8 weights of shape (targets, sources)."""
    return Dense(weight=np.array(weights, np.int8))


def float_dense(weights):
    return Dense(weight=np.array(weights, float))


def spiking(name, shape=ONE, timesteps=1, threshold=1, initial=0, bias=0, kind=IntegerSpiking):
    return kind(
        name=name,
        shape=shape,
        timesteps=timesteps,
        threshold=per_channel(threshold, shape[0]),
        initial_potential=per_channel(initial, shape[0]),
        bias=per_channel(bias, shape[0]),
    )


def connect(source, target, *maps, exponent=0, alignment="average"):
    return IntegerSynapse.of_maps(
        source=source, target=target, maps=maps, exponent=exponent, alignment=alignment
    )


def network_of(*parts, image=ONE, max_value=1, readout="logits", classes=1, bias=0, steps=1):
    """The spiking populations and synapses among ``parts``, from ``input`` to a readout."""
    return IntegerNetwork.build(
        [
            IntegerInput(name="input", shape=image, max_value=max_value, unit=1.0),
            *(part for part in parts if isinstance(part, IntegerSpiking)),
            IntegerReadout(
                name=readout,
                shape=(classes, 1, 1),
                bias=per_channel(bias, classes),
                unit=1.0,
                timesteps=steps,
            ),
        ],
        [part for part in parts if isinstance(part, IntegerSynapse)],
    )


def float_spiking(name, shape=ONE, timesteps=1, threshold=1.0, bias=0.0):
    """Neurons that start at half their threshold."""
    initial = np.asarray(threshold) / 2
    return spiking(name, shape, timesteps, threshold, initial, bias, kind=SpikingPopulation)


def float_connect(source, target, *maps, alignment="average"):
    return Synapse(source=source, target=target, maps=maps, alignment=alignment)


def float_network_of(
    *parts, image=ONE, max_value=1, unit=1.0, readout="logits", classes=1, bias=0.0
):
    """The spiking populations and synapses among ``parts``, from ``input`` to a readout."""
    return LayerGraph.build(
        [
            InputPopulation(name="input", shape=image, max_value=max_value, unit=unit),
            *(part for part in parts if isinstance(part, SpikingPopulation)),
            ReadoutPopulation(name=readout, shape=(classes, 1, 1), bias=per_channel(bias, classes)),
        ],
        [part for part in parts if isinstance(part, Synapse)],
    )
