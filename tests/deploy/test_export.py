"""NIR: the round trip gives back every integer, and what NIR cannot express is named."""

from __future__ import annotations

import json

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import integer_networks

from deploy.backends.nir_graph import from_nir, to_nir
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network.serialize import describe_network, load_integer_network


def assert_same(network, other):
    (document, arrays), (document2, arrays2) = describe_network(network), describe_network(other)
    assert document == document2
    assert arrays.keys() == arrays2.keys()
    for name, array in arrays.items():
        assert array.dtype == arrays2[name].dtype
        assert np.array_equal(array, arrays2[name]), name


@settings(max_examples=60)
@given(integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True))
def test_the_round_trip_through_a_file_is_exact(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("nir") / "network.nir"
    nir.write(path, to_nir(network).graph)
    assert_same(network, from_nir(nir.read(path, type_check=False)))


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


def test_the_command_names_each_loss(qac_deploy, compiled, tmp_path):
    process = qac_deploy("export", compiled[1], "--out", "network.nir", "--json")
    assert process.returncode == 0, process.stderr
    losses = " ".join(json.loads(process.stdout)["losses"])
    for word in ("soft reset", "timesteps", "alignment buffers", "initial potentials"):
        assert word in losses
    assert_same(
        load_integer_network(compiled[1]),
        from_nir(nir.read(tmp_path / "network.nir", type_check=False)),
    )


def test_a_graph_of_somebody_else_is_refused():
    graph = nir.NIRGraph(
        {"in": nir.Input({"input": np.array([2])}), "out": nir.Output({"output": np.array([2])})},
        [("in", "out")],
    )
    with pytest.raises(UnsupportedNetworkError, match="node 'in': has no metadata of qac-deploy"):
        from_nir(graph)


def test_a_folder_that_does_not_exist_is_an_error(qac_deploy, compiled):
    process = qac_deploy("export", compiled[1], "--out", "nowhere/network.nir")
    assert process.returncode == 2
    assert "nowhere/network.nir: there is no folder nowhere; make it first" in process.stderr
