"""Windows, padding and axes, as ONNX writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.values import Call
from toolchain.shown_values import shown_text

MAX_SIZE = 2**24
"""Largest size, stride or padding along one axis."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A kernel and how it moves, with one entry per axis.

    Attributes:
        padding, padding_end: before the first and behind the last element.
        extra: of a transposed convolution: elements to add at the end.
    """

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    padding: list[int]
    padding_end: list[int]
    extra: list[int]

    @property
    def is_symmetric(self) -> bool:
        return self.padding == self.padding_end

    @property
    def pool_is_plain(self) -> bool:
        """Whether PyTorch's pools can pad it: on both sides alike, and at most half of the window."""
        return self.is_symmetric and all(
            2 * p <= d * (k - 1) + 1
            for p, k, d in zip(self.padding, self.kernel, self.dilation, strict=True)
        )

    @property
    def symmetric_padding(self) -> list[int]:
        return self.padding if self.is_symmetric else [0] * len(self.kernel)

    @property
    def pool_padding(self) -> list[int]:
        return self.padding if self.pool_is_plain else [0] * len(self.kernel)

    def filled_up(self, sizes: Sequence[int]) -> Window:
        """The same with as much padding at the end as ``ceil_mode`` adds; no window begins in it."""
        ends = []
        for size, k, s, d, begin, end in zip(
            sizes,
            self.kernel,
            self.stride,
            self.dilation,
            self.padding,
            self.padding_end,
            strict=True,
        ):
            reach = d * (k - 1) + 1
            last = min(-(-(size + begin + end - reach) // s), (size + begin - 1) // s)
            ends.append(max(0, last * s + reach - size - begin))
        return replace(self, padding_end=ends)

    def output_sizes(self, sizes: Sequence[int], ceil_mode: bool) -> tuple[int, ...]:
        result = []
        for size, k, s, begin, end in zip(
            sizes, self.kernel, self.stride, self.padding, self.padding_end, strict=True
        ):
            room = size + begin + end - k
            result.append((-(-room // s) if ceil_mode else room // s) + 1)
        return tuple(result)


def window_of(call: Call, kernel: Sequence[int] | None, *, transposed: bool = False) -> Window:
    """The window of a convolution or pool, with its padding in numbers.

    Args:
        kernel: that of a weight; None if it is an attribute.
    """
    sizes = call.live().shape[2:]
    axes = len(sizes)
    kernel = list(kernel if kernel is not None else call.integers("kernel_shape") or [])
    stride = call.integers("strides") or [1] * axes
    dilation = call.integers("dilations") or [1] * axes
    pads = call.integers("pads") or [0] * 2 * axes
    extra = call.integers("output_padding") or [0] * axes
    if (
        not len(kernel) == len(stride) == len(dilation) == len(extra) == axes
        or len(pads) != 2 * axes
    ):
        raise ModelFileError(
            f"its kernel {kernel}, strides {stride}, dilations {dilation} and pads {pads} do not fit "
            f"{axes} axes"
        )
    if not all(1 <= n < MAX_SIZE for n in (*kernel, *stride, *dilation)):
        raise ModelFileError("its kernel, strides and dilations must be positive")
    if not all(0 <= n < MAX_SIZE for n in (*pads, *extra)):
        raise ModelFileError("its pads must not be negative")
    begin, end = pads[:axes], pads[axes:]
    mode = call.text("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", ""):
        raise ModelFileError(f"auto_pad must be one of the standard's, not '{shown_text(mode)}'")
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if transposed:
        wanted = call.integers("output_shape")
        if wanted is not None or mode.startswith("SAME"):
            target = (wanted or [n * s for n, s in zip(sizes, stride, strict=True)])[-axes:]
            total = [
                max(0, s * (n - 1) + e + r - t)
                for s, n, e, r, t in zip(stride, sizes, extra, reach, target, strict=True)
            ]
            begin, end = _split(total, upper=mode == "SAME_UPPER")
    elif mode.startswith("SAME"):
        total = [
            max(0, (-(-n // s) - 1) * s + r - n)
            for n, s, r in zip(sizes, stride, reach, strict=True)
        ]
        begin, end = _split(total, upper=mode == "SAME_UPPER")
    if mode == "VALID":
        begin = end = [0] * axes
    return Window(
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=begin,
        padding_end=end,
        extra=extra,
    )


def _split(total: list[int], *, upper: bool) -> tuple[list[int], list[int]]:
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return (less, more) if upper else (more, less)


def padded(window: Window, value: float, module: nn.Module, *, pool: bool = False) -> nn.Module:
    """A module behind the padding that it does not do itself."""
    itself = window.pool_is_plain if pool else window.is_symmetric
    if itself:
        return module
    return nn.Sequential(Pad(torch_pads(window.padding, window.padding_end), value), module)


def torch_pads(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Padding in PyTorch's order: the last axis first."""
    return [p for pair in reversed(list(zip(begin, end, strict=True))) for p in pair]


def axis_of(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ModelFileError(f"axis {axis} of a tensor of {rank} axes does not exist")
    return axis % rank


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    found = tuple(axis_of(axis, rank) for axis in axes)
    if len(set(found)) < len(found):
        raise ModelFileError(f"axes {list(axes)} name one axis twice")
    return found


def require_samples_apart(axes: Sequence[int], operation: str) -> None:
    """Require that an operation leaves the first axis alone, which holds the samples."""
    if 0 in axes:
        raise UnsupportedNetworkError(
            f"'{operation}' works along the first axis, which must be the batch; keep the batch first, and "
            f"samples apart"
        )


class Pad(nn.Module):
    """Padding with a constant or with elements, in PyTorch's order."""

    def __init__(self, pads: list[int], value: float, mode: str = "constant") -> None:
        super().__init__()
        self.pads, self.value, self.mode = pads, value, mode

    def forward(self, x: Tensor) -> Tensor:
        if self.mode != "constant":
            return F.pad(x, self.pads, self.mode)
        return F.pad(x, self.pads, "constant", self.value)


class Crop(nn.Module):
    """The first elements along the last axes."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor) -> Tensor:
        for axis, size in enumerate(reversed(self.sizes)):
            x = x.narrow(-1 - axis, 0, size)
        return x
