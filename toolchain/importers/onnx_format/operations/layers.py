"""Convolutions, matrix products, batch norm and pools as modules of PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.operations.geometry import (
    Crop,
    Pad,
    axes_of,
    padded,
    require_samples_apart,
    torch_pads,
    window_of,
)
from toolchain.importers.onnx_format.values import Call, Live

_CONVOLUTIONS: dict[int, Any] = {3: nn.Conv1d, 4: nn.Conv2d}
_TRANSPOSED: dict[int, Any] = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d}
_BATCH_NORMS: dict[int, Any] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
_MAX_POOLS: dict[int, Any] = {3: nn.MaxPool1d, 4: nn.MaxPool2d}
_AVERAGE_POOLS: dict[int, Any] = {3: nn.AvgPool1d, 4: nn.AvgPool2d}


def parameter(array: np.ndarray) -> nn.Parameter:
    """A constant of floating-point values, in float64."""
    if array.dtype.kind != "f":
        raise ModelFileError(f"weights must be floating-point values, not of type {array.dtype}")
    require_finite(array)
    return nn.Parameter(torch.from_numpy(array.astype(np.float64)))


def require_finite(array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelFileError(
            "its constants hold NaN or infinity; export an earlier state of the network"
        )


def of_rank(classes: dict[int, Any], call: Call) -> Any:
    rank = len(call.live().shape)
    if rank not in classes:
        raise UnsupportedNetworkError(
            f"'{call.node.operation}' of a tensor of {rank} axes is not read; use "
            f"{' or '.join(map(str, classes))} axes, the batch first and the channels second"
        )
    return classes[rank]


def convolution(call: Call) -> nn.Module:
    of_class, x = of_rank(_CONVOLUTIONS, call), call.live()
    weight, bias = call.required(1), call.static(2)
    groups = call.integer("group", 1)
    _check_kernel(call, weight, len(x.shape), groups)
    window = window_of(call, weight.shape[2:])
    if weight.shape[1] * groups != x.shape[1] or weight.shape[0] % groups:
        raise ModelFileError(
            f"its weight of shape {weight.shape} in {groups} groups does not fit {x.shape[1]} channels"
        )
    layer = of_class(
        x.shape[1], weight.shape[0], window.kernel, window.stride, window.symmetric_padding,
        window.dilation, groups, device="meta",
    )  # fmt: skip
    return padded(window, 0.0, _with_weights(layer, weight, bias, weight.shape[0]))


def transposed_convolution(call: Call) -> nn.Module:
    of_class, x = of_rank(_TRANSPOSED, call), call.live()
    weight, bias = call.required(1), call.static(2)
    groups = call.integer("group", 1)
    _check_kernel(call, weight, len(x.shape), groups)
    if weight.shape[0] != x.shape[1] or weight.shape[0] % groups:
        raise ModelFileError(
            f"its weight of shape {weight.shape} does not fit {x.shape[1]} channels"
        )
    window = window_of(call, weight.shape[2:], transposed=True)
    outputs = weight.shape[1] * groups
    crop = window.padding_end
    extra = [b - e + o for b, e, o in zip(window.padding, crop, window.extra, strict=True)]
    # what is cut off at the end beyond the beginning is a negative padding of the output
    layer = of_class(
        x.shape[1], outputs, window.kernel, window.stride, window.padding,
        [max(e, 0) for e in extra], groups, dilation=window.dilation, device="meta",
    )  # fmt: skip
    layer = _with_weights(layer, weight, bias, outputs)
    cut = [min(e, 0) for e in extra]
    return nn.Sequential(layer, Pad(torch_pads([0] * len(cut), cut), 0.0)) if any(cut) else layer


def _check_kernel(call: Call, weight: np.ndarray, rank: int, groups: int) -> None:
    if weight.ndim != rank or groups < 1 or 0 in weight.shape:
        raise ModelFileError(
            f"its weight of shape {weight.shape} in {groups} groups does not fit an input of {rank} axes"
        )
    given = call.integers("kernel_shape")
    if given is not None and given != list(weight.shape[2:]):
        raise ModelFileError(f"kernel_shape is {given}, but its weight is of shape {weight.shape}")


def _with_weights(layer: Any, weight: np.ndarray, bias: np.ndarray | None, outputs: int) -> Any:
    layer.weight = parameter(weight)
    if bias is not None and bias.size not in (1, outputs):
        raise ModelFileError(f"its bias of shape {bias.shape} does not fit {outputs} channels")
    layer.bias = (
        None if bias is None else parameter(np.broadcast_to(bias.reshape(-1), (outputs,)).copy())
    )
    return layer


def gemm(call: Call) -> nn.Module:
    """``alpha * A' @ B' + beta * C`` with a constant B."""
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    weight = call.required(1)
    if len(call.live().shape) != 2 or weight.ndim != 2:
        raise ModelFileError("Gemm needs matrices of two axes")
    if call.integer("transA", 0):
        raise UnsupportedNetworkError("Gemm with transA puts the batch last; leave transA out")
    weight = weight if call.integer("transB", 0) else weight.T
    bias = call.static(2)
    if bias is not None:
        if bias.ndim == 2 and bias.shape[0] != 1:
            raise UnsupportedNetworkError("its bias differs between the samples of a batch")
        bias = beta * bias.reshape(-1).astype(np.float64)
    return dense(call.live(), alpha * weight.astype(np.float64), bias)


def dense(x: Live, weight: np.ndarray, bias: np.ndarray | None) -> nn.Module:
    """``x @ weight.T + bias``."""
    if weight.shape[1] != x.shape[-1]:
        raise ModelFileError(
            f"its weight of shape {weight.shape} does not fit values of shape {x.shape}"
        )
    layer: Any = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    return _with_weights(layer, np.ascontiguousarray(weight), bias, weight.shape[0])


def matmul(call: Call) -> nn.Module:
    first, second = call.input(0), call.input(1)
    if isinstance(first, Live) and isinstance(second, Live):
        return FunctionModule(torch.matmul)
    if isinstance(first, Live):
        weight = call.required(1)
        if weight.ndim == 2:
            return dense(first, weight.T, None)
        return WithConstant(torch.matmul, weight, index=1)
    weight = call.required(0)
    if weight.ndim == 2 and len(call.live(1).shape) >= 3:  # along the last axis but one
        shape = call.live(1).shape
        turned = Live(name="", shapes=((*shape[:-2], shape[-1], shape[-2]),) * 2)
        return nn.Sequential(Transpose(-1, -2), dense(turned, weight, None), Transpose(-1, -2))
    return WithConstant(torch.matmul, weight, index=0)


def batch_norm(call: Call) -> nn.Module:
    of_class, x = of_rank(_BATCH_NORMS, call), call.live()
    if call.integer("training_mode", 0) or call.integer("spatial", 1) != 1:
        raise UnsupportedNetworkError(
            "batch norm must use stored statistics, one per channel; export in evaluation mode"
        )
    channels = x.shape[1]
    layer = of_class(channels, eps=call.number("epsilon", 1e-5), device="meta")
    arrays = [call.required(index) for index in range(1, 5)]
    if any(array.shape != (channels,) for array in arrays):
        raise ModelFileError(f"batch norm needs one value for each of {channels} channels")
    if (arrays[3] + layer.eps <= 0).any():
        raise ModelFileError("batch norm has a variance that is not positive")
    layer.weight, layer.bias = parameter(arrays[0]), parameter(arrays[1])
    layer.running_mean, layer.running_var = (parameter(a).detach() for a in arrays[2:])
    layer.num_batches_tracked = torch.tensor(0)
    return layer


def max_pool(call: Call) -> nn.Module:
    of_class, x = of_rank(_MAX_POOLS, call), call.live()
    if len([name for name in call.node.outputs if name]) > 1:
        raise UnsupportedNetworkError("it returns the indices of maxima; use the values alone")
    window, ceil_mode = window_of(call, None), bool(call.integer("ceil_mode", 0))
    positive = x.facts.low >= 0  # such values may be padded with zeros
    if ceil_mode and positive and x.facts.grid is None:  # a quantizer may be behind it
        window, ceil_mode = window.filled_up(x.shape[2:]), False
    module = of_class(
        window.kernel, window.stride, window.pool_padding, window.dilation, ceil_mode=ceil_mode
    )
    return padded(window, 0.0 if positive else -torch.inf, module, pool=True)


def average_pool(call: Call) -> nn.Module:
    of_class, x = of_rank(_AVERAGE_POOLS, call), call.live()
    window = window_of(call, None)
    if set(window.dilation) != {1}:
        raise UnsupportedNetworkError("average pooling with a dilation is not read; leave it out")
    ceil_mode, counted = (
        bool(call.integer("ceil_mode", 0)),
        bool(call.integer("count_include_pad", 0)),
    )
    if counted or window.pool_is_plain:
        module = of_class(window.kernel, window.stride, window.pool_padding, ceil_mode, counted)
        return padded(window, 0.0, module, pool=True)
    if any(2 * p > k for p, k in zip(window.padding, window.kernel, strict=True)):
        raise UnsupportedNetworkError("its padding is larger than half of its window")
    sizes = window.output_sizes(x.shape[2:], ceil_mode)
    module = of_class(window.kernel, window.stride, window.padding, True, False)
    return nn.Sequential(module, Crop(sizes))


def global_average_pool(call: Call) -> nn.Module:
    return _Reduce("mean", tuple(range(2, len(call.live().shape))), True)


def global_max_pool(call: Call) -> nn.Module:
    return _Reduce("amax", tuple(range(2, len(call.live().shape))), True)


def _reduction(name: str, since: int) -> Any:
    def build(call: Call) -> nn.Module | None:
        rank = len(call.live().shape)
        given = call.integers_of("axes", 1, since)
        if not given and call.integer("noop_with_empty_axes", 0):
            return None
        axes = axes_of(given, rank) if given else tuple(range(rank))
        require_samples_apart(axes, call.node.operation)
        return _Reduce(name, axes, bool(call.integer("keepdims", 1)))

    return build


reduce_mean = _reduction("mean", 18)
reduce_sum = _reduction("sum", 13)
reduce_max = _reduction("amax", 18)


class _Reduce(nn.Module):
    def __init__(self, name: str, axes: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self.name, self.axes, self.keepdim = name, axes, keepdim

    def forward(self, x: Tensor) -> Tensor:
        if self.name == "mean":
            return x.mean(self.axes, keepdim=self.keepdim)
        if self.name == "sum":
            return x.sum(self.axes, keepdim=self.keepdim)
        return x.amax(self.axes, keepdim=self.keepdim)


class FunctionModule(nn.Module):
    """A function of PyTorch as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *values: Tensor) -> Tensor:
        return self.function(*values)


class WithConstant(nn.Module):
    """A function of two tensors, one of which is a constant."""

    constant: Tensor

    def __init__(self, function: Any, constant: np.ndarray, index: int) -> None:
        super().__init__()
        self.function, self.index = function, index
        require_finite(constant)
        values = np.array(constant, np.float64) if constant.dtype.kind in "iuf" else constant
        self.register_buffer("constant", torch.from_numpy(values))

    def forward(self, x: Tensor) -> Tensor:
        if self.index == 0:
            return self.function(self.constant, x)
        return self.function(x, self.constant)


class Transpose(nn.Module):
    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(self.first, self.second)
