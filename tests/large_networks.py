"""Networks that are large in one respect each, for the tests and measurements of time and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from builders import float_connect, float_network_of, float_spiking
from maximum_networks import depthwise

from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Resample,
    Scale,
    SelectChannels,
)

IMAGE = (1, 8, 8)  # of the data set digits
WIDTH = 16


def chain(layers: int, *, timesteps: int = 2, width: int = WIDTH) -> LayerGraph:
    """Dense layers of equal width."""
    rng = np.random.default_rng(0)
    names = [f"layer{number}" for number in range(layers)]
    shape = (width, 1, 1)
    parts = [float_spiking(name, shape, timesteps, 1.0, 0.1) for name in names]
    sources = ["input", *names]
    sizes = [64, *[width] * layers]
    parts += [
        float_connect(source, target, _dense(rng, width, size))
        for source, target, size in zip(sources, names, sizes, strict=False)
    ]
    return _digits(*parts, float_connect(names[-1], "logits", _dense(rng, 10, width)))


def chain_of_convolutions(layers: int) -> LayerGraph:
    rng = np.random.default_rng(0)
    names = [f"layer{number}" for number in range(layers)]
    parts = [float_spiking(name, (4, 8, 8), 2, 1.0, 0.1) for name in names]
    for number, (source, target) in enumerate(zip(["input", *names], names, strict=False)):
        weight = rng.normal(size=(4, 4 if number else 1, 3, 3)) / 4
        parts.append(float_connect(source, target, Convolution(weight=weight, padding=(1, 1))))
    return _digits(*parts, float_connect(names[-1], "logits", _dense(rng, 10, 256)))


def pools(count: int, *, exact: bool) -> LayerGraph:
    """Pools of a network that is deep (exact maxima) or wide (average pools in parallel branches)."""
    rng = np.random.default_rng(0)
    parts = [
        float_spiking("stem", (2, 8, 8), 2, 1.0, 0.1),
        float_connect("input", "stem", Convolution(weight=rng.normal(size=(2, 1, 1, 1)))),
    ]
    for number in range(count):
        name = f"branch{number}"
        if exact:
            parts += _maximum(name)
            reads = [(f"{name}.rows", ())]
        else:
            reads = [("stem", (AveragePool(kernel=(2, 2), stride=(2, 2)),))]
        parts.append(float_spiking(name, (2, 4, 4), 2, 1.0, 0.1))
        scale = Scale(weight=rng.uniform(0.5, 1, 2))
        parts += [float_connect(source, name, *maps, scale) for source, maps in reads]
    weight = rng.normal(size=(10, 32)) / count
    parts += [
        float_connect(f"branch{n}", "logits", Dense(weight=weight * (1 + n % 7)))
        for n in range(count)
    ]
    return _digits(*parts)


def pools_in_a_row(count: int) -> LayerGraph:
    """Pools of 3x3 that keep the size of the map, each with a population of its own."""
    rng = np.random.default_rng(0)
    names = [f"layer{number}" for number in range(count)]
    pool = AveragePool(kernel=(3, 3), stride=(1, 1), padding=(1, 1))
    parts = [float_spiking(name, (1, 8, 8), 2, 1.0, 0.1) for name in names]
    parts += [
        float_connect(source, target, pool, Scale(weight=np.ones(1)))
        for source, target in zip(["input", *names], names, strict=False)
    ]
    return _digits(*parts, float_connect(names[-1], "logits", _dense(rng, 10, 64)))


def _maximum(name: str) -> Iterator[object]:
    """Two populations that compute the 2x2 maximum of `stem`."""
    for part, shape in (("columns", (2, 8, 4)), ("rows", (2, 4, 4))):
        yield replace(float_spiking(f"{name}.{part}", shape, 2, 1.0), role="maximum")
    yield float_connect("stem", f"{name}.columns", depthwise(2, [[-1, 1]], (1, 2)))
    yield float_connect("stem", f"{name}.rows", depthwise(2, [[-1], [1]], (2, 2)))
    yield float_connect(f"{name}.columns", f"{name}.rows", depthwise(2, [[-1], [1]], (2, 1)))


def wide_dense(inputs: int) -> LayerGraph:
    """One dense layer that reads this many neurons."""
    rng = np.random.default_rng(0)
    return _digits(
        float_spiking("wide", (inputs, 1, 1), 2, 1.0, 0.1),
        float_connect("input", "wide", _dense(rng, inputs, 64)),
        float_connect("wide", "logits", _dense(rng, 10, inputs)),
    )


def many_channels(channels: int, *, groups: int = 1, mixed: int = 16) -> LayerGraph:
    """A 1x1 map of many channels, and a convolution of groups over it."""
    rng = np.random.default_rng(0)
    out = channels if groups > 1 else mixed
    weight = rng.normal(size=(out, channels // groups, 1, 1))
    return _digits(
        float_spiking("wide", (channels, 1, 1), 2, 1.0, 0.1),
        float_spiking("mixed", (out, 1, 1), 2, 1.0, 0.1),
        float_connect("input", "wide", _dense(rng, channels, 64)),
        float_connect("wide", "mixed", Convolution(weight=weight, groups=groups)),
        float_connect("mixed", "logits", _dense(rng, 10, out)),
    )


def joins(count: int) -> LayerGraph:
    """One population that reads this many others."""
    rng = np.random.default_rng(0)
    parts = [float_spiking("join", (WIDTH, 1, 1), 2, 1.0, 0.1)]
    for number in range(count):
        name = f"branch{number}"
        parts += [
            float_spiking(name, (WIDTH, 1, 1), 1 + number % 3, 1.0, 0.1),
            float_connect("input", name, _dense(rng, WIDTH, 64)),
            float_connect(name, "join", _dense(rng, WIDTH, WIDTH)),
        ]
    return _digits(*parts, float_connect("join", "logits", _dense(rng, 10, WIDTH)))


def residual_chain(blocks: int) -> LayerGraph:
    """Blocks of two layers and an identity around them."""
    rng = np.random.default_rng(0)
    shape = (WIDTH, 1, 1)
    parts, last = [], "input"
    for number in range(blocks):
        inner, outer = f"block{number}.inner", f"block{number}.outer"
        size = 64 if last == "input" else WIDTH
        parts += [
            float_spiking(inner, shape, 1 + number % 3, 1.0, 0.1),
            float_spiking(outer, shape, 2, 1.0, 0.1),
            float_connect(last, inner, _dense(rng, WIDTH, size)),
            float_connect(inner, outer, _dense(rng, WIDTH, WIDTH)),
        ]
        if last != "input":
            parts.append(float_connect(last, outer, Scale(weight=np.ones(WIDTH))))
        last = outer
    return _digits(*parts, float_connect(last, "logits", _dense(rng, 10, WIDTH)))


def concatenations(layers: int, *, growth: int = 2) -> LayerGraph:
    """Each layer reads all before it, as in a DenseNet."""
    rng = np.random.default_rng(0)
    names = [f"layer{number}" for number in range(layers)]
    parts = [float_spiking(name, (growth, 1, 1), 2, 1.0, 0.1) for name in names]
    parts += [float_connect("input", name, _dense(rng, growth, 64)) for name in names[:1]]
    parts += [
        float_connect(source, target, _dense(rng, growth, growth))
        for number, target in enumerate(names)
        for source in names[:number]
    ]
    parts += [float_connect(name, "logits", _dense(rng, 10, growth)) for name in names]
    return _digits(*parts)


def selected_concatenation(layers: int) -> LayerGraph:
    """Channels of many populations side by side in one, as an importer writes a concatenation."""
    rng = np.random.default_rng(0)
    parts = [float_spiking("joined", (layers, 1, 1), 2, 1.0, 0.1)]
    for number in range(layers):
        name = f"branch{number}"
        channels = np.full(layers, -1)
        channels[number] = 0
        parts += [
            float_spiking(name, (1, 1, 1), 2, 1.0, 0.1),
            float_connect("input", name, _dense(rng, 1, 64)),
            float_connect(
                name,
                "joined",
                SelectChannels(channels=channels),
                Scale(weight=np.ones(layers)),
            ),
        ]
    return _digits(*parts, float_connect("joined", "logits", _dense(rng, 10, layers)))


def window(**geometry: object) -> LayerGraph:
    """One convolution of an unusual geometry."""
    rng = np.random.default_rng(0)
    convolution = Convolution(weight=rng.normal(size=(2, 1, 3, 3)), **geometry)
    shape = convolution.output_shape(IMAGE)
    return _digits(
        float_spiking("windows", shape, 2, 1.0, 0.1),
        float_connect("input", "windows", convolution),
        float_connect("windows", "logits", _dense(rng, 10, int(np.prod(shape)))),
    )


def large_image(size: int, *, stride: int) -> LayerGraph:
    """A convolution and a pool over one large image."""
    rng = np.random.default_rng(0)
    stem = Convolution(weight=rng.normal(size=(2, 1, 3, 3)), stride=(stride, stride))
    shape = stem.output_shape((1, size, size))
    kernel = shape[1:]
    return float_network_of(
        float_spiking("stem", shape, 2, 1.0, 0.1),
        float_connect("input", "stem", stem),
        float_connect(
            "stem", "logits", AveragePool(kernel=kernel, stride=kernel), _dense(rng, 10, 2)
        ),
        image=(1, size, size),
        max_value=255,
        unit=1 / 255,
        classes=10,
    )


def resampled(size: int) -> LayerGraph:
    """A map that is enlarged to this size by whole rows and columns."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(8, dtype=np.int64), size // 8, axis=0)
    pool = AveragePool(kernel=(size, size), stride=(size, size))
    return _digits(
        float_spiking("enlarged", (1, size, size), 2, 1.0, 0.1),
        float_connect(
            "input", "enlarged", Resample(rows=rows, columns=rows), Scale(weight=np.ones(1))
        ),
        float_connect("enlarged", "logits", pool, _dense(rng, 10, 1)),
    )


def _dense(rng: np.random.Generator, targets: int, sources: int) -> LinearMap:
    return Dense(weight=rng.normal(size=(targets, sources)) / np.sqrt(sources))


def _digits(*parts: object) -> LayerGraph:
    return float_network_of(*parts, image=IMAGE, max_value=16, unit=1 / 16, classes=10)


NETWORKS: dict[str, Callable[[], LayerGraph]] = {
    "small": lambda: chain(2),
    "T-4096": lambda: chain(1, timesteps=4096),
    "T-4096-twice": lambda: chain(2, timesteps=4096, width=1),
    "chain-200": lambda: chain(200),
    "chain-200-convolutions": lambda: chain_of_convolutions(200),
    "chain-1000-T-16": lambda: chain(1000, timesteps=16),
    "chain-450-T-16": lambda: chain(450, timesteps=16),
    "chain-900": lambda: chain(900),
    "chain-3000": lambda: chain(3000, width=2),
    "pools-900": lambda: pools(900, exact=False),
    "pools-2500": lambda: pools(2500, exact=False),
    "pools-900-in-a-row": lambda: pools_in_a_row(900),
    "maxima-100": lambda: pools(100, exact=True),
    "maxima-300": lambda: pools(300, exact=True),
    "maxima-1000": lambda: pools(1000, exact=True),
    "dense-100000": lambda: wide_dense(100_000),
    "channels-10000": lambda: many_channels(10_000),
    "groups-4096": lambda: many_channels(4096, groups=4096),
    "joins-300": lambda: joins(300),
    "joins-2500": lambda: joins(2500),
    "residual-150": lambda: residual_chain(150),
    "concatenations-70": lambda: concatenations(70),
    "selected-900": lambda: selected_concatenation(900),
    "stride-huge": lambda: window(stride=(10**9, 10**9)),
    "padding-1000": lambda: window(padding=(1000, 1000), stride=(500, 500)),
    "padding-huge": lambda: window(padding=(10**9, 10**9), stride=(10**9, 10**9)),
    "dilation-1000": lambda: window(padding=(1000, 1000), dilation=(1000, 1000), stride=(8, 8)),
    "image-4096": lambda: large_image(4096, stride=8),
    "image-4096-stride-1": lambda: large_image(4096, stride=1),
    "resampled-1024": lambda: resampled(1024),
}


def write_model(name: str, path: Path, *, data: str | None = "digits") -> None:
    """Write one of the networks as a model file."""
    graph = NETWORKS[name]()
    has_digits = graph.input.shape == IMAGE
    training = {"data": data} if data is not None and has_digits else {}
    save_checkpoint(path, Checkpoint(graph, training))
