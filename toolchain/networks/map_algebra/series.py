"""Chains of maps as chains with one weight."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.linear_maps import (
    Dense,
    LinearMap,
    Shape,
    WeightedMap,
    chain_output_shape,
    describe,
)
from toolchain.networks.map_algebra.chain import MAX_MERGED_WEIGHTS, Chain, Side, simplified
from toolchain.networks.map_algebra.convolutions import (
    check_weights,
    dense_matrix,
    ends_in_features,
    total_weights,
)

MAX_GROWTH = 64
"""Most weights of such a map, as a multiple of those that it replaces."""
_ALWAYS_ALLOWED = 2**16  # weights: below this, growth does not matter


def merged_in_series(maps: Sequence[LinearMap], shape: Shape) -> tuple[LinearMap, ...]:
    """An equal chain with at most one weight: maps without a weight, the weighted map, more without.

    At most one target channel reads each row of the weight.

    Args:
        maps: applied in order.
        shape: of the source.

    Raises:
        UnsupportedNetworkError: a map does not take the shape it is given, or no single weight of reasonable
            size gives the same values.
    """
    return series_chain(maps, shape).maps


def series_chain(maps: Sequence[LinearMap], shape: Shape) -> Chain:
    """See ``merged_in_series``."""
    chain_output_shape(maps, shape)
    most = most_weights(maps)
    chain, waiting = Chain(Side(shape), None, Side(shape)), tuple(maps)
    while waiting:
        try:
            chain, waiting = chain.then(waiting[0], most), waiting[1:]
        except UnsupportedNetworkError as error:
            done = maps[: len(maps) - len(waiting) + 1]
            chain, waiting = _as_dense(chain, waiting, f"{chain_text(done)}: {error}", most)
    chain = simplified(chain)
    if sum(isinstance(m, WeightedMap) for m in maps) > 1 and ends_in_features(maps, shape):
        before = min(chain.before, Side(shape), key=lambda side: prod(side.output_shape))
        source, features = before.output_shape, chain.after.output_shape[0]
        if total_weights(chain.maps) > features * prod(source):
            weight = dense_matrix(chain.maps[len(before.maps) :], source)
            return Chain.of(before, Dense(weight=weight))
    return chain


def _as_dense(
    chain: Chain, waiting: tuple[LinearMap, ...], refusal: str, most: int
) -> tuple[Chain, tuple[LinearMap, ...]]:
    """Merge a chain with the next maps, up to the first that gives one value per channel, to a dense map.

    Raises:
        UnsupportedNetworkError: with ``refusal``; there is no such map, or the dense map is too large.
    """
    source = chain.before.output_shape
    maps = chain.maps[len(chain.before.maps) :]
    for num in range(1, len(waiting) + 1):
        merged = (*maps, *waiting[:num])
        if ends_in_features(merged, source):
            try:
                check_weights(chain_output_shape(merged, source)[0] * prod(source), most)
            except UnsupportedNetworkError as error:
                refusal += f", and as a dense map, {error}"
                break
            dense = Dense(weight=dense_matrix(merged, source))
            return Chain.of(chain.before, dense), waiting[num:]
    raise UnsupportedNetworkError(f"{refusal}; put a quantizer between them")


def chain_text(maps: Sequence[LinearMap]) -> str:
    """A short text for a chain of maps."""
    return " > ".join(describe(linear_map) for linear_map in maps) or "identity"


def most_weights(maps: Sequence[LinearMap]) -> int:
    """Limit on the weights of a map that replaces others."""
    own = total_weights(maps)
    return max(own, min(MAX_MERGED_WEIGHTS, max(_ALWAYS_ALLOWED, MAX_GROWTH * own)))
