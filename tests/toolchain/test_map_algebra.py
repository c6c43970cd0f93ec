"""Merged chains and sums of chains have one weight and give the same values; others are refused."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import random_chain, random_chain_to

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.float_snn import transmit
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    WeightedMap,
    chain_output_shape,
    describe,
    with_weight,
)
from toolchain.networks.map_algebra import merged_in_parallel, merged_in_series

seeds = given(st.integers(0, 2**32 - 1))


def values(maps, source):
    return transmit(maps, torch.from_numpy(source)).numpy()


def magnitude(maps, source):
    """Largest sum of magnitudes in a chain: what rounding is relative to."""
    maps = [with_weight(m, abs(m.weight)) if isinstance(m, WeightedMap) else m for m in maps]
    return values(tuple(maps), abs(source)).max()


def weights_of(maps):
    return [m.weight.size for m in maps if isinstance(m, WeightedMap)]


def check(merged, chains, shape, source):
    expected = sum(values(maps, source) for maps in chains)
    largest = max(magnitude(maps, source) for maps in chains)
    got = values(merged, source)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-12 * max(largest, 1e-300)
    held = weights_of(merged)
    assert len(held) <= 1
    given_weights = [n for maps in chains for n in weights_of(maps)]
    if expected.shape[2:] == (1, 1) and len(given_weights) > 1:
        assert sum(held) <= expected.shape[1] * prod(shape)


def check_random_chains(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, 3))
    source = rng.normal(size=(2, *shape))
    first = random_chain(rng, shape, int(rng.integers(1, 5)))
    target = chain_output_shape(first, shape)
    second = random_chain_to(rng, shape, target)
    for merge, *chains in [
        (merged_in_series, first),
        *([(merged_in_parallel, first, second)] if second else []),
    ]:
        try:
            merged = merge(*chains, shape)
        except UnsupportedNetworkError:
            if target[1:] == (1, 1):  # a small dense map is possible
                raise
        else:
            check(merged, chains, shape, source)


@settings(max_examples=60)
@seeds
def test_random_chains_keep_their_values(seed):
    check_random_chains(seed)


@pytest.mark.exhaustive
@settings(max_examples=5_000)
@seeds
def test_many_random_chains_keep_their_values(seed):
    check_random_chains(seed)


rng = np.random.default_rng(0)


def conv(out, channels, kernel=1, **geometry):
    return Convolution(weight=rng.normal(size=(out, channels, kernel, kernel)), **geometry)


def scale(channels):
    return Scale(weight=rng.normal(size=channels))


def dense(out, inputs):
    return Dense(weight=rng.normal(size=(out, inputs)))


def select(*channels):
    return SelectChannels(channels=np.array(channels))


def zeros_between(size):
    matrix = np.eye(2 * size - 1, dtype=np.int64)[:, ::2]
    return Resample(rows=matrix, columns=matrix)


def zeros_around(size):
    """Every second row and column is zero, the first and the last too."""
    matrix = np.eye(2 * size + 1, dtype=np.int64)[:, 1::2]
    return Resample(rows=matrix, columns=matrix)


def repeated(size):
    matrix = np.repeat(np.eye(size, dtype=np.int64), 2, axis=0)
    return Resample(rows=matrix, columns=matrix)


halved = AveragePool(kernel=(2, 2), stride=(2, 2))
blurred = AveragePool(kernel=(3, 3), stride=(1, 1), padding=(1, 1))
same = {"padding": (1, 1)}


@pytest.mark.parametrize(
    ("maps", "merged", "num_weights"),
    [
        ([conv(2, 4), conv(8, 2)], "conv 1x1", 32),  # the bottleneck of an inverted residual
        ([scale(4), conv(3, 4, 3, **same)], "conv 3x3", 108),
        ([conv(4, 1, 3, groups=4, **same), conv(3, 4)], "conv 3x3", 108),
        ([conv(4, 1, 3, groups=4), scale(4)], "conv 3x3 groups=4", 36),
        ([conv(4, 2, 3, groups=2), conv(4, 1, groups=4)], "conv 3x3 groups=2", 72),
        ([conv(4, 4), conv(3, 4, 3, **same)], "conv 3x3", 108),
        ([conv(4, 4, 3, **same), conv(3, 4, 3)], "conv 5x5", 300),
        ([conv(4, 4, 1, stride=(2, 2)), conv(3, 4, 3, **same)], "conv 3x3 /2 dilation=2", 108),
        ([conv(4, 4), halved, dense(3, 36)], "pool 2x2 > dense", 108),
        ([conv(4, 4), repeated(6), conv(3, 4, 3, **same)], "resample 6x6 to 12x12 > conv 3x3", 108),
        # a transposed convolution, its place in a concatenation, and the convolution that reads it
        (
            [zeros_between(6), conv(2, 4, 2, **same), select(-1, 0, 1), conv(3, 3, 3, **same)],
            "resample 6x6 to 11x11 > conv 4x4",
            192,
        ),
        # the same, as torch.nn.ConvTranspose2d(4, 2, 2, stride=2) is read: its zeros lie in the map
        (
            [zeros_around(6), conv(2, 4, 2), select(-1, 0, 1), conv(3, 3, 3, **same)],
            "resample 6x6 to 13x13 > conv 4x4",
            192,
        ),
        ([conv(4, 4, 3, **same), conv(4, 4, 3, **same), dense(2, 144)], "dense", 288),
        ([halved, halved], "resample 6x6 to 1x1", 0),
        ([halved, repeated(3), select(1, 0, 3, 2)], "resample 6x6 to 6x6 > select 4 channels", 0),
        ([select(3, 2, 1, 0), select(3, 2, 1, 0)], "", 0),
        ([select(2, -1, 2, 0), conv(3, 4, 3)], "select 2 channels > conv 3x3", 54),
        ([conv(4, 4, 3), select(2, 0)], "conv 3x3", 72),
        ([conv(4, 4, 3), select(2, 0, -1, 3, 1)], "conv 3x3 > select 5 channels", 144),
        ([select(2, 0, -1), scale(3)], "select 2 channels > identity > select 3 channels", 2),
        ([conv(4, 4), select(1, 1), scale(2)], "conv 1x1", 8),
        ([conv(4, 4), select(1, 1)], "conv 1x1", 8),
        ([conv(4, 2, 3, groups=2), select(1, 0)], "conv 3x3 groups=2 > select 2 channels", 72),
        ([conv(4, 2, 3, groups=2), select(1, 1)], "conv 3x3", 72),
        ([scale(4), select(1, 1, -1, 2)], "select 3 channels > identity > select 4 channels", 3),
    ],
)
def test_a_chain_becomes_one_weight(maps, merged, num_weights):
    got = merged_in_series(maps, (4, 6, 6))
    assert " > ".join(describe(m) for m in got) == merged
    assert sum(weights_of(got)) == num_weights
    check(got, [tuple(maps)], (4, 6, 6), rng.normal(size=(2, 4, 6, 6)))


@pytest.mark.parametrize(
    ("first", "second", "merged", "num_weights"),
    [
        ([conv(4, 4, 3, **same)], [conv(4, 4)], "conv 3x3", 144),
        ([conv(4, 4, 3, **same)], [], "conv 3x3", 144),
        ([conv(4, 1, 3, groups=4, **same)], [], "conv 3x3 groups=4", 36),
        ([], [], "identity", 4),
        ([scale(4)], [blurred], "conv 3x3 groups=4", 36),
        ([conv(4, 4, 2, stride=(2, 2))], [halved], "conv 2x2 /2", 64),
        ([halved, conv(4, 4)], [conv(4, 4), halved], "pool 2x2 > conv 1x1", 16),
        ([repeated(6)], [repeated(6), scale(4)], "resample 6x6 to 12x12 > identity", 4),
        ([conv(4, 4, 3, **same)], [conv(4, 4, 5, padding=(2, 2))], "conv 5x5", 400),
        ([conv(4, 4, 3, dilation=(2, 2), padding=(2, 2))], [], "conv 3x3 dilation=2", 144),
        ([dense(3, 144)], [dense(3, 144)], "dense", 432),
        ([conv(3, 4, 6)], [dense(3, 144)], "dense", 432),
        # a concatenation of a convolution with what it reads
        (
            [conv(2, 4, 3, **same), select(0, 1, -1, -1, -1, -1)],
            [select(-1, -1, 0, 1, 2, 3)],
            "conv 3x3",
            216,
        ),
        (
            [blurred, select(0, 1, 2, 3, -1, -1)],
            [select(-1, -1, -1, -1, 2, 1)],
            "select 6 channels > conv 3x3 groups=6",
            54,
        ),
    ],
)
def test_two_chains_become_one_weight(first, second, merged, num_weights):
    for one, two in ((first, second), (second, first)):
        got = merged_in_parallel(one, two, (4, 6, 6))
        assert " > ".join(describe(m) for m in got) == merged
        assert sum(weights_of(got)) == num_weights
        check(got, [tuple(one), tuple(two)], (4, 6, 6), rng.normal(size=(2, 4, 6, 6)))


def test_a_map_is_described_with_both_strides():
    assert describe(conv(2, 2, 3, stride=(2, 1))) == "conv 3x3 /2x1"
    assert describe(conv(2, 2, 3, dilation=(1, 2))) == "conv 3x3 dilation=1x2"


def test_a_chain_of_one_weight_is_left_as_it_is():
    maps = (halved, conv(4, 4, 3, **same), blurred)
    assert merged_in_series(maps, (4, 6, 6)) == maps


@pytest.mark.parametrize(
    ("merge", "message"),
    [
        (
            lambda: merged_in_series([conv(4, 4, 3, **same)] * 2, (4, 6, 6)),
            "conv 3x3 > conv 3x3: the zeros with which the second map pads its input have no place in one "
            "map; put a quantizer between them",
        ),
        (
            lambda: merged_in_series(
                [zeros_around(6), conv(2, 4, 3), conv(3, 2, 3, **same)], (4, 6, 6)
            ),
            "resample 6x6 to 13x13 > conv 3x3 > conv 3x3: the zeros with which the second map pads its input "
            "have no place in one map; put a quantizer between them",
        ),
        (
            lambda: merged_in_series(
                [conv(512, 1, 9, groups=512, padding=(4, 4)), conv(2048, 512)], (512, 9, 9)
            ),
            "conv 9x9 groups=512 > conv 1x1: merging them needs 84,934,656 weights, above the limit of "
            "16,777,216; put a quantizer between them",
        ),
        (
            lambda: merged_in_parallel([conv(4, 4, 2, stride=(2, 2))], [conv(4, 4, 4)], (4, 6, 6)),
            "(conv 2x2 /2) + (conv 4x4): their strides are 2 and 1; put a quantizer on one of the paths",
        ),
        (
            lambda: merged_in_parallel([conv(3, 4)], [], (4, 6, 6)),
            "(conv 1x1) + (identity): shapes (3, 6, 6) and (4, 6, 6) cannot be added",
        ),
    ],
)
def test_what_no_single_weight_gives_is_refused_with_numbers(merge, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        merge()
    assert str(refusal.value) == message


def test_a_dense_map_above_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr("toolchain.networks.map_algebra.series.MAX_MERGED_WEIGHTS", 200)
    maps = (conv(1, 4, 3, **same), conv(1, 1, 3, **same), dense(2, 36))
    with pytest.raises(UnsupportedNetworkError) as refusal:
        merged_in_series(maps, (4, 6, 6))
    assert str(refusal.value) == (
        "conv 3x3 > conv 3x3: the zeros with which the second map pads its input have no place in one map, "
        "and as a dense map, merging them needs 288 weights, above the limit of 200; put a quantizer "
        "between them"
    )


def test_a_wrong_weight_is_seen():
    maps = (conv(2, 4), conv(8, 2))
    (merged,) = merged_in_series(maps, (4, 6, 6))
    wrong = replace(merged, weight=merged.weight * (1 + 1e-9))
    with pytest.raises(AssertionError):
        check((wrong,), [maps], (4, 6, 6), rng.normal(size=(2, 4, 6, 6)))
