"""Rounding by the output's error: against its definition, one weight at a time with explicit inverses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.rounding.output_error import damped, nearest, round_by_output_error


def naive(weight, moments, most):
    """Optimal brain quantization of one row, in the order of the largest second moments.

    Each weight is rounded in turn. The others that are not rounded yet change by ``-error * (H^-1)_ij /
    (H^-1)_ii``, where H holds the weights that are not rounded yet.
    """
    weight, rounded = weight.copy(), np.empty_like(weight)
    left = list(np.argsort(-np.diag(moments), kind="stable"))
    while left:
        inverse = np.linalg.inv(moments[np.ix_(left, left)])
        first = left[0]
        rounded[first] = np.clip(np.floor(weight[first] + 0.5), -most, most)
        error = weight[first] - rounded[first]
        weight[left] -= error * inverse[0] / inverse[0, 0]
        left = left[1:]
    return rounded


def correlated(rng, groups, inputs, samples):
    """Second moments of counts that share a part, so that errors can be compensated."""
    counts = rng.poisson(1 + rng.gamma(1, size=(groups, 1, samples)), (groups, inputs, samples))
    return damped(counts.astype(float) @ counts.transpose(0, 2, 1))


@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 3),
    outputs=st.integers(1, 4),
    inputs=st.integers(1, 12),
    most=st.sampled_from([1, 7, 127]),
)
def test_every_integer_is_that_of_the_definition(seed, groups, outputs, inputs, most):
    rng = np.random.default_rng(seed)
    weight = rng.normal(scale=most / 2, size=(groups, outputs, inputs))
    moments = correlated(rng, groups, inputs, 40)
    found = round_by_output_error(weight, moments, most)
    expected = [[naive(row, moments[g], most) for row in weight[g]] for g in range(groups)]
    assert found.tolist() == np.array(expected).tolist()


def test_more_inputs_than_are_rounded_at_once_are_compensated_too():
    rng = np.random.default_rng(0)
    weight, moments = rng.normal(scale=3, size=(1, 2, 150)), correlated(rng, 1, 150, 400)
    expected = [naive(row, moments[0], 7) for row in weight[0]]
    assert round_by_output_error(weight, moments, 7)[0].tolist() == np.array(expected).tolist()


def test_the_output_of_correlated_inputs_changes_less_than_with_nearest_rounding():
    rng = np.random.default_rng(1)
    weight, moments = rng.normal(scale=3, size=(1, 8, 64)), correlated(rng, 1, 64, 2_000)

    def error(rounded):
        return np.einsum("goi,gij,goj->", weight - rounded, moments, weight - rounded)

    assert error(round_by_output_error(weight, moments, 7)) < 0.6 * error(nearest(weight, 7))


def test_integers_stay_within_the_range_and_ties_go_up():
    assert nearest(np.array([0.5, -0.5, 1.5 - 1e-12, 9, -9]), 7).tolist() == [1, 0, 2, 7, -7]
    alone = round_by_output_error(np.array([[[2.5, -20.0]]]), np.eye(2)[None], 7)
    assert alone.tolist() == [[[3, -7]]]


def test_inputs_that_are_always_zero_are_rounded_to_nearest():
    moments = damped(np.diag([4.0, 0.0])[None])
    assert round_by_output_error(np.array([[[1.4, 2.6]]]), moments, 7).tolist() == [[[1, 3]]]
    assert moments[0, 1, 1] == pytest.approx(1.02)
