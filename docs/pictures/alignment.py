"""Pictures of temporal alignment: what a target reads, why a mean loses nothing, what the others lose."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from drawing import (
    BLUE,
    CARD,
    GREEN,
    INK,
    LINE,
    ORANGE,
    PALE,
    PALE_BLUE,
    PALE_GREEN,
    QUIET,
    Markup,
    arrow,
    box,
    cell,
    heading,
    line,
    note,
    picture,
    text,
)
from timesteps import quantizer

from hw_models.multicore.pipeline.pipeline import AlignmentBuffer, Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.target_description import load_target
from sim.exact.engine import run_exact
from sim.neuron_steps import NeuronSteps, neuron_steps
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerNetwork, IntegerSpiking
from toolchain.networks.layer_graph import (
    ALIGNMENT_METHODS,
    AlignmentMethod,
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import Dense
from toolchain.networks.temporal_alignment import selected_frames
from toolchain.passes.align_edges import align_population
from toolchain.passes.pipeline import lower_to_integers

EDGES = ((4, 2), (2, 4), (4, 4))
"""T of source and target."""


def pictures() -> dict[str, str]:
    """SVG by file name."""
    return {
        "alignment.svg": methods(),
        "alignment-average.svg": average(),
        "alignment-losses.svg": losses(),
    }


def two_layers(
    method: AlignmentMethod, timesteps: tuple[int, int], first: np.ndarray, second: np.ndarray
) -> IntegerNetwork:
    """Input -> source -> target -> readout with these dense weights, lowered for loihi-sim; alpha is 1."""

    def spiking(name: str, size: int, steps: int) -> SpikingPopulation:
        one, zero = np.ones((1, 1, 1)), np.zeros((size, 1, 1))
        return SpikingPopulation(
            name=name,
            shape=(size, 1, 1),
            timesteps=steps,
            threshold=one,
            initial_potential=one / 2,
            bias=zero,
        )

    pixels, hidden, outputs = first.shape[1], *second.shape[::-1]
    graph = LayerGraph.build(
        [
            InputPopulation(name="input", shape=(pixels, 1, 1), max_value=100, unit=0.01),
            spiking("source", hidden, timesteps[0]),
            spiking("target", outputs, timesteps[1]),
            ReadoutPopulation(name="logits", shape=(1, 1, 1), bias=np.zeros((1, 1, 1))),
        ],
        [
            Synapse(source=a, target=b, maps=(Dense(weight=weight),))
            for a, b, weight in (
                ("input", "source", first),
                ("source", "target", second),
                ("target", "logits", np.ones((1, outputs))),
            )
        ],
    )
    widths = load_target("loihi-sim").widths
    return lower_to_integers(align_population(graph, "target", method), widths)


def methods() -> str:
    """Which source frames each target step reads, and the spikes that follow."""
    parts: list[Markup] = []
    one = np.ones((1, 1))
    for row, (edge, pixel) in enumerate((((4, 2), 56), ((2, 4), 38))):
        top = 66 + 196 * row
        source_steps, target_steps = edge
        parts.append(heading(24, top - 24, f"T = {source_steps} to T = {target_steps}"))
        for column, method in enumerate(ALIGNMENT_METHODS):
            network = two_layers(method, edge, one, one)
            run = run_stepped(network, np.array([[[[pixel]]]]))
            parts += _method(
                24 + 280 * column,
                top,
                method,
                run.trains["source"][0, :, 0, 0, 0],
                run.trains["target"][0, :, 0, 0, 0],
            )
    return picture(860, 428, "Frames that each step reads with the three alignment methods", *parts)


def _method(
    x: float,
    y: float,
    method: AlignmentMethod,
    sent: np.ndarray,
    fired: np.ndarray,
) -> list[Markup]:
    """Source frames above, target steps below, and what each step reads."""
    parts = [text(x + 4, y + 4, method, anchor="start", font_weight=600, fill=BLUE)]
    width, start = 40, x + 58
    frames = [start + (width + 4) * i for i in range(len(sent))]
    steps = [start + (width + 4) * i for i in range(len(fired))]
    parts.append(note(x + 50, y + 36, "source", anchor="end"))
    parts.append(note(x + 50, y + 106, "target", anchor="end"))
    for left, spike in zip(frames, sent, strict=True):
        parts.append(cell(left, y + 18, width, 28, int(spike), **_spike(spike)))
    if method == "average":
        mean = f"{sent.sum()}/{len(sent)}"
        middle = (frames[0] + frames[-1] + width) / 2
        brace = f"M{frames[0]} {y + 50}v6H{frames[-1] + width}v-6"
        parts.append(Markup(f'<path d="{brace}" fill="none" stroke="{QUIET}" stroke-width="1.2"/>'))
        parts += [arrow(middle, y + 56, s + width / 2, y + 84) for s in steps]
        read: list[str] = [mean] * len(fired)
    else:
        selected = selected_frames(method, len(sent), len(fired))
        read = ["–" if f is None else str(int(sent[f])) for f in selected]
        parts += [
            arrow(frames[f] + width / 2, y + 48, s + width / 2, y + 84)
            for s, f in zip(steps, selected, strict=True)
            if f is not None
        ]
    for left, words in zip(steps, read, strict=True):
        parts.append(cell(left, y + 88, width, 28, words, fill=CARD))
    spikes, exact = (
        int(fired.sum()),
        round(quantizer(sent.mean(keepdims=True), len(fired)).item() * len(fired)),
    )
    plural = "spike" if spikes == 1 else "spikes"
    right_words = "as the quantizer" if spikes == exact else f"the quantizer gives {exact}"
    colour = GREEN if spikes == exact else ORANGE
    parts.append(
        text(
            start,
            y + 138,
            f"{spikes} {plural}, {right_words}",
            anchor="start",
            fill=colour,
            font_size=13,
        )
    )
    return parts


def _spike(fires: bool) -> dict[str, object]:
    """Colours of a cell that holds a spike or none."""
    return {"fill": PALE_BLUE, "stroke": BLUE} if fires else {"fill": PALE, "colour": QUIET}


def average() -> str:
    """One averaging edge in integers: counts, the constant current, and every step of the target."""
    first = np.diag([0.8, 0.3, 0.6])
    second = np.array([[0.5, -0.25, 0.75]])
    network = two_layers("average", (4, 3), first, second)
    pixels = np.array([92, 80, 84]).reshape(1, 3, 1, 1)
    run = run_stepped(network, pixels)
    target = network["target"]
    assert isinstance(target, IntegerSpiking)
    train = run.trains["source"][0, :, :, 0, 0]
    steps = neuron_steps(network, target, {"source": run.trains["source"].astype(np.int64)})
    (synapse,) = network.incoming("target")
    weights = synapse.weighted.weight.astype(np.int64).reshape(-1) << synapse.exponent
    parts: list[Markup] = [
        heading(24, 34, "1  Count"),
        note(24, 54, "the buffer adds up the frames", anchor="start"),
    ]
    for row in range(3):
        y = 74 + 44 * row
        parts += [
            cell(24 + 32 * t, y, 28, 28, int(s), **_spike(s)) for t, s in enumerate(train[:, row])
        ]
        parts.append(
            text(160, y + 19, f"N = {train[:, row].sum()}", anchor="start", font_weight=600)
        )
    parts += [
        note(24, 222, "4 source steps", anchor="start"),
        arrow(214, 132, 246, 132),
        heading(262, 34, "2  Multiply, once"),
        note(262, 54, "one sum per neuron", anchor="start"),
    ]
    for row, weight in enumerate(weights):
        words = f"{_number(weight)} × {train[:, row].sum()}"
        parts.append(text(420, 93 + 44 * row, words, anchor="end"))
    current = int(steps.currents[0, 0, 0])
    parts += [
        line(300, 200, 420, 200, stroke=INK),
        text(420, 222, f"A = {_number(current)}", anchor="end", font_weight=600),
        arrow(440, 132, 472, 132),
        *_fire(488, steps, current),
    ]
    return picture(860, 292, "An averaging edge in integers, step by step", *parts)


def _fire(x: float, steps: NeuronSteps, current: int) -> Iterator[Markup]:
    """The steps of the target's window as a table, and the closed form below it."""
    assert steps.threshold is not None
    threshold, initial = int(steps.threshold[0]), int(steps.initial[0])
    spikes = steps.spikes[0, :, 0]
    yield heading(x, 34, f"3  Fire, {len(spikes)} steps")
    yield note(x, 54, f"Θ = {_number(threshold)}, V(0) = {_number(initial)}", anchor="start")
    columns = (x + 34, x + 142, x + 222, x + 346)
    for right, words in zip(columns, ("step", "V + A", "spike", "V after"), strict=True):
        yield note(right, 84, words, anchor="end")
    yield line(x, 92, x + 346, 92, stroke=LINE)
    for step, fires in enumerate(spikes):
        y = 116 + 34 * step
        yield text(columns[0], y, step + 1, anchor="end")
        yield text(columns[1], y, _number(steps.reached[0, step, 0]), anchor="end")
        yield cell(columns[2] - 28, y - 19, 28, 28, int(fires), **_spike(fires))
        yield text(columns[3], y, _number(steps.potentials[0, step, 0]), anchor="end")
    numerator = f"{_number(initial)} + {len(spikes)} × {_number(current)}"
    share = (initial + len(spikes) * current) / threshold
    yield box(24, 240, 812, 34, fill=PALE_GREEN, rx=6)
    yield text(
        430, 262, f"({numerator}) / {_number(threshold)} = {share:.2f}, rounded down: "
        f"{int(share)} spikes, and the table has {spikes.sum()}", fill=GREEN, font_weight=600,
    )  # fmt: skip


def _number(value: object) -> str:
    return f"{int(value):,}".replace("-", "−")  # type: ignore[call-overload]


def losses() -> str:
    """How far counts of a random layer are from the quantizer's, and when the target can start."""
    random = np.random.default_rng(0)
    first = random.integers(-64, 65, (48, 32)) / 128
    second = random.integers(-64, 65, (64, 48)) / 128
    pixels = random.integers(0, 101, (100, 32, 1, 1))
    differences = np.arange(-2, 3)
    parts = [
        heading(24, 34, "Spike count minus the quantizer's"),
        note(
            836,
            34,
            f"{len(second)} neurons with random weights, {len(pixels)} inputs",
            anchor="end",
        ),
    ]
    for row, edge in enumerate(EDGES):
        y = 86 + 124 * row
        parts.append(
            text(24, y + 52, f"T = {edge[0]} to {edge[1]}", anchor="start", font_weight=600)
        )
        quantized = run_exact(two_layers("average", edge, first, second), pixels)
        for column, method in enumerate(ALIGNMENT_METHODS):
            x = 150 + 240 * column
            if row == 0:
                parts.append(text(x + 90, 64, method, font_weight=600, fill=BLUE))
            found = run_stepped(two_layers(method, edge, first, second), pixels)
            clipped = np.clip(found.counts["target"] - quantized.counts["target"], -2, 2)
            shares = [float((clipped == d).mean()) for d in differences]
            parts += _histogram(x, y, differences, shares)
            tick = _first_start(method, edge)
            parts.append(
                note(x + 90, y + 102, f"starts {tick} tick{'s' * (tick > 1)} after the source")
            )
    return picture(860, 466, "Counts with each alignment method against the quantizer's", *parts)


def _histogram(x: float, y: float, values: np.ndarray, shares: list[float]) -> Iterator[Markup]:
    base, full = y + 66, 52
    for index, (value, share) in enumerate(zip(values, shares, strict=True)):
        left = x + 36 * index
        colour = GREEN if value == 0 else ORANGE
        yield box(left + 4, base - full * share, 28, full * share, fill=colour, rx=2)
        if share:
            words = f"{100 * share:.0f} %" if share >= 0.005 else "<1 %"
            yield note(left + 18, base - full * share - 4, words, font_size=11, fill=INK)
        ends = {-2: "≤−2", 2: "≥2"}
        words = ends.get(int(value), f"{value:+d}".replace("-", "−") if value else "0")
        yield note(left + 18, base + 15, words, font_size=11.5)
    yield line(x, base, x + 180, base)


def _first_start(method: AlignmentMethod, edge: tuple[int, int]) -> int:
    """Ticks from the source's first step to the target's, by the tick model."""
    frames = None if method == "average" else selected_frames(method, *edge)
    pipeline = Pipeline(
        windows={"source": edge[0], "target": edge[1]},
        buffers=(AlignmentBuffer(source="source", target="target", slots=2, frames=frames),),
        link_ticks=load_target("loihi-sim").link_ticks,
    )
    ticks = schedule_pipeline(pipeline, 1).step_ticks
    return int(ticks["target"][0, 0] - ticks["source"][0, 0])
