"""Linear maps as torch computes them, with sums that are the exact integers.

Two arithmetics, and why neither rounds:

- **int8**: counts and weights in bytes, 32-bit accumulators, so the sum is an integer and its conversion to
  float32 is exact below 2^24. On a processor through oneDNN, if it has VNNI, which adds four products into
  32 bits without saturation; on an accelerator as products of matrices (``sim.exact.gathered_kernels``).
  Several times as fast as float32.
- **float**: every product and partial sum is an integer that the type can hold (``EXACT_INTEGERS``), in
  any order of addition. That excludes algorithms that transform their operands (Winograd, Fourier: NNPACK,
  cuDNN) or shorten them (TF32, bfloat16). Torch asks oneDNN for the direct convolution, which does neither.

``exact_arithmetic`` switches off the algorithms that torch can switch off; ``check_float_arithmetic`` and
``largest_factor`` test the rest on the hardest integers before anything relies on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from operator import attrgetter
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import assert_never

from sim.exact.gathered_kernels import LARGEST_SIGNED_BYTE, matrix_product, scaled_convolution
from sim.exact.selection_kernels import resampling_kernel, selection_kernel
from sim.torch_maps import EXACT_INTEGERS, sum_pool
from toolchain.errors import DeviceError
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    IntegerPool,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
    as_grouped_convolution,
    window_reads,
)

LARGEST_BYTE = 255

_SMALL_MATRIX = 2_048
"""Weights below which packing a matrix for oneDNN takes longer than its products ever save."""

Kernel: TypeAlias = Callable[[Tensor], Tensor]
"""Values of shape ``(B, C, H, W)`` to values of the map's output shape."""


def is_processor(device: torch.device) -> bool:
    """Whether oneDNN computes on a device; others compute matrix products of gathered windows."""
    return device.type == "cpu"


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Switch off gradients and all algorithms that transform or shorten their operands.

    torch keeps the choice of algorithms for the whole process, so it is undone when the last thread has left:
    a Dask worker computes in several.
    """
    with torch.inference_mode(), _exact_algorithms:
        yield


class _ExactAlgorithms(AbstractContextManager[None]):
    """The settings of the process, while any of its threads is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads_inside = 0
        self._settings = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._threads_inside == 0:
                self._choose()
            self._threads_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads_inside -= 1
            if self._threads_inside == 0:
                self._settings.close()

    def _choose(self) -> None:
        settings = self._settings
        settings.enter_context(torch.backends.nnpack.flags(enabled=False))
        if torch.cuda.is_available():
            # without cuDNN a grouped convolution is a direct sum; others are products of matrices
            settings.enter_context(torch.backends.cudnn.flags(enabled=False))
        for place in ("mkldnn.matmul", "mkldnn.conv", "cuda.matmul"):
            _set(settings, place, "fp32_precision", "ieee")
        if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch before 2.9
            _set(settings, "cuda.matmul", "allow_tf32", False)


_exact_algorithms = _ExactAlgorithms()


def _set(settings: ExitStack, place: str, attribute: str, value: object) -> None:
    """Set an attribute, if this torch has it, until the settings are undone."""
    try:
        owner = attrgetter(place)(torch.backends)
        before = getattr(owner, attribute)
    except AttributeError:
        return
    setattr(owner, attribute, value)
    settings.callback(setattr, owner, attribute, before)


def convolution_kernel(
    convolution: Convolution,
    shape: Shape,
    *,
    factor: int,
    bias: np.ndarray | None,
    dtype: torch.dtype,
    int8: bool,
    device: torch.device,
) -> Kernel:
    """``factor * conv(W, N) + bias`` in ``dtype``.

    Args:
        shape: shape of the feature map.
        bias: integers of shape ``(out,)``, or None.
        int8: the values are unsigned bytes up to ``largest_factor``, and ``dtype`` is float32.
    """
    scales = np.full(len(convolution.weight), factor)
    if int8:
        return scaling_kernel(convolution, scales, bias, None, dtype, device=device)
    offset = None if bias is None else _tensor(bias, dtype, device)
    if convolution.groups == 1 and not is_processor(device):
        factors = _tensor(scales, dtype, device)
        return scaled_convolution(convolution, factors, offset, dtype=dtype, factors=dtype)
    weight = _tensor(convolution.weight, dtype, device) * factor
    stride, padding, dilation = convolution.stride, convolution.padding, convolution.dilation
    groups = convolution.groups
    is_trusted = channels_last_is_trusted(convolution, shape)
    if is_trusted:
        weight = weight.contiguous(memory_format=torch.channels_last)

    def kernel(values: Tensor) -> Tensor:
        values = values.to(dtype)
        if not is_trusted:  # channels first by its strides, too: a single channel suits both orders
            values = values.contiguous().flatten(1).view(values.shape)
        return F.conv2d(values, weight, offset, stride, padding, dilation, groups)

    return kernel


def scaling_kernel(
    convolution: Convolution,
    scales: np.ndarray,
    offset: np.ndarray | None,
    limits: tuple[int, int] | None,
    dtype: torch.dtype,
    *,
    device: torch.device,
) -> Kernel:
    """``scales * conv(W, N) + offset`` of unsigned bytes, clamped to limits if there are any.

    Args:
        scales, offset: numbers that float32 holds, of shape ``(out,)``.
        dtype: float32, or uint8 to which the result is rounded.
    """
    factors = _tensor(scales, torch.float32, device)
    constants = None if offset is None else _tensor(offset, torch.float32, device)
    if not is_processor(device):
        return scaled_convolution(
            convolution, factors, constants, dtype=dtype, factors=torch.int8, limits=limits
        )
    stride, padding = list(convolution.stride), list(convolution.padding)
    dilation, groups = list(convolution.dilation), convolution.groups
    packed = torch.ops.onednn.qconv_prepack(
        _tensor(convolution.weight, torch.int8), factors, 1.0, 0, stride, padding, dilation, groups,
        None,
    )  # fmt: skip
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    attribute, ends = ("none", []) if limits is None else ("hardtanh", [float(x) for x in limits])
    return lambda values: torch.ops.onednn.qconv2d_pointwise(
        values, 1.0, 0, packed, factors, zeros, constants, stride, padding, dilation, groups,
        1.0, 0, dtype, attribute, ends, "",
    )  # fmt: skip


def channels_last_is_trusted(convolution: Convolution, shape: Shape) -> bool:
    """Whether oneDNN is right for a feature map of this shape with channels last in memory.

    Release 3.12 reads wrong rows if the stride is horizontal and the output one column wide: of bytes and
    float32 if a group has one input channel, for some numbers of samples; of bytes in any group on
    processors with AMX, for outputs of five rows or more. Its kernel for depthwise convolutions does not.
    With dilation it crashes, in bytes on these processors, where all that a window reads is padding.
    """
    out, per_group = convolution.weight.shape[:2]
    is_depthwise = per_group == 1 and out == convolution.groups > 1
    one_column = convolution.output_shape(shape)[2] == 1
    reads_padding_alone = any(
        not (window_reads(size, *window) >= 0).any(axis=1).all()
        for size, *window in zip(
            shape[1:],
            convolution.kernel,
            convolution.stride,
            convolution.padding,
            convolution.dilation,
            strict=True,
        )
    )
    return not reads_padding_alone and (
        is_depthwise or not (convolution.stride[1] > 1 and one_column)
    )


def reads_bytes_exactly(linear_map: IntegerMap, shape: Shape) -> bool:
    """Whether the kernel of a map may read a feature map of this shape in bytes."""
    match linear_map:
        case Resample() | SelectChannels():
            return True  # they are copied, or added up in floating point
        case Convolution() | Scale() | SumPool():
            return channels_last_is_trusted(as_grouped_convolution(linear_map, shape), shape)
        case Dense():
            return True
        case _:
            assert_never(linear_map)


def dense_kernel(
    dense: Dense,
    shape: Shape,
    *,
    factor: int,
    bias: np.ndarray | None,
    dtype: torch.dtype,
    int8: bool,
    device: torch.device,
) -> Kernel:
    """``factor * W N + bias`` over the flattened feature map, channels last as they lie in memory."""
    weight = dense.weight.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(len(dense.weight), -1)
    if int8 and not (is_processor(device) and weight.size < _SMALL_MATRIX):
        product = _int8_product(weight, float(factor), bias, device)
    else:
        matrix = _tensor(weight, dtype, device) * factor
        offset = None if bias is None else _tensor(bias, dtype, device)

        def product(values: Tensor) -> Tensor:
            return F.linear(values.to(dtype), matrix, offset)

    return lambda values: product(values.permute(0, 2, 3, 1).flatten(1))[:, :, None, None]


def pool_kernel(
    pool: IntegerPool,
    channels: int,
    *,
    int8: bool,
    dtype: torch.dtype = torch.float32,
    device: torch.device,
) -> Kernel:
    """A map without a weight; with ``int8``, unsigned bytes in and out."""
    match pool:
        case SumPool():
            if int8 and is_processor(device):
                convolution = as_grouped_convolution(pool, (channels, 1, 1))
                ones = np.ones(channels)
                return scaling_kernel(convolution, ones, None, None, torch.uint8, device=device)

            def sums(values: Tensor) -> Tensor:
                return sum_pool(pool, values.to(dtype))

            return (lambda values: sums(values).to(torch.uint8)) if int8 else sums
        case Resample():
            return resampling_kernel(pool, int8=int8, dtype=dtype, device=device)
        case SelectChannels():
            return selection_kernel(pool, channels, device=device)
        case _:
            assert_never(pool)


def _int8_product(
    weight: np.ndarray, factor: float, bias: np.ndarray | None, device: torch.device
) -> Kernel:
    offset = None if bias is None else _tensor(bias, torch.float32, device)
    if not is_processor(device):
        product = matrix_product(weight, torch.int8, device)
        constants = 0.0 if offset is None else offset
        return lambda values: product(values) * factor + constants
    scales, zeros = torch.full((len(weight),), factor), torch.zeros(len(weight), dtype=torch.int64)
    packed = torch.ops.onednn.qlinear_prepack(_tensor(weight, torch.int8), None)
    return lambda values: torch.ops.onednn.qlinear_pointwise(
        values, 1.0, 0, packed, scales, zeros, offset, 1.0, 0, torch.float32, "none", [], ""
    )


def _tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(
        device=device, dtype=dtype
    )


@cache
def largest_factor(device: torch.device) -> int:
    """Largest value for 8-bit arithmetic on a device; 0 if the device has none that is exact."""
    if is_processor(device):
        has_it = getattr(torch.cpu, "_is_vnni_supported", bool)()
        largest = LARGEST_BYTE
    else:
        has_it, largest = hasattr(torch, "_int_mm"), LARGEST_SIGNED_BYTE
    return largest if has_it and _adds_bytes_exactly(device, largest) else 0


def _adds_bytes_exactly(device: torch.device, largest: int) -> bool:
    """Whether this device and this torch add without saturation; a test on the largest values."""
    rng = np.random.default_rng(0)
    try:
        with exact_arithmetic():
            # every sum stays below 2^24: 48 * 9 * 255 * 127 + 2^20 is 15 million
            for channels, groups, kernel in ((3, 1, 3), (48, 1, 3), (64, 1, 1), (32, 32, 3)):
                shape = (32, channels // groups, kernel, kernel)
                weight = rng.choice(np.array([-127, 127, 126], np.int8), shape)
                pixels = rng.integers(largest - 1, largest + 1, (2, channels, 9, 9), np.uint8)
                values = torch.from_numpy(pixels).to(device)
                values = values.contiguous(memory_format=torch.channels_last)
                bias = rng.integers(-(2**20), 2**20, 32)
                case = Convolution(weight=weight, groups=groups, padding=(1, 1))
                make = partial(
                    convolution_kernel, case, (channels, 9, 9), factor=1, bias=bias, device=device
                )
                sums = make(dtype=torch.float64, int8=False)(values)
                if not torch.equal(make(dtype=torch.float32, int8=True)(values).double(), sums):
                    return False
                # a scale of 2^-13 and halves: nothing rounds but the counts, and those to even
                scales, halves = np.full(32, 2.0**-13), np.full(32, 0.5)
                to_bytes = scaling_kernel(
                    case, scales, halves, (0, 200), torch.uint8, device=device
                )
                bare = (sums - _tensor(bias, torch.float64, device)[:, None, None]) * 2.0**-13 + 0.5
                if not torch.equal(to_bytes(values).double(), bare.clamp(0, 200).round()):
                    return False
            dense = Dense(weight=np.full((10, 256), 127, np.int8))
            make = partial(dense_kernel, dense, (4, 8, 8), factor=2, bias=None, device=device)
            full = torch.full((2, 4, 8, 8), largest, dtype=torch.uint8, device=device)
            sums = make(dtype=torch.float64, int8=False)(full)
            return torch.equal(make(dtype=torch.float32, int8=True)(full).double(), sums)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False  # a torch with other operators, or built without oneDNN


def check_float_arithmetic(device: torch.device) -> None:
    """Test sums at the limits of ``EXACT_INTEGERS``.

    Raises:
        DeviceError: something shortens the operands.
    """
    with exact_arithmetic():
        for dtype, limit in EXACT_INTEGERS.items():
            # 4,095 * 4,097 = 2^24 - 1: any operand with fewer bits than its own gives another product
            factors = (4095, 4097) if dtype == torch.float32 else (6361 * 69431, 20394401)
            assert factors[0] * factors[1] == limit
            values = torch.full((1, 1, 3, 3), factors[0], dtype=dtype, device=device)
            weight = torch.zeros((2, 1, 3, 3), dtype=dtype, device=device)
            weight[:, :, 1, 2] = factors[1]
            sums = F.conv2d(values, weight, padding=1)[:, :, 1, 1]
            products = F.linear(values.flatten(1), weight.flatten(1))
            batches = values.flatten(1) @ weight.view(2, 9, 1)
            if any((results != limit).any() for results in (sums, products, batches)):
                raise DeviceError(
                    f"{dtype} sums on {device} are not exact: something shortens the operands; unset "
                    f"ONEDNN_DEFAULT_FPMATH_MODE and NVIDIA_TF32_OVERRIDE"
                )
