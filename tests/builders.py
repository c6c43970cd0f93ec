"""Networks in a few lines: what a test does not name has the plainest value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Pair,
    Resample,
    Scale,
    Shape,
    chain_output_shape,
    window_taps,
)

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


@dataclass(frozen=True, kw_only=True)
class Maximum:
    """The populations of an exact max pool.

    Attributes:
        shape: of the pooled feature map.
        parts: names of populations, each with the maps to apply to its counts; their sum is the maximum.
    """

    shape: Shape
    populations: Sequence[IntegerSpiking]
    synapses: Sequence[IntegerSynapse]
    parts: Sequence[tuple[str, tuple[Resample, ...]]]

    def connect(self, target, *maps, exponent=0, alignment="average"):
        """Synapses that apply the same maps to every part."""
        return [
            connect(name, target, *selected, *maps, exponent=exponent, alignment=alignment)
            for name, selected in self.parts
        ]


def max_pooled(
    source, kernel: Pair, stride: Pair, padding: Pair = (0, 0), weight=1, exponent=0, initial=0
):
    """Exact max pooling of a spiking population: first along each row, then along columns.

    The k-th population on an axis counts ``clip(N_k - M, 0, T)`` for the k-th value of a window and the
    maximum M of those before it, so that ``M`` and this count add up to the next maximum.
    """
    channels = source.shape[0]
    (up, left), (down, right) = padding, stride
    populations: list[IntegerSpiking] = []
    synapses: list[IntegerSynapse] = []

    def difference(size: Pair, at: Pair, **geometry) -> Convolution:
        """The value at one tap of a window minus that at its first."""
        taps = np.zeros((channels, 1, *size), np.int8)
        taps[:, :, 0, 0], taps[:, :, at[0], at[1]] = -weight, weight
        return Convolution(weight=taps, groups=channels, **geometry)

    def compare(axis: str, number: int, differences: dict[str, Convolution]) -> str:
        """A population that reads these, and minus each of those before it on its axis."""
        name = f"{source.name}.maximum.{axis}{number}"
        shapes = {p.name: p.shape for p in [source, *populations]}
        shape = chain_output_shape([differences[source.name]], source.shape)
        threshold = source.timesteps * weight << exponent
        population = spiking(name, shape, source.timesteps, threshold, initial)
        earlier = [f"{source.name}.maximum.{axis}{before}" for before in range(1, number)]
        minus = Scale(weight=np.full(channels, -weight, np.int8))
        maps = {**differences, **dict.fromkeys(earlier, minus)}
        assert all(m.output_shape(shapes[s]) == shape for s, m in maps.items())
        synapses.extend(connect(s, name, m, exponent=exponent) for s, m in maps.items())
        populations.append(replace(population, role="maximum"))
        return name

    across = [
        compare(
            "column",
            tap,
            {
                source.name: difference(
                    (1, kernel[1]), (0, tap), stride=(1, right), padding=(0, left)
                )
            },
        )
        for tap in range(1, kernel[1])
    ]
    along = {"stride": (down, 1), "padding": (up, 0)}
    below = [
        compare(
            "row",
            tap,
            {
                source.name: difference(kernel, (tap, 0), stride=stride, padding=padding),
                **{name: difference((kernel[0], 1), (tap, 0), **along) for name in across},
            },
        )
        for tap in range(1, kernel[0])
    ]
    rows, columns = (
        window_taps(size, *window)[0]
        for size, *window in zip(source.shape[1:], kernel, stride, padding, strict=True)
    )
    unchanged = np.eye(len(columns), dtype=np.int64)
    return Maximum(
        shape=(channels, len(rows), len(columns)),
        populations=populations,
        synapses=synapses,
        parts=[
            (source.name, (Resample(rows=rows, columns=columns),)),
            *((name, (Resample(rows=rows, columns=unchanged),)) for name in across),
            *((name, ()) for name in below),
        ],
    )


def network_of(*parts, image=ONE, max_value=1, readout="logits", classes=1, bias=0, steps=1):
    """The spiking populations and synapses among ``parts``, from ``input`` to a readout.

    Args:
        classes: a number, or the shape of a readout that is a map.
    """
    shape = classes if isinstance(classes, tuple) else (classes, 1, 1)
    return IntegerNetwork.build(
        [
            IntegerInput(name="input", shape=image, max_value=max_value, unit=1.0),
            *(part for part in parts if isinstance(part, IntegerSpiking)),
            IntegerReadout(
                name=readout,
                shape=shape,
                bias=per_channel(bias, shape[0]),
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
