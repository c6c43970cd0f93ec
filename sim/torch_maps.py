"""Synapses computed by torch in floating point that holds every integer; shares no code with training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import assert_never

from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork, IntegerSynapse
from toolchain.networks.integer_network.accumulator_bounds import window_sum_bound
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
)

EXACT_INTEGERS = {torch.float32: 2**24 - 1, torch.float64: 2**53 - 1}
"""Largest integer up to which sums, products and floored quotients of each type are exact."""


def exact_type(network: IntegerNetwork, name: str) -> torch.dtype:
    """The narrowest float type that holds every sum of a population's firing window.

    Raises:
        UnsupportedNetworkError: the bound exceeds the integers that doubles hold.
    """
    bound = window_sum_bound(network, name)
    dtype = next((d for d, limit in EXACT_INTEGERS.items() if bound <= limit), None)
    if dtype is None:
        raise UnsupportedNetworkError(
            f"{name}: accumulator bound {bound:,} exceeds 2^53, the largest integer that doubles hold; use "
            f"the stepped engine"
        )
    return dtype


def transmit(synapse: IntegerSynapse, values: Tensor) -> Tensor:
    """``2^x_e * op_e(W_e, values)``, to be called within ``exact_arithmetic``.

    Args:
        values: integers of shape ``(B, C, H, W)`` in a type that holds the sums; see ``exact_type``.
    """
    for linear_map in synapse.maps:
        values = _apply(linear_map, values)
    return values * 2**synapse.exponent


def _apply(linear_map: IntegerMap, values: Tensor) -> Tensor:
    match linear_map:
        case Convolution(stride=stride, padding=padding, dilation=dilation, groups=groups):
            weight = torch.from_numpy(linear_map.weight).to(values.dtype)
            return F.conv2d(values, weight, None, stride, padding, dilation, groups)
        case Dense():
            weight = torch.from_numpy(linear_map.weight).to(values.dtype)
            return F.linear(values.flatten(1), weight)[:, :, None, None]
        case Scale():
            weight = torch.from_numpy(linear_map.weight).to(values.dtype)
            return values * weight[:, None, None]
        case SumPool():
            return sum_pool(linear_map, values)
        case Resample(rows=rows, columns=columns):
            by_row, by_column = (torch.from_numpy(m).to(values.dtype) for m in (rows, columns))
            return by_row @ values @ by_column.T
        case SelectChannels(channels=channels):
            chosen = torch.from_numpy(channels)
            return values[:, chosen.clamp(min=0)] * (chosen >= 0)[:, None, None]
        case _:
            assert_never(linear_map)


def sum_pool(pool: SumPool, values: Tensor) -> Tensor:
    """Sums of the windows of floating-point values ``(B, C, H, W)``; torch pads half a kernel at most."""
    (down, right), padding = pool.padding, pool.padding
    if 2 * down > pool.kernel[0] or 2 * right > pool.kernel[1]:
        values, padding = F.pad(values, (right, right, down, down)), (0, 0)
    return F.avg_pool2d(values, pool.kernel, pool.stride, padding, divisor_override=1)
