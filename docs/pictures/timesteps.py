"""Pictures of timesteps as quantization levels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from drawing import (
    BLUE,
    GREEN,
    INK,
    LINE,
    ORANGE,
    PALE_BLUE,
    PALE_ORANGE,
    QUIET,
    Markup,
    arrow,
    box,
    dot,
    group,
    heading,
    join,
    line,
    note,
    picture,
    polyline,
    text,
)

from sim.neuron_steps import NeuronSteps, neuron_steps
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.linear_maps import Scale

THRESHOLD = 80  # of the neuron in the pictures; inputs are integers, shown as shares of it
RESULTS = Path(__file__).parent.parent / "results"

Place = Callable[[float, float], tuple[float, float]]


def pictures() -> dict[str, str]:
    """SVG by file name."""
    return {
        "timesteps.svg": staircase_and_neuron(),
        "timesteps-levels.svg": levels(),
        "timesteps-learned.svg": learned(),
    }


def quantizer(inputs: np.ndarray, timesteps: int) -> np.ndarray:
    """The trained activation of alpha = 1."""
    activation = TimestepQuantizer(timesteps, threshold=1.0)
    with torch.no_grad():
        return activation(torch.from_numpy(inputs)).numpy()


def neuron(inputs: np.ndarray, timesteps: int) -> NeuronSteps:
    """The steps of one integrate-and-fire neuron for each constant input, by the stepped engine."""
    one = (1, 1, 1)
    spiking = IntegerSpiking(
        name="neuron",
        shape=one,
        timesteps=timesteps,
        threshold=np.full(one, THRESHOLD),
        initial_potential=np.full(one, THRESHOLD // 2),
        bias=np.zeros(one, np.int64),
    )
    weight = Scale(weight=np.ones(1, np.int8))
    network = IntegerNetwork.build(
        [
            IntegerInput(name="input", shape=one, max_value=255, unit=1 / THRESHOLD),
            spiking,
            IntegerReadout(name="logit", shape=one, bias=np.zeros(one, np.int64), unit=1.0),
        ],
        [
            IntegerSynapse.of_maps(source=a, target=b, maps=[weight], exponent=0)
            for a, b in (("input", "neuron"), ("neuron", "logit"))
        ],
    )
    return neuron_steps(network, spiking, {"input": inputs.reshape(-1, 1, 1, 1, 1)})


def staircase_and_neuron() -> str:
    """The quantizer's staircase beside the membrane potential and spikes of three inputs."""
    timesteps = 4
    shown = np.array([12, 36, 64])
    steps = neuron(shown, timesteps)

    def place(x: float, y: float) -> tuple[float, float]:
        return 70 + 270 * x, 332 - 240 * y

    parts = [
        heading(28, 34, f"The trained activation, T = {timesteps}"),
        *_axes(place, timesteps),
        *_staircase(place, timesteps),
        note(*place(0.6, -0.16), "input of the layer, in units of α"),
    ]
    inputs = np.arange(0, 97, 4)
    counts = neuron(inputs, timesteps).spikes.sum(axis=1)[:, 0]
    parts += [
        dot(*place(i / THRESHOLD, n / timesteps), 2.6, fill=INK)
        for i, n in zip(inputs, counts, strict=True)
    ]
    for letter, value, count in zip("abc", shown, steps.spikes.sum(axis=1)[:, 0], strict=True):
        x, y = place(value / THRESHOLD, count / timesteps)
        parts += [dot(x, y, 6.5, fill=ORANGE), text(x - 14, y - 9, letter, font_weight=600)]
    parts.append(heading(420, 34, f"The spiking neuron, {timesteps} timesteps of constant input"))
    for row, letter in enumerate("abc"):
        parts += _trace(440, 62 + 108 * row, letter, steps.of_samples([row]), timesteps)
    parts += [
        polyline([(28, 403), (50, 403)]),
        note(56, 407, "quantizer", anchor="start"),
        dot(146, 403, 2.6, fill=INK),
        note(154, 407, "spike count / T", anchor="start"),
        line(266, 403, 288, 403, stroke_dasharray="4 3"),
        note(294, 407, "clipped ReLU", anchor="start"),
        polyline([(440, 403), (462, 403)]),
        note(468, 407, "membrane potential", anchor="start"),
        line(614, 403, 636, 403, stroke=ORANGE, stroke_dasharray="4 3"),
        note(642, 407, "threshold", anchor="start"),
        box(726, 397, 12, 12, fill=ORANGE, rx=2),
        note(744, 407, "spike", anchor="start"),
    ]
    return picture(
        860, 428, "A quantizer of four levels above zero, and the spikes of its neuron", *parts
    )


def _axes(place: Place, timesteps: int) -> list[Markup]:
    """Axes of a staircase, with its levels."""
    parts = [arrow(*place(0, 0), *place(1.25, 0)), arrow(*place(0, 0), *place(0, 1.1))]
    for level in range(timesteps + 1):
        x, y = place(0, level / timesteps)
        words = "0" if level == 0 else "α" if level == timesteps else f"{level}α/{timesteps}"
        parts.append(note(x - 8, y + 4, words.replace("1α", "α"), anchor="end"))
        if level:
            parts.append(line(x, y, place(1.2, 0)[0], y, stroke=LINE, stroke_width=0.8))
            parts.append(
                note(place(level / timesteps, 0)[0], place(0, 0)[1] + 18, f"{level / timesteps:g}")
            )
    return parts


def _staircase(place: Place, timesteps: int, width: float = 2.4) -> list[Markup]:
    """The clipped ReLU, and the quantizer as it is computed at many inputs."""
    inputs = np.linspace(0, 1.2, 961)
    outputs = quantizer(inputs, timesteps)
    kept = np.flatnonzero((np.diff(outputs, prepend=-1) != 0) | (np.diff(outputs, append=-1) != 0))
    corners = [place(inputs[i], outputs[i]) for i in kept]
    relu = [place(0, 0), place(1, 1), place(1.2, 1)]
    return [
        polyline(relu, stroke=QUIET, stroke_width=1.2, stroke_dasharray="4 3"),
        polyline(corners, stroke_width=width),
    ]


def _trace(x: float, y: float, letter: str, steps: NeuronSteps, timesteps: int) -> list[Markup]:
    """Membrane potential over the steps of one window: it rises by the input, and falls at a spike."""
    width, height = 66.0, 56.0
    assert steps.threshold is not None
    threshold = int(steps.threshold[0])
    before, reached, after = (
        values[0, :, 0] / threshold for values in (steps.before, steps.reached, steps.potentials)
    )
    spikes = steps.spikes[0, :, 0]
    value = int(steps.inputs["input"][0, 0, 0]) / threshold

    def level(potential: float) -> float:
        return y + height - height * potential / 1.45

    parts = [
        line(x, level(0), x + width * timesteps, level(0), stroke=LINE),
        line(x, level(1), x + width * timesteps, level(1), stroke=ORANGE, stroke_dasharray="4 3"),
        text(x - 16, y + 34, letter, font_weight=600),
    ]
    points = []
    for step in range(timesteps):
        left = x + width * step
        parts.append(line(left, y - 2, left, y + height + 22, stroke=LINE, stroke_width=0.8))
        points += [(left, level(before[step])), (left + 0.75 * width, level(reached[step]))]
        points += [(left + 0.75 * width, level(after[step])), (left + width, level(after[step]))]
        fired = {"fill": ORANGE} if spikes[step] else {"fill": "none", "stroke": LINE}
        parts.append(box(left + width / 2 - 7, y + height + 6, 14, 14, rx=2, **fired))
    right = x + width * timesteps
    parts += [
        line(right, y - 2, right, y + height + 22, stroke=LINE, stroke_width=0.8),
        polyline(points),
        note(right + 12, y + 14, f"input {value:g} α", anchor="start"),
        text(right + 12, y + 36, f"{spikes.sum()} spikes".replace("1 spikes", "1 spike"), anchor="start",
             font_weight=600),
        text(right + 12, y + 56, f"Q = {spikes.sum()}/{timesteps} α", anchor="start"),
    ]  # fmt: skip
    return parts


def levels() -> str:
    """Staircases of several T, with what a level costs."""
    parts: list[Markup] = []
    inside = np.linspace(0, 1, 1601)
    for column, timesteps in enumerate((1, 2, 4, 8)):
        left = 44 + 204 * column

        def place(x: float, y: float, left: int = left) -> tuple[float, float]:
            return left + 130 * x, 190 - 130 * y

        error = np.abs(quantizer(inside, timesteps) - inside).max()
        parts += [
            heading(left, 34, f"T = {timesteps}"),
            arrow(*place(0, 0), *place(1.26, 0)),
            arrow(*place(0, 0), *place(0, 1.1)),
            note(place(0, 1)[0] - 8, place(0, 1)[1] + 4, "α", anchor="end"),
            note(place(1, 0)[0], place(0, 0)[1] + 16, "α"),
            *_staircase(place, timesteps),
            text(
                left, 236, f"{len(np.unique(quantizer(inside, timesteps)))} levels", anchor="start"
            ),
            text(left, 258, f"error at most α/{round(1 / error)}", anchor="start"),
            text(
                left,
                280,
                f"busy {timesteps} tick{'s' * (timesteps > 1)} per sample",
                anchor="start",
            ),
        ]
    return picture(860, 304, "Quantizers of 1, 2, 4 and 8 timesteps", *parts)


def learned() -> str:
    """T of every layer of a trained ResNet-20, and its accuracy beside a network of uniform T."""
    layers = json.loads((RESULTS / "fig1-resnet-20.json").read_text())["rows"]
    summary = json.loads((RESULTS / "summary-resnet-20.json").read_text())
    row = dict(zip(summary["columns"], summary["rows"][0], strict=True))
    uniform = next(name for name in row if name.startswith("QCFS"))
    most = max(steps for _, steps, *_ in layers)
    parts: list[Markup] = [heading(28, 34, "Learned T of each layer, ResNet-20 on Fashion-MNIST")]
    bottom, height = 210, 34
    for steps in range(1, most + 1):
        y = bottom - height * steps
        parts += [
            line(44, y, 560, y, stroke=LINE, stroke_width=0.8),
            note(36, y + 4, steps, anchor="end"),
        ]
    for index, (name, steps, *_) in enumerate(layers):
        x, kind = 48 + 27 * index, name.rpartition(".")[2]
        colour = BLUE if kind == "join" else GREEN if kind == "stem" else ORANGE
        bar = box(x, bottom - height * steps, 20, height * steps, fill=colour, rx=2)
        parts.append(group(bar, Markup(f"<title>{name}: T = {steps}</title>")))
    mean = row["mean T"]
    parts += [
        line(44, bottom, 560, bottom),
        line(
            44,
            bottom - height * mean,
            560,
            bottom - height * mean,
            stroke=INK,
            stroke_dasharray="5 4",
        ),
        note(566, bottom - height * mean + 4, f"mean {mean:.2f}", anchor="start", fill=INK),
        note(48, bottom + 20, "first layer", anchor="start"),
        note(560, bottom + 20, "last layer", anchor="end"),
    ]
    for index, (colour, words) in enumerate(
        ((GREEN, "stem"), (BLUE, "after a residual sum"), (ORANGE, "inside a block"))
    ):
        x = 150 + (0, 70, 225)[index]
        parts += [
            box(x, bottom + 10, 12, 12, fill=colour, rx=2),
            note(x + 18, bottom + 20, words, anchor="start"),
        ]
    parts.append(heading(650, 34, "Accuracy"))
    bars = (
        ("ReLU", row["float ANN %"], QUIET, "no timesteps"),
        ("learned T", row["float SNN %"], BLUE, f"mean T = {mean:.2f}"),
        ("uniform T", row[uniform], ORANGE, uniform.replace(" %", "").replace("T=", "T = ")),
    )  # fmt: skip
    for index, (words, share, colour, detail) in enumerate(bars):
        y = 66 + 56 * index
        parts += [
            text(650, y, words, anchor="start"),
            note(832, y, detail, anchor="end"),
            box(
                650,
                y + 8,
                182,
                16,
                fill=PALE_BLUE
                if colour == BLUE
                else PALE_ORANGE
                if colour == ORANGE
                else "#eef1f5",
                rx=3,
            ),
            box(650, y + 8, 182 * (share - 0.8) / 0.2, 16, fill=colour, rx=3),
            text(
                658,
                y + 21,
                f"{100 * share:.2f} %",
                anchor="start",
                fill="#ffffff",
                font_size=13,
                font_weight=600,
            ),
        ]
    parts.append(note(650, 230, "bars start at 80 %", anchor="start"))
    return picture(
        860,
        250,
        "Learned timesteps of ResNet-20, and accuracy with learned and uniform T",
        join(parts),
    )
