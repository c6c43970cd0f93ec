"""Picture of exact max pooling: a tournament of spike counts in one window."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch
from drawing import (
    BLUE,
    CARD,
    GREEN,
    LINE,
    ORANGE,
    PALE_BLUE,
    PALE_GREEN,
    PALE_ORANGE,
    Markup,
    arrow,
    box,
    heading,
    note,
    picture,
    text,
)
from torch import nn

from hw_models.target_description import load_target
from sim.results import Simulation
from sim.stepped import run_stepped
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import FixedTimestepQuantizer
from toolchain.passes.pipeline import lower_to_integers

TIMESTEPS = 4
WINDOW = (20, 40, 20, 80)  # pixels a, b, c, d, of 0 to 80


def pictures() -> dict[str, str]:
    """SVG by file name."""
    return {"max-pooling.svg": tournament()}


def pooled() -> Simulation:
    """A ReLU and a 2x2 max pool on one window, through conversion and lowering, step by step."""
    identity, total = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        identity.weight.fill_(1.0)
        total.weight.fill_(1.0)
    layers = {"conv": identity, "relu": nn.ReLU(), "pool": nn.MaxPool2d(2)}
    layers |= {"flatten": nn.Flatten(), "classes": total}
    module = nn.Sequential(OrderedDict(layers)).eval()
    quantized = quantize_activations(
        module, lambda: FixedTimestepQuantizer(TIMESTEPS, threshold=1.0), max_pool="exact"
    )
    graph = convert(quantized, (1, 2, 2), 80)
    network = lower_to_integers(graph, load_target("loihi-sim").widths)
    return run_stepped(network, np.array(WINDOW).reshape(1, 1, 2, 2))


def tournament() -> str:
    """The counts and spike trains of the window and of the neurons that compute its maximum."""
    run = pooled()
    counts, trains = run.counts, run.trains
    (a, b), (c, d) = counts["relu"][0, 0]
    across, below = counts["pool.columns2"][0, 0, :, 0], counts["pool.rows2"][0, 0, 0, 0]
    parts = [
        heading(24, 34, "Four neurons of a layer"),
        note(24, 54, f"spike counts of one window, T = {TIMESTEPS}", anchor="start"),
        heading(312, 34, "Columns"),
        note(312, 54, "pool.columns2", anchor="start"),
        heading(582, 34, "Rows"),
        note(582, 54, "pool.rows2", anchor="start"),
    ]
    for row, column in np.ndindex(2, 2):
        name, train = "abcd"[2 * row + column], trains["relu"][0, :, 0, row, column]
        parts += _neuron(24 + 118 * column, 74 + 108 * row, 110, name, "", train, PALE_BLUE, BLUE)
    for row, words in enumerate(("clip(b − a, 0, T)", "clip(d − c, 0, T)")):
        train, y = trains["pool.columns2"][0, :, 0, row, 0], 74 + 108 * row
        parts += _neuron(312, y, 200, f"r{row + 1}", words, train, PALE_ORANGE, ORANGE)
        parts.append(arrow(258, y + 44, 308, y + 44))
        parts.append(arrow(516, y + 44, 578, 172 + 12 * (2 * row - 1)))
    train = trains["pool.rows2"][0, :, 0, 0, 0]
    parts += _neuron(
        582, 128, 254, "r3", "clip((c + r2) − (a + r1), 0, T)", train, PALE_ORANGE, ORANGE
    )
    largest, total = max(a, b, c, d), a + across[0] + below
    parts += [
        note(582, 238, "a and c reach r3 as well", anchor="start"),
        box(24, 290, 812, 34, fill=PALE_GREEN, rx=6),
        text(
            430, 312, f"the next layer reads a + r1 + r3 = {a} + {across[0]} + {below} = {total}, "
            f"and max({a}, {b}, {c}, {d}) = {largest}", fill=GREEN, font_weight=600,
        ),
    ]  # fmt: skip
    return picture(860, 346, "Three neurons compute the maximum of four spike counts", *parts)


def _neuron(
    x: float,
    y: float,
    width: float,
    name: str,
    rule: str,
    train: np.ndarray,
    fill: str,
    colour: str,
) -> Iterator[Markup]:
    """A neuron with its rule, its count, and its spikes from left to right."""
    yield box(x, y, width, 88, rx=8, fill=fill, stroke=colour, stroke_width=1.4)
    yield text(x + 14, y + 26, name, anchor="start", font_weight=600)
    yield text(x + 40, y + 26, rule, anchor="start", font_size=13)
    yield text(
        x + 14, y + 66, train.sum(), anchor="start", font_size=28, font_weight=600, fill=colour
    )
    for step, fires in enumerate(train):
        inside = {"fill": colour} if fires else {"fill": CARD, "stroke": LINE}
        yield box(x + 42 + 16 * step, y + 50, 12, 12, rx=2, **inside)
