"""Golden texts of the integer networks that lowering makes of each kind of structure."""

from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from builders import WIDTHS, float_connect, float_spiking

from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    Synapse,
)
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
)
from toolchain.passes import lower_to_integers
from toolchain.passes.align_edges import align_edges

GOLDEN = Path(__file__).parent.parent / "golden"


def weights(*shape):
    """Weights from -6/8 to 6/8, exact in binary, so that their digest is the same on every machine."""
    return ((np.arange(prod(shape)) * 7 % 13 - 6) / 8).reshape(shape)


def neurons(name, shape, timesteps, threshold):
    return float_spiking(name, shape, timesteps, threshold, bias=np.arange(shape[0]) / 4)


def network(*populations_and_synapses, classes=3):
    """The given populations between an image of 2x4x4 pixels and a readout."""
    populations = [p for p in populations_and_synapses if not isinstance(p, Synapse)]
    return LayerGraph.build(
        [
            InputPopulation(name="image", shape=(2, 4, 4), max_value=255, unit=1 / 256),
            *populations,
            ReadoutPopulation(
                name="classes",
                shape=(classes, 1, 1),
                bias=np.arange(classes).reshape(-1, 1, 1) / 2,
            ),
        ],
        [s for s in populations_and_synapses if isinstance(s, Synapse)],
    )


def chain():
    """A convolution, a pool in front of a grouped one, a dense head behind another pool."""
    pool = AveragePool(kernel=(2, 2), stride=(2, 2))
    return network(
        neurons("first", (4, 4, 4), 4, 2.0),
        neurons("second", (2, 2, 2), 2, 1.0),
        float_connect("image", "first", Convolution(weight=weights(4, 2, 3, 3), padding=(1, 1))),
        float_connect("first", "second", pool, Convolution(weight=weights(2, 2, 1, 1), groups=2)),
        float_connect("second", "classes", pool, Dense(weight=weights(3, 2))),
    )


def residual_join():
    """One source read by two populations; a join of an identity and a convolution; a scaled shortcut."""
    return network(
        neurons("stem", (2, 2, 2), 4, 2.0),
        neurons("inner", (2, 2, 2), 3, 1.0),
        neurons("join", (2, 2, 2), 4, 1.5),
        float_connect("image", "stem", Convolution(weight=weights(2, 2, 2, 2), stride=(2, 2))),
        float_connect("stem", "inner", Convolution(weight=weights(2, 2, 3, 3), padding=(1, 1))),
        float_connect("stem", "join"),
        float_connect("inner", "join", Convolution(weight=weights(2, 2, 1, 1))),
        float_connect("join", "classes", Dense(weight=weights(3, 8))),
        float_connect(
            "stem", "classes", Scale(weight=np.array([2.0, 0.5])), Dense(weight=weights(3, 8))
        ),
    )


def dense():
    """Dense layers only, with one threshold per neuron."""
    return network(
        neurons("hidden", (6, 1, 1), 5, np.arange(1, 7).reshape(-1, 1, 1) / 4),
        float_connect("image", "hidden", Dense(weight=weights(6, 32))),
        float_connect("hidden", "classes", Dense(weight=weights(3, 6))),
    )


def calibrated():
    """One initial potential per neuron, as after calibration."""
    graph = chain()
    starts = (np.arange(8) / 8).reshape(2, 2, 2)
    populations = [
        replace(p, initial_potential=starts) if p.name == "second" else p for p in graph.populations
    ]
    return LayerGraph.build(populations, graph.synapses)


def merged():
    """A bottleneck without activation, a shuffled slice, a part of a concatenation, an upsampling."""
    twice = np.repeat(np.eye(2, dtype=np.int64), 2, axis=0)
    return network(
        neurons("stem", (4, 4, 4), 3, np.array([1, 2, 4, 8]).reshape(-1, 1, 1)),
        neurons("joined", (5, 4, 4), 4, 2.0),
        float_connect(
            "image",
            "stem",
            Convolution(weight=weights(1, 2, 1, 1)),
            Convolution(weight=weights(4, 1, 1, 1)),
        ),
        float_connect(
            "stem",
            "joined",
            SelectChannels(channels=np.array([3, 1])),
            AveragePool(kernel=(2, 2), stride=(2, 2)),
            Resample(rows=twice, columns=twice),
            SelectChannels(channels=np.array([-1, 1, -1, 0, 1])),
            Scale(weight=np.arange(1.0, 6)),
        ),
        float_connect("joined", "classes", Dense(weight=weights(3, 80))),
    )


CASES = {
    "chain": (chain, WIDTHS),
    "residual_join": (residual_join, WIDTHS),
    "dense": (dense, WIDTHS),
    "few_thresholds": (dense, replace(WIDTHS, distinct_thresholds=2)),
    "four_bits": (chain, replace(WIDTHS, weight_bits=4)),
    "calibrated": (calibrated, WIDTHS),
    "replicate": (lambda: align_edges(chain(), "replicate"), WIDTHS),
    "merged": (merged, WIDTHS),
    "truncate": (lambda: align_edges(residual_join(), "truncate"), WIDTHS),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_and_its_integers_are_those_of_the_golden_text(name):
    make, widths = CASES[name]
    graph = make()
    path = GOLDEN / f"{name}.txt"
    made = f"{graph}\n\n\n{lower_to_integers(graph, widths)}\n"
    expected = path.read_text() if path.exists() else ""
    if made != expected:
        actual = path.with_suffix(".actual")
        actual.write_text(made)
        pytest.fail(
            f"{name}: lowering gives another network. See `diff {path} {actual}`; if the change is meant, "
            f"move the new text over the old one: `mv {actual} {path}`"
        )


def test_a_text_shows_every_change_of_an_array():
    """One value of a large array changes its digest."""
    graph = chain()
    first = graph["first"]
    weight = weights(4, 2, 3, 3)
    weight[2, 1, 0, 1] += 1 / 8
    changed = LayerGraph.build(
        graph.populations,
        [
            float_connect("image", "first", Convolution(weight=weight, padding=(1, 1))),
            *(s for s in graph.synapses if s.target != "first"),
        ],
    )
    old, new = str(graph).splitlines(), str(changed).splitlines()
    assert first.name == "first"
    assert [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b] == [
        old.index(next(line for line in old if "float64 4x2x3x3" in line))
    ]
