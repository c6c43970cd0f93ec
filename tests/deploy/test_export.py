"""NIR: the round trip gives back every integer, and what NIR cannot express is named."""

from __future__ import annotations

import json

import nir
import numpy as np
import pytest
from builders import connect, network_of, per_channel, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from nir_executor import execute
from strategies import integer_networks, random_pixels

from deploy.backends import nir_graph
from deploy.backends.nir_graph import from_nir, to_nir
from sim.stepped import run_stepped
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerReadout,
    verify_integer_network,
)
from toolchain.networks.integer_network.serialize import describe_network, load_integer_network
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
)


def assert_same(network, other):
    (document, arrays), (document2, arrays2) = describe_network(network), describe_network(other)
    assert document == document2
    assert arrays.keys() == arrays2.keys()
    for name, array in arrays.items():
        assert array.dtype == arrays2[name].dtype
        assert np.array_equal(array, arrays2[name]), name


@settings(max_examples=25)
@given(integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True))
def test_the_round_trip_through_a_file_is_exact(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("nir") / "network.nir"
    nir.write(path, to_nir(network).graph)
    assert_same(network, from_nir(nir.read(path)))


@settings(max_examples=40)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_the_nodes_compute_the_same_counts_and_logits(network, seed):
    pixels = random_pixels(network, seed)
    run = run_stepped(network, pixels)
    counts, logits = execute(to_nir(network).graph, pixels)
    for name, expected in run.counts.items():
        np.testing.assert_array_equal(counts[name], expected.reshape(len(pixels), -1), name)
    np.testing.assert_array_equal(logits, run.logits)


def every_kind_of_map():
    """Grouped, rectangular and dilated kernels, all maps without a weight, joins of flat and other maps."""
    random = np.random.default_rng(0)

    def conv(*size, **options):
        return Convolution(weight=random.integers(-4, 10, size, dtype=np.int8), **options)

    double = np.repeat(np.eye(4, dtype=np.int64), 2, axis=0)
    crop = np.eye(8, dtype=np.int64)[1:6]
    uneven = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    neurons = (
        ("grouped", (4, 4, 4), [3, 0, -2, 1]),
        ("wide", (2, 4, 4), 2),
        ("dilated", (2, 4, 4), 0),
        ("up", (3, 8, 8), [1, 2, 3]),
        ("cropped", (3, 5, 5), [4, 5, 6]),
        ("uneven", (2, 2, 2), 1),
        ("flat", (8, 1, 1), 3),
        ("scaled", (8, 1, 1), [5, 4, 3, 2, 1, 0, -1, -2]),
        ("back/up", (8, 2, 2), -1),
    )
    return network_of(
        *(spiking(name, shape, 4, 40, 10, bias) for name, shape, bias in neurons),
        connect("input", "grouped", conv(4, 1, 3, 3, groups=2, padding=(1, 1)), exponent=1),
        connect("grouped", "wide", conv(2, 4, 3, 2, padding=(1, 1)), SumPool(kernel=(1, 2), stride=(1, 1))),
        connect("wide", "dilated", conv(2, 2, 3, 3, padding=(2, 2), dilation=(2, 2))),
        connect("dilated", "up", Resample(rows=double, columns=double), conv(3, 2, 3, 3, padding=(1, 1))),
        connect("up", "cropped", Scale(weight=np.array([1, -2, 3], np.int8)),
                Resample(rows=crop, columns=crop)),
        connect("cropped", "uneven", SelectChannels(channels=np.array([2, -1, 0])),
                conv(2, 3, 1, 1), Resample(rows=uneven, columns=uneven)),
        connect("uneven", "flat", Dense(weight=random.integers(-4, 10, (8, 8), dtype=np.int8)), exponent=2),
        connect("flat", "scaled", Scale(weight=np.arange(1, 9, dtype=np.int8))),
        connect("scaled", "back/up", conv(8, 8, 1, 1), Resample(rows=np.ones((2, 1), np.int64),
                                                             columns=np.ones((2, 1), np.int64))),
        connect("uneven", "back/up", SelectChannels(channels=np.array([0, 1] * 4)),
                conv(8, 4, 1, 1, groups=2)),
        connect("back/up", "logits", Dense(weight=random.integers(-4, 10, (2, 32), dtype=np.int8))),
        image=(2, 4, 4), max_value=3, classes=2, bias=[7, -7],
    )  # fmt: skip


def test_maps_that_nir_lacks_are_written_as_equal_convolutions_and_matrices(tmp_path):
    network = verify_integer_network(every_kind_of_map())
    export = to_nir(network)
    nir.write(tmp_path / "network.nir", export.graph)
    graph = nir.read(tmp_path / "network.nir")
    assert_same(network, from_nir(graph))
    assert not any("bias" in loss for loss in export.losses)
    pixels = random_pixels(network, 3, samples=4)
    run = run_stepped(network, pixels)
    counts, logits = execute(graph, pixels)
    for name, expected in run.counts.items():
        assert 0 < expected.mean() < 4, name
        flattened = expected.reshape(len(pixels), -1)
        np.testing.assert_array_equal(counts[name.replace("/", "_")], flattened, name)
    np.testing.assert_array_equal(logits, run.logits)


def test_a_readout_that_is_a_map_keeps_its_shape_and_its_bias(tmp_path):
    network = map_network(bias=np.array([3, -4]))
    nir.write(tmp_path / "network.nir", to_nir(network).graph)
    graph = nir.read(tmp_path / "network.nir")
    assert graph.nodes["logits"].input_type["input"].tolist() == [2, 3, 4]
    assert graph.nodes["hidden to logits, 0 conv"].bias.tolist() == [3, -4]
    assert_same(network, from_nir(graph))


def map_network(bias, weight=None):
    weight = np.array([[1], [2]], np.int8)[..., None, None] if weight is None else weight
    readout = IntegerReadout(name="logits", shape=(2, 3, 4), bias=per_channel(bias, 2), unit=1.0)
    shape = (1, 3, 4)
    populations = network_of(spiking("hidden", shape, 2, 9), image=shape).populations[:-1]
    synapses = [
        connect("input", "hidden", Scale(weight=np.ones(1, np.int8))),
        connect("hidden", "logits", Convolution(weight=weight)),
    ]
    return IntegerNetwork.build([*populations, readout], synapses)


def test_biases_that_differ_within_a_channel_are_a_loss_with_its_reason():
    bias = np.arange(24).reshape(2, 3, 4)
    network = map_network(bias)
    export = to_nir(network)
    assert (
        "biases of logits: they differ within a channel, and NIR's Conv2d has one per channel"
        in export.losses
    )
    assert_same(network, from_nir(export.graph))


def test_a_map_with_too_many_weights_for_nir_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(nir_graph, "MOST_WEIGHTS", 2_000)
    with pytest.raises(UnsupportedNetworkError) as refusal:
        to_nir(every_kind_of_map())
    assert str(refusal.value) == (
        "dilated -> up (resample 4x4 to 8x8 > conv 3x3, average): resample 4x4 to 8x8 is a convolution of "
        "more than 2,000 weights without groups and with a square kernel, above the limit of 2,000 for maps "
        "that nir 1.0.8 cannot express otherwise; export a network with smaller feature maps or fewer "
        "channels"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.nodes["hidden to logits, 0 conv"].weight.__setitem__(0, 5.0),
         "weight of node 'hidden to logits, 0 conv'"),
        (lambda g: g.nodes["hidden"].metadata.update(timesteps=3), "timesteps of node 'hidden'"),
        (lambda g: g.edges.pop(), "an edge"),
        (lambda g: g.nodes.pop("hidden"), "node 'hidden'"),
    ],
    ids=["weight", "timesteps", "edge", "node"],
)  # fmt: skip
def test_a_graph_that_was_changed_is_refused_by_the_first_difference(change, message):
    graph = to_nir(map_network(bias=0)).graph
    change(graph)
    with pytest.raises(
        UnsupportedNetworkError, match=f"^{message} is not what `qac-deploy export`"
    ):
        from_nir(graph)


def test_weights_and_thresholds_are_in_nodes_that_nir_defines(compiled):
    network = load_integer_network(compiled[1])
    graph = to_nir(network).graph
    synapse = network.incoming("inner")[0]
    (name,) = (n for n in graph.nodes if n.startswith("stem to inner"))
    assert isinstance(graph.nodes[name], nir.Conv2d)
    assert np.array_equal(graph.nodes[name].weight, synapse.maps[0].weight * 2.0**synapse.exponent)
    assert isinstance(graph.nodes["inner"], nir.IF)
    assert (graph.nodes["inner"].v_threshold == network["inner"].threshold).all()
    into_join = sorted(source for source, target in graph.edges if target == "join")
    assert into_join == ["inner to join, 0 conv", "stem to join, 0 scale"]
    assert graph.nodes["join"].metadata["reset"].startswith("soft")
    assert not any(isinstance(node, nir.Linear | nir.Scale) for node in graph.nodes.values())


def test_the_command_names_each_loss(qac_deploy, compiled, tmp_path):
    process = qac_deploy("export", compiled[1], "--out", "network.nir", "--json")
    assert process.returncode == 0, process.stderr
    losses = " ".join(json.loads(process.stdout)["losses"])
    for word in ("soft reset", "timesteps", "alignment buffers", "initial potentials"):
        assert word in losses
    assert_same(
        load_integer_network(compiled[1]),
        from_nir(nir.read(tmp_path / "network.nir")),
    )


def test_a_graph_of_somebody_else_is_refused():
    graph = nir.NIRGraph(
        {"in": nir.Input({"input": np.array([2])}), "out": nir.Output({"output": np.array([2])})},
        [("in", "out")],
    )
    with pytest.raises(UnsupportedNetworkError, match="the graph has no metadata of qac-deploy"):
        from_nir(graph)


def test_a_folder_that_does_not_exist_is_an_error(qac_deploy, compiled):
    process = qac_deploy("export", compiled[1], "--out", "nowhere/network.nir")
    assert process.returncode == 2
    assert "nowhere/network.nir: there is no folder nowhere; make it first" in process.stderr
