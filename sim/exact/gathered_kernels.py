"""Convolutions on an accelerator: windows gathered into rows, then one matrix product.

cuDNN chooses its algorithms itself, and some of them transform. A matrix product does not: in bytes it runs
on tensor cores with 32-bit accumulators; in floating point, ``exact_arithmetic`` asks for products as wide as
their operands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toolchain.networks.linear_maps import Convolution

LARGEST_SIGNED_BYTE = 127
"""Largest value in a product of bytes, as both factors are signed."""

_FEWEST_ROWS, _MULTIPLE = 17, 8  # number of rows, and divisor of sizes, in torch's product of bytes


def scaled_convolution(
    convolution: Convolution,
    scales: Tensor,
    offset: Tensor | None,
    *,
    dtype: torch.dtype,
    factors: torch.dtype,
    limits: tuple[int, int] | None = None,
) -> Callable[[Tensor], Tensor]:
    """``scales * conv(W, N) + offset``, clamped to limits if there are any, of values ``(B, C, H, W)``.

    Args:
        scales, offset: floating point of shape ``(out,)``, on the device that computes.
        dtype: type of the result, which is rounded if that is no floating-point type.
        factors: type of the factors: floating point, or int8 for values ``0..127``; torch has no
            convolution of several groups in bytes, so those are in the type of the scales.
    """
    per_channel = scales[:, None, None]
    constants = None if offset is None else offset[:, None, None]
    if convolution.groups == 1:
        convolve = gathered_convolution(convolution, factors, scales.device)
    else:
        weight = torch.from_numpy(np.ascontiguousarray(convolution.weight)).to(per_channel)
        stride, padding, dilation = convolution.stride, convolution.padding, convolution.dilation
        groups = convolution.groups

        def convolve(values: Tensor) -> Tensor:
            return F.conv2d(values.to(weight), weight, None, stride, padding, dilation, groups)

    def kernel(values: Tensor) -> Tensor:
        result = convolve(values) * per_channel
        if constants is not None:
            result.add_(constants)
        if limits is not None:
            result.clamp_(*limits)
        return result if dtype == result.dtype else result.round_().to(dtype)

    return kernel


def gathered_convolution(
    convolution: Convolution, dtype: torch.dtype, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """``conv(W, N)`` for one group, of values ``(B, C, H, W)``, channels last in memory.

    Args:
        dtype: a floating-point type for factors and result; or int8 for values ``0..127`` and a result
            in int32.
    """
    weight = convolution.weight.transpose(0, 2, 3, 1).reshape(len(convolution.weight), -1)
    product = matrix_product(weight, dtype, device)

    def convolve(values: Tensor) -> Tensor:
        _, rows, columns = convolution.output_shape((values.shape[1], *values.shape[2:]))
        sums = product(_windows(values, convolution))
        return sums.reshape(len(values), rows, columns, -1).permute(0, 3, 1, 2)

    return convolve


def matrix_product(
    weight: np.ndarray, dtype: torch.dtype, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """``values W^T`` for values of shape ``(rows, in)`` and a weight of shape ``(out, in)``.

    Args:
        dtype: as for ``gathered_convolution``.
    """
    if dtype != torch.int8:
        matrix = torch.from_numpy(np.ascontiguousarray(weight)).to(device, dtype)
        return lambda values: values.to(dtype) @ matrix.T
    out, inputs = weight.shape
    more_out, more_inputs = -out % _MULTIPLE, -inputs % _MULTIPLE
    padded = np.pad(weight, ((0, more_out), (0, more_inputs)))
    packed = torch.from_numpy(np.ascontiguousarray(padded, np.int8)).to(device)

    def multiply(values: Tensor) -> Tensor:
        rows = len(values)
        more_rows = max(0, _FEWEST_ROWS - rows)
        signed = values.view(torch.int8)
        if more_rows or more_inputs:
            signed = F.pad(signed, (0, more_inputs, 0, more_rows))
        return torch._int_mm(signed, packed.T)[:rows, :out]

    return multiply


def _windows(values: Tensor, convolution: Convolution) -> Tensor:
    """The window of each output pixel: ``(B * rows * columns, kernel height * kernel width * C)``."""
    frames = values.permute(0, 2, 3, 1)
    (down, right), (height, width) = convolution.padding, convolution.kernel
    between_rows, between_columns = convolution.dilation
    if down or right:
        frames = F.pad(frames, (0, 0, right, right, down, down))
    dtype, shape = frames.dtype, frames.shape
    if frames.element_size() == 1 and shape[3] % 8 == 0:
        # eight channels are copied as one number; flat, since an axis of one may have any stride
        frames = frames.contiguous().flatten().view(torch.int64).view(*shape[:3], -1)
    windows = frames.unfold(1, between_rows * (height - 1) + 1, convolution.stride[0]).unfold(
        2, between_columns * (width - 1) + 1, convolution.stride[1]
    )[..., ::between_rows, ::between_columns]
    rows = windows.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)
    return rows.view(dtype)
