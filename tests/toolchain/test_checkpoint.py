"""Model files and integer networks on disk: what is read is what was written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_networks import residual_network

from toolchain.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.float_snn import run_float_snn
from toolchain.integer_network import IntegerNetwork
from toolchain.integer_network.serialize import (
    array_titles,
    describe_network,
    load_integer_network,
    save_integer_network,
)
from toolchain.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
)
from toolchain.linear_maps import Convolution, Dense

PIXELS = np.random.default_rng(1).integers(0, 16, (6, 1, 3, 3))


def spiking(name, **changes):
    fields = {
        "name": name,
        "shape": (1, 3, 3),
        "timesteps": 3,
        "threshold": np.full((1, 1, 1), 1.5),
        "initial_potential": np.full((1, 1, 1), 0.75),
        "bias": np.zeros((1, 1, 1)),
    }
    return SpikingPopulation(**fields | changes)


def chain(*populations, max_value=15, unit=1 / 15):
    """input -> each population in turn -> readout, with random weights."""
    random = np.random.default_rng(0)
    names = ["input", *(p.name for p in populations)]
    maps = [Convolution(weight=random.normal(size=(1, 1, 1, 1)) + 1) for _ in populations]
    synapses = [
        Synapse(source=source, target=target, maps=(linear_map,))
        for source, target, linear_map in zip(names[:-1], names[1:], maps, strict=True)
    ]
    readout = ReadoutPopulation(name="readout", shape=(4, 1, 1), bias=random.normal(size=(4, 1, 1)))
    dense = Dense(weight=random.normal(size=(4, 9)))
    return LayerGraph.build(
        [
            InputPopulation(name="input", shape=(1, 3, 3), max_value=max_value, unit=unit),
            *populations,
            readout,
        ],
        [*synapses, Synapse(source=names[-1], target="readout", maps=(dense,))],
    )


# names of parts that a file format might join by "->" or "/", or that it gives a meaning of its own
MEETING_NAMES = [
    ("x", "y->z", "x->y", "z"),
    ("a", "a/bias", "a/threshold", "a->a/maps.0.weight"),
    ("0", "1", "2", "10"),
    ("x", "x.npy", "__metadata__", "../x"),
    ("inner.0", "inner_0", "inner 0", "INNER.0"),
]


@pytest.mark.parametrize("names", MEETING_NAMES)
def test_names_of_populations_never_meet_in_a_model_file(tmp_path, names):
    random = np.random.default_rng(3)
    graph = chain(*(spiking(name, bias=random.normal(size=(1, 3, 3))) for name in names))
    save_checkpoint(tmp_path / "model.pt", Checkpoint(graph, {}))
    loaded = load_checkpoint(tmp_path / "model.pt").graph
    before, after = (run_float_snn(g, PIXELS, with_counts=True) for g in (graph, loaded))
    assert np.array_equal(before.step_logits, after.step_logits)
    assert {n: c.tolist() for n, c in before.counts.items()} == {
        n: c.tolist() for n, c in after.counts.items()
    }


@pytest.mark.parametrize("names", MEETING_NAMES)
def test_names_of_populations_never_meet_in_an_integer_network(tmp_path, names):
    network = residual_network()
    new = dict(zip((p.name for p in network.populations), ("input", *names), strict=True))
    network = IntegerNetwork.build(
        [replace(p, name=new[p.name]) for p in network.populations],
        [replace(s, source=new[s.source], target=new[s.target]) for s in network.synapses],
    )
    save_integer_network(network, tmp_path)
    document, arrays = describe_network(network)
    found_document, found = describe_network(load_integer_network(tmp_path))
    assert document == found_document
    assert len(arrays) == 3 * 3 + 1 + 5  # of three spiking populations, the readout, five synapses
    assert all(np.array_equal(array, found[name]) for name, array in arrays.items())
    titles = array_titles(document)
    assert titles.keys() == arrays.keys()
    assert len(set(titles.values())) == len(titles)
