"""Sums of frames over blocks against the definition, in every memory layout."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_models.multicore.cost.frame_sums import frame_sums


def by_definition(frames, weights):
    sums = np.einsum("ktchw,ac,bh,dw->abdkt", frames.astype(np.int64), *weights)
    return sums.reshape(int(np.prod(sums.shape[:3])), *frames.shape[:2])


def in_layout(frames, layout):
    return np.ascontiguousarray(frames.transpose(layout)).transpose(np.argsort(layout))


@st.composite
def weights_of(draw, sizes, rng):
    """Rows that repeat, most of them with runs of equal weights; int64 or bool."""
    run = draw(st.sampled_from([1, 2, 4]))
    largest = draw(st.sampled_from([1, 2, 100]))
    weights = []
    for size in sizes:
        count = draw(st.integers(0, 4))
        rows = rng.integers(0, largest + 1, (count, -(-size // run))).repeat(run, axis=1)
        weights.append(rows[rng.integers(0, count, count), :size] if count else rows[:, :size])
    return [rows.astype(bool) for rows in weights] if largest == 1 else weights


@settings(max_examples=300)
@given(
    st.tuples(*(st.integers(0, 3),) * 2, *(st.integers(1, 9),) * 3),
    st.permutations(range(5)),
    st.sampled_from([(bool, 1), (np.uint8, 255), (np.int64, 8), (np.int64, 2**23)]),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_sums_of_every_combination_of_blocks(shape, layout, number, seed, data):
    kind, largest = number
    rng = np.random.default_rng(seed)
    frames = in_layout(rng.integers(0, largest + 1, shape).astype(kind), layout)
    asked = [data.draw(weights_of(shape[2:], rng)) for _ in range(data.draw(st.integers(1, 3)))]
    for weights, sums in zip(asked, frame_sums(frames, asked), strict=True):
        expected = by_definition(frames, weights)
        assert sums.of_combinations().dtype == np.int64
        assert np.array_equal(sums.of_combinations(), expected)
        # groups with none, one or many combinations, which share distinct sums
        groups = rng.integers(0, 3, len(expected))
        factors = rng.integers(0, 5, (2, len(expected)))
        totals = np.zeros((2, 4, *shape[:2]), np.int64)
        for combination, group in enumerate(groups):
            totals[:, group] += factors[:, combination, None, None] * expected[combination]
        assert sums.of_groups(groups, 4, factors).dtype == np.int64
        assert np.array_equal(sums.of_groups(groups, 4, factors), totals)
        assert np.allclose(sums.of_groups(groups, 4, factors / 3), totals / 3)


@pytest.mark.parametrize("value", [51, 52, 255])
def test_runs_whose_sum_just_fits_a_byte_and_runs_whose_sum_does_not(value):
    """Five rows of 51 add up to 255."""
    frames = np.full((1, 2, 3, 5, 4), value, np.uint8)
    weights = [np.ones((1, size), bool) for size in (3, 5, 4)]
    (sums,) = frame_sums(frames, [weights])
    assert sums.of_combinations().tolist() == [[[60 * value] * 2]]


@pytest.mark.parametrize("total", [2**24 - 1, 2**24 + 1])
def test_sums_at_the_end_of_single_precision(total):
    frames = np.array([total // 2, total - total // 2]).reshape(1, 1, 1, 1, 2)
    weights = [np.ones((1, size), bool) for size in (1, 1, 2)]
    for layout in (range(5), (0, 1, 3, 4, 2)):
        (sums,) = frame_sums(in_layout(frames, layout), [weights])
        assert sums.of_combinations().tolist() == [[[total]]]


def test_a_bool_train_with_samples_left_out():
    train = np.random.default_rng(0).random((6, 2, 3, 4, 4)) < 0.5
    weights = [np.eye(3, dtype=bool), np.ones((1, 4), bool), np.ones((1, 4), bool)]
    (sums,) = frame_sums(train[1::3], [weights])
    assert np.array_equal(sums.of_combinations(), train[1::3].sum(axis=(3, 4)).transpose(2, 0, 1))


def test_totals_that_no_double_holds_are_exact():
    frames = np.full((1, 1, 9, 9, 9), 2**23 - 1, np.int64)
    (sums,) = frame_sums(frames, [[np.full((1, 9), 99) for _ in range(3)]])
    total = 3 * (2**23 - 1) * (9 * 99) ** 3
    assert int(float(total)) != total
    groups, factors = np.zeros(1, np.int64), np.full((1, 1), 3)
    assert sums.of_groups(groups, 1, factors).item() == total
