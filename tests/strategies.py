"""Hypothesis strategies: random integer networks, chains, joins and forks, max pools, hard currents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from builders import Maximum, max_pooled
from hypothesis import strategies as st

from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    chain_output_shape,
    window_positions,
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a layer can read: a population, or a maximum, which is a sum over several.

    Attributes:
        parts: names of populations, each with maps to apply before those of the reader.
    """

    shape: Shape
    parts: Sequence[tuple[str, tuple[LinearMap, ...]]]

    @staticmethod
    def of(population) -> Source:
        return Source(shape=population.shape, parts=[(population.name, ())])

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.parts}


@st.composite
def integer_networks(
    draw, *, alignments=("average",), any_potential=False, extended=True, max_pools=None
):
    """A random verified network of one to five spiking populations with one or two inputs each.

    Args:
        extended: also draw resampling, selection of channels, dilation, exact max pooling and readouts that
            are maps; without it, the maps are convolutions, dense maps, scales and sum pools.
        max_pools: whether the first population is pooled exactly and read by the next; by default one
            population in six is, if ``average`` is among the alignments, which a maximum needs.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    max_value = draw(st.sampled_from([1, 16, 255]))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    populations = [IntegerInput(name="input", shape=shape, max_value=max_value, unit=1.0)]
    sources = [Source.of(populations[0])]
    synapses: list[IntegerSynapse] = []
    may_pool = extended and "average" in alignments
    for index in range(draw(st.integers(2 if max_pools else 1, 5))):
        name = f"layer{index}"
        source = sources[-1] if max_pools and index == 1 else draw(st.sampled_from(sources))
        maps = draw(_maps(rng, source.shape, extended))
        alignment = draw(st.sampled_from(alignments))
        target_shape = chain_output_shape(maps, source.shape)
        synapses += _synapses(draw, source, name, maps, alignment)
        if other := _second_source(draw, sources, source, target_shape):
            joining = _adapter(draw, rng, other.shape, target_shape)
            synapses += _synapses(draw, other, name, joining, alignment)
        populations.append(draw(_spiking(rng, name, target_shape, any_potential)))
        sources.append(Source.of(populations[-1]))
        pools_it = (
            index == 0 if max_pools else may_pool and index < 4 and not draw(st.integers(0, 5))
        )
        if pools_it:
            maximum = draw(_maximum(rng, populations[-1]))
            populations += maximum.populations
            synapses += maximum.synapses
            sources.append(Source(shape=maximum.shape, parts=maximum.parts))
    alignment = draw(st.sampled_from(alignments))
    steps = 1 if alignment == "average" else draw(st.integers(1, 4))
    shape, readers = draw(_readout(rng, populations, synapses, extended))
    for name, maps in readers.items():
        synapses.append(_synapse(draw, name, "logits", maps, alignment))
    bias = rng.integers(-500, 500, (shape[0], 1, 1))
    populations.append(
        IntegerReadout(name="logits", shape=shape, bias=bias, unit=1.0, timesteps=steps)
    )
    return verify_integer_network(IntegerNetwork.build(populations, synapses))


@st.composite
def _readout(draw, rng, populations, synapses, extended):
    """Shape of a readout, and the maps from each population that nothing reads."""
    unread = [p for p in populations if p.name not in {s.source for s in synapses}]
    if extended and len(unread) == 1 and draw(st.booleans()):
        source = unread[0].shape
        maps = draw(_maps(rng, source, extended))
        return chain_output_shape(maps, source), {unread[0].name: maps}
    classes = draw(st.integers(1, 4))
    return (classes, 1, 1), {
        p.name: (Dense(weight=_weights(rng, (classes, int(np.prod(p.shape))))),) for p in unread
    }


@st.composite
def _maximum(draw, rng, population) -> Maximum:
    """Exact max pooling with any window that fits."""
    windows = []
    for size in population.shape[1:]:
        kernel = draw(st.integers(1, min(3, size)))
        windows.append((kernel, draw(st.integers(1, 3)), draw(st.integers(0, kernel // 2))))
    kernel, stride, padding = zip(*windows, strict=True)
    weight, exponent = 1 << draw(st.integers(0, 6)), draw(st.integers(0, 3))
    threshold = population.timesteps * weight << exponent
    initial = int(rng.integers(0, threshold))
    return max_pooled(population, kernel, stride, padding, weight, exponent, initial)


def random_pixels(network: IntegerNetwork, seed: int, samples: int = 3) -> np.ndarray:
    """Random pixels for a network; the first sample is all zero, the second saturated."""
    source = network.populations[0]
    assert isinstance(source, IntegerInput)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, source.max_value + 1, (samples, *source.shape))
    pixels[0] = 0
    if samples > 1:
        pixels[1] = source.max_value
    return pixels


def _weights(rng, shape):
    return rng.integers(-127, 128, shape, dtype=np.int8)


@st.composite
def _maps(draw, rng, shape: Shape, extended: bool) -> tuple[LinearMap, ...]:
    maps: list[LinearMap] = []
    if draw(st.booleans()):
        maps.append(draw(_unweighted(rng, shape, extended)))
        shape = chain_output_shape(maps, shape)
    match draw(st.sampled_from(["conv", "conv", "depthwise", "dense", "scale"])):
        case "conv":
            maps.append(draw(_convolution(rng, shape, extended, groups=1)))
        case "depthwise":
            maps.append(draw(_convolution(rng, shape, extended, groups=shape[0])))
        case "dense":
            maps.append(Dense(weight=_weights(rng, (draw(st.integers(1, 6)), int(np.prod(shape))))))
        case "scale":
            maps.append(Scale(weight=_weights(rng, (shape[0],))))
    shape = chain_output_shape(maps, shape) if len(maps) == 1 else maps[-1].output_shape(shape)
    if draw(st.integers(0, 4)) == 0:
        maps.append(draw(_unweighted(rng, shape, extended)))
    return tuple(maps)


@st.composite
def _unweighted(draw, rng, shape: Shape, extended: bool) -> LinearMap:
    if not extended:
        return draw(_pool(shape, extended))
    match draw(st.sampled_from(["pool", "pool", "copy", "sum", "channels"])):
        case "pool":
            return draw(_pool(shape, extended))
        case "copy":  # at most one source for each target, as of crops, padding and upsampling
            rows, columns = (
                np.eye(size + 1, size, dtype=np.int64)[rng.integers(0, size + 1, targets)]
                for size, targets in ((n, draw(st.integers(1, 7))) for n in shape[1:])
            )
        case "sum":
            rows, columns = (
                rng.integers(0, draw(st.sampled_from([2, 4])), (draw(st.integers(1, 4)), n))
                for n in shape[1:]
            )
        case "channels":
            low, high = draw(st.sampled_from([(-1, shape[0]), (0, shape[0]), (0, 1)]))
            if draw(st.booleans()):  # a slice, or the place of a part in a concatenation
                around = draw(st.integers(0, 1)), draw(st.integers(0, 2))
                channels = np.pad(np.arange(max(low, 0), high), around, constant_values=-1)
            else:
                channels = rng.integers(low, high, draw(st.integers(1, 5)))
            return SelectChannels(channels=channels)
    return Resample(rows=rows, columns=columns)


@st.composite
def _window(draw, size: int) -> tuple[int, int, int]:
    kernel = draw(st.integers(1, min(3, size)))
    padding = draw(st.integers(0, kernel // 2))
    stride = draw(st.integers(1, 2))
    assert window_positions(size, kernel, stride, padding) >= 1
    return kernel, stride, padding


@st.composite
def _pool(draw, shape: Shape, extended: bool) -> SumPool:
    rows, columns = draw(_window(shape[1])), draw(_window(shape[2]))
    kernel, stride, padding = zip(rows, columns, strict=True)
    if extended and not draw(st.integers(0, 4)):
        padding = tuple(draw(st.integers(0, size)) for size in kernel)
    return SumPool(kernel=kernel, stride=stride, padding=padding)


@st.composite
def _convolution(draw, rng, shape: Shape, extended: bool, groups: int) -> Convolution:
    rows, columns = draw(_window(shape[1])), draw(_window(shape[2]))
    kernel, stride, padding = zip(rows, columns, strict=True)
    dilation = (1, 1)
    if extended and draw(st.booleans()):
        padding = tuple(draw(st.integers(0, k)) for k in kernel)
        widest = [
            max(1, (size + 2 * margin - 1) // max(k - 1, 1))
            for size, margin, k in zip(shape[1:], padding, kernel, strict=True)
        ]
        dilation = tuple(draw(st.integers(1, min(3, most))) for most in widest)
    out = groups * draw(st.integers(1, 2)) if groups > 1 else draw(st.integers(1, 4))
    weight = _weights(rng, (out, shape[0] // groups, *kernel))
    return Convolution(
        weight=weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


@st.composite
def _spiking(draw, rng, name: str, shape: Shape, any_potential: bool) -> IntegerSpiking:
    per_neuron = draw(st.booleans())
    value_shape = shape if per_neuron else (shape[0], 1, 1)
    threshold = rng.integers(1, draw(st.sampled_from([3, 300, 30_000])) + 1, value_shape)
    low, high = (-2 * threshold, 3 * threshold) if any_potential else (0 * threshold, threshold)
    bias_limit = draw(st.sampled_from([1, 200, 20_000]))
    return IntegerSpiking(
        name=name,
        shape=shape,
        timesteps=draw(st.integers(1, 6)),
        threshold=threshold,
        initial_potential=rng.integers(low, high),
        bias=rng.integers(-bias_limit, bias_limit + 1, (shape[0], 1, 1)),
    )


def _synapse(draw, source, target, maps, alignment) -> IntegerSynapse:
    exponent = draw(st.integers(0, 3))
    return IntegerSynapse.of_maps(
        source=source, target=target, maps=maps, exponent=exponent, alignment=alignment
    )


def _synapses(draw, source: Source, target, maps, alignment) -> list[IntegerSynapse]:
    """One from each part of a source, with the same exponent."""
    exponent = draw(st.integers(0, 3))
    return [
        IntegerSynapse.of_maps(
            source=name,
            target=target,
            maps=(*before, *maps),
            exponent=exponent,
            alignment=alignment,
        )
        for name, before in source.parts
    ]


def _second_source(draw, sources, first, target_shape):
    """Another source to join in: any one of the target's own feature-map size, or none."""
    fitting = [
        s
        for s in sources
        if s is not first and s.shape[1:] == target_shape[1:] and not s.names & first.names
    ]
    return draw(st.sampled_from([None, *fitting])) if fitting else None


def _adapter(draw, rng, shape: Shape, target_shape: Shape) -> tuple[LinearMap, ...]:
    """Identity where the channels agree, else a 1x1 convolution."""
    if shape == target_shape and draw(st.booleans()):
        return (Scale(weight=_weights(rng, (shape[0],))),)
    return (Convolution(weight=_weights(rng, (target_shape[0], shape[0], 1, 1))),)
