"""Channels share thresholds where a target has few of them, at the least growth of rounding errors."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from builders import WIDTHS, float_connect, float_dense, float_network_of, float_spiking
from hypothesis import given
from hypothesis import strategies as st

from toolchain.networks.linear_maps import Convolution
from toolchain.passes import lower_to_integers
from toolchain.passes.quantize_to_integers import quantize_to_integers
from toolchain.passes.shared_thresholds import cheapest_levels


def channels_of_many_sizes(weights):
    """input -> one hidden channel per weight -> readout."""
    return float_network_of(
        float_spiking("hidden", (len(weights), 1, 1), timesteps=3, threshold=2.0),
        float_connect("input", "hidden", float_dense(weights[:, None])),
        float_connect("hidden", "logits", float_dense(weights[None])),
        max_value=10,
        unit=0.1,
    )


SIZES = np.geomspace(0.04, 1, 40)  # one weight per channel


def lowered_sizes(most):
    """Weights, thresholds and exponent of the 40 channels on a target with ``most`` thresholds."""
    graph = channels_of_many_sizes(SIZES)
    network = lower_to_integers(graph, replace(WIDTHS, distinct_thresholds=most))
    synapse = network.incoming("hidden")[0]
    integers = synapse.maps[0].weight.reshape(-1).astype(float)
    return integers, network["hidden"].threshold.reshape(-1), synapse.exponent


@pytest.mark.parametrize(
    ("most", "distinct"), [(1, 1), (2, 2), (7, 7), (39, 39), (40, 40), (None, 40)]
)
def test_channels_share_as_few_thresholds_as_the_target_has(most, distinct):
    _, thresholds, _ = lowered_sizes(most)
    assert len(np.unique(thresholds)) == distinct


@pytest.mark.parametrize("most", [1, 2, 7, 39, 40, None])
def test_shared_thresholds_keep_the_scale_of_every_channel(most):
    """W / Theta stays w / alpha to half a weight."""
    integers, thresholds, exponent = lowered_sizes(most)
    real = SIZES * 0.1 / 2
    scale = 2.0**exponent / thresholds
    assert (np.abs(integers * scale - real) <= scale * (0.5 + 1e-3 * integers)).all()


def test_channels_of_their_own_threshold_use_all_bits_of_a_weight():
    integers, _, _ = lowered_sizes(None)
    assert (integers == 127).all()


@pytest.mark.parametrize("most", [1, 2, 7, 39, 40])
def test_of_channels_with_one_threshold_the_largest_uses_the_bits(most):
    integers, _, _ = lowered_sizes(most)
    assert 115 <= integers.max() <= 127


def test_seven_thresholds_lose_less_than_a_seventh_of_the_bits_between_the_channels():
    integers, _, _ = lowered_sizes(7)
    assert np.log2(127 / integers).mean() < np.log2(SIZES.max() / SIZES.min()) / 7


def test_which_thresholds_go_together_by_hand():
    """1 | 1.1 | 8, 9, 10, 30: the errors of coarse channels grow most when they share a threshold.

    Their squares relative to the threshold are 1, 0.83 and, with the level 8, 4/64 instead of 0.04 in all.
    """
    weights = 1 / np.array([1, 1.1, 8, 9, 10, 30])
    graph = channels_of_many_sizes(weights)
    network = lower_to_integers(graph, replace(WIDTHS, distinct_thresholds=3))
    thresholds = network["hidden"].threshold.reshape(-1)
    assert thresholds / thresholds[0] == pytest.approx([1, 1.1, 8, 8, 8, 8], rel=1e-3)
    integers = network.incoming("hidden")[0].maps[0].weight.reshape(-1)
    assert integers.tolist() == [127, 127, 127, 113, 102, 34]


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=8, unique=True),
    st.data(),
)
def test_no_other_levels_cost_less(levels, data):
    """Compared with every choice of as many levels that has one at or below each channel's own."""
    levels = np.array(sorted(levels), float)
    channels = np.array(
        data.draw(st.lists(st.integers(1, 5), min_size=len(levels), max_size=len(levels)))
    )
    most = data.draw(st.integers(1, len(levels) - 1))

    def cost(kept):
        taken = levels[list(kept)][np.searchsorted(levels[list(kept)], levels, side="right") - 1]
        return (channels / taken**2).sum()

    every = ((0, *others) for others in combinations(range(1, len(levels)), most - 1))
    found = cheapest_levels(levels, channels, most)
    assert len(found) == most
    assert cost(found) == pytest.approx(min(map(cost, every)), rel=1e-12)


def test_thresholds_that_differ_within_a_channel_are_left_alone():
    """Its weights have one unit, so no choice of units makes its thresholds equal."""
    thresholds = np.arange(1.0, 9).reshape(2, 2, 2)
    graph = float_network_of(
        float_spiking("hidden", (2, 2, 2), timesteps=2, threshold=thresholds),
        float_connect("input", "hidden", Convolution(weight=np.ones((2, 1, 1, 1)))),
        float_connect("hidden", "logits", float_dense(np.ones((1, 8)))),
        image=(1, 2, 2),
    )
    lowered = [
        quantize_to_integers(graph, replace(WIDTHS, distinct_thresholds=most)) for most in (3, None)
    ]
    first, second = (network["hidden"].threshold for network in lowered)
    assert np.array_equal(first, second)
    assert len(np.unique(first)) == 8
