"""The properties of each linear map agree with the judge's results; an unknown map is refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import residual_network
from strategies import _maps

from sim.stepped import apply_maps
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    Synapse,
    verify_layer_graph,
)
from toolchain.networks.linear_maps import (
    AveragePool,
    Scale,
    SumPool,
    WeightedMap,
    as_grouped_convolution,
)

some = settings(max_examples=200)


@some
@given(st.data(), st.integers(0, 2**32 - 1))
def test_a_map_and_its_convolution_and_its_axes_agree_with_the_judge(data, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(data.draw(st.integers(1, 5)) for _ in range(3))
    for linear_map in data.draw(_maps(rng, shape, False)):
        values = rng.integers(0, 256, (2, *shape))
        expected = apply_maps([linear_map], values)
        convolution = as_grouped_convolution(linear_map, shape)
        assert np.array_equal(apply_maps([convolution], values), expected)
        assert convolution.output_shape(shape) == linear_map.output_shape(shape)
        if not isinstance(linear_map, WeightedMap):
            rows, columns = (linear_map.axis_matrix(axis, shape[1 + axis]) for axis in (0, 1))
            assert np.array_equal(rows @ values @ columns.T, expected)
            most = np.multiply.outer(rows.sum(axis=1), columns.sum(axis=1)).max()
            assert most <= linear_map.fan_in
        shape = linear_map.output_shape(shape)


def test_an_average_is_its_sum_over_its_divisor():
    average = AveragePool(kernel=(2, 3), stride=(2, 1), padding=(1, 0))
    values = np.random.default_rng(0).integers(0, 256, (1, 2, 4, 5))
    weight = as_grouped_convolution(average, (2, 4, 5)).weight
    assert weight == pytest.approx(np.full((2, 1, 2, 3), 1 / 6))
    total = apply_maps([average.without_divisor()], values)
    assert average.divisor == 6
    assert total[0, 1, 0, 0] == values[0, 1, 0, :3].sum()  # the row above is padding


@pytest.mark.parametrize(
    ("linear_map", "stays_per_channel"),
    [
        (AveragePool(kernel=(2, 2), stride=(2, 2)), True),
        (AveragePool(kernel=(2, 2), stride=(2, 2), padding=(1, 1)), False),
        (SumPool(kernel=(2, 2), stride=(2, 2)), False),
    ],
)
def test_a_constant_passes_a_map_as_any_values_do(linear_map, stays_per_channel):
    """A bias stays one value per channel only if every window keeps constants."""
    constant = np.array([3.0, -5.0])
    start = LinearExpression.of_population("a", (2, 4, 4)).shifted(constant)
    bias = start.unweighted(linear_map).bias
    everywhere = np.broadcast_to(constant[:, None, None], (1, 2, 4, 4)).astype(np.int64)
    expected = apply_maps([linear_map.without_divisor()], everywhere)[0] / linear_map.divisor
    assert np.array_equal(np.broadcast_to(bias, expected.shape), expected)
    assert (bias.shape[1:] == (1, 1)) is stays_per_channel


@dataclass(frozen=True, kw_only=True)
class Upsample:
    """An unweighted map of an unknown kind, with its own rule for shapes."""

    factor: int = 1

    def output_shape(self, shape):
        channels, height, width = shape
        return channels, height * self.factor, width * self.factor


UNKNOWN = "an integer synapse must hold maps of integers around its weight, not Upsample"


def test_an_unknown_map_is_refused_where_an_integer_synapse_is_made():
    with pytest.raises(UnsupportedNetworkError, match=f"^a -> b: {UNKNOWN}$"):
        IntegerSynapse.of_maps(
            source="a", target="b", exponent=0, maps=(Upsample(), Scale(weight=np.ones(1, np.int8)))
        )


@pytest.mark.parametrize("field", ["pools_before", "pools_after"])
def test_the_integer_verifier_refuses_an_unknown_map(field):
    network = residual_network()
    synapses = [
        replace(s, **{field: (Upsample(),)}) if s.target == "stem" else s for s in network.synapses
    ]
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"input -> stem: an integer synapse must hold one map with a weight between sum pools "
        r"and the like, not .*Upsample",
    ):
        verify_integer_network(IntegerNetwork.build(network.populations, synapses))


def test_the_float_verifier_refuses_an_unknown_map():
    graph = LayerGraph.build(
        [
            InputPopulation(name="input", shape=(1, 1, 1), max_value=1, unit=1.0),
            ReadoutPopulation(name="logits", shape=(1, 1, 1), bias=np.zeros((1, 1, 1))),
        ],
        [Synapse(source="input", target="logits", maps=(Upsample(),))],
    )
    with pytest.raises(
        UnsupportedNetworkError,
        match=r"^input -> logits: Upsample is not a linear map",
    ):
        verify_layer_graph(graph)


def test_the_judge_never_passes_a_map_by():
    with pytest.raises(AssertionError, match="Upsample"):
        apply_maps([Upsample()], np.ones((1, 1, 1, 1), np.int64))


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (
            (SumPool(kernel=(1, 1), stride=(1, 1)),),
            "exactly one map must carry a weight, not 0 of 1",
        ),
        (
            (Scale(weight=np.ones(1, np.int8)),) * 2,
            "exactly one map must carry a weight, not 2 of 2",
        ),
    ],
)
def test_an_integer_synapse_has_one_weight(maps, message):
    with pytest.raises(UnsupportedNetworkError, match=f"^a -> b: {message}$"):
        IntegerSynapse.of_maps(source="a", target="b", maps=maps, exponent=0)


def test_each_verifier_takes_its_own_network_alone():
    network = residual_network()
    with pytest.raises(TypeError, match="must be a LayerGraph, not IntegerNetwork"):
        verify_layer_graph(network)
    with pytest.raises(TypeError, match="must be an IntegerNetwork, not LayerGraph"):
        verify_integer_network(LayerGraph.build([], []))


@pytest.mark.parametrize("kind", ["input", "readout"])
def test_a_network_without_an_end_is_refused(kind):
    network = residual_network()
    end = getattr(network, kind).name
    populations = [p for p in network.populations if p.name != end]
    synapses = [s for s in network.synapses if end not in (s.source, s.target)]
    with pytest.raises(UnsupportedNetworkError, match=f"exactly one {kind} population, not 0"):
        verify_integer_network(IntegerNetwork.build(populations, synapses))
