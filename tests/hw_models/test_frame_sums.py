"""Sums of frames over blocks against the definition, in every memory layout."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_models.multicore.frame_sums import frame_sums


@settings(deadline=None, max_examples=300)
@given(
    st.tuples(*(st.integers(0, 3),) * 2, *(st.integers(1, 5),) * 3),
    st.tuples(*(st.integers(1, 4),) * 3),
    st.permutations(range(5)),
    st.sampled_from([1, 8, 2**23]),
    st.integers(0, 2**32 - 1),
)
def test_sums_of_every_combination_of_blocks(shape, blocks, layout, largest, seed):
    rng = np.random.default_rng(seed)
    in_memory = rng.integers(0, largest + 1, [shape[axis] for axis in layout])
    frames = in_memory.transpose(np.argsort(layout))
    weights = [
        rng.integers(0, rng.integers(2, 100), (b, n))[rng.integers(0, b, b)]
        for b, n in zip(blocks, shape[2:], strict=True)
    ]
    expected = np.einsum("ktchw,ac,bh,dw->abdkt", frames, *weights)
    sums = frame_sums(frames, weights)
    assert sums.dtype == np.int64
    assert np.array_equal(sums, expected.reshape(int(np.prod(blocks)), *shape[:2]))


def test_a_bool_train_with_samples_left_out():
    train = np.random.default_rng(0).random((6, 2, 3, 4, 4)) < 0.5
    weights = [np.eye(3, dtype=np.int64), np.ones((1, 4), np.int64), np.ones((1, 4), np.int64)]
    assert np.array_equal(
        frame_sums(train[1::3], weights), train[1::3].sum(axis=(3, 4)).transpose(2, 0, 1)
    )
