"""From a trained PyTorch module to a layer graph (Algorithm 1, lines 22 to 25).

The module is traced with ``torch.fx``. Between two quantizers everything must be linear, so a traced
value is a *linear expression*: a sum of terms, each a source population and the maps applied to it, and
a bias per channel. A quantizer turns its expression into a spiking population, each term into a synapse.
Batch normalization scales the terms and shifts the bias: it is folded by construction.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.layer_graph import (
    InputPopulation,
    LayerGraph,
    Population,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
    verify_layer_graph,
)
from toolchain.layer_graph.structure import MAX_TIMESTEPS
from toolchain.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Pair,
    Scale,
    Shape,
    with_weight,
)
from toolchain.quantizers import ActivationQuantizer
from toolchain.tracing import trace


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What a network expects of its input: ``(pixels / max_value - mean) / std``, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def convert(
    module: nn.Module,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
) -> LayerGraph:
    """Convert a trained quantized network, in evaluation mode, to a layer graph.

    Args:
        module: takes ``pixels / max_value`` of shape ``(B, *input_shape)``, returns logits.
        max_value: largest pixel integer.
        normalization: applied to the input before the module; it becomes weights and biases.

    Raises:
        UnsupportedNetworkError: naming the module or operation and what to use in its place.
    """
    converter = _Converter(module, input_shape, max_value, normalization)
    return converter.convert(trace(module.eval()))


@dataclass(frozen=True, eq=False)
class _Term:
    source: str
    maps: tuple[LinearMap, ...] = ()


@dataclass(frozen=True, eq=False)
class _Expression:
    """``sum of op_i(source_i) + bias``: a feature map before its quantizer."""

    terms: tuple[_Term, ...]
    shape: Shape
    bias: np.ndarray  # (channels, 1, 1), or per neuron next to a padded border; float64

    def then(self, linear_map: LinearMap) -> _Expression:
        terms = tuple(replace(term, maps=(*term.maps, linear_map)) for term in self.terms)
        return replace(self, terms=terms, shape=linear_map.output_shape(self.shape))


class _Converter:
    def __init__(
        self,
        module: nn.Module,
        input_shape: Shape,
        max_value: int,
        normalization: Normalization | None,
    ) -> None:
        self.module = module
        self.normalization = normalization
        self.populations: list[Population] = [
            InputPopulation(
                name="input", shape=input_shape, max_value=max_value, unit=1 / max_value
            )
        ]
        self.synapses: list[Synapse] = []

    def convert(self, traced: fx.Graph) -> LayerGraph:
        values: dict[fx.Node, _Expression] = {}
        for node in traced.nodes:
            arguments = [values[a] for a in node.args if isinstance(a, fx.Node) and a in values]
            match node.op:
                case "placeholder":
                    if values:
                        raise UnsupportedNetworkError("the network must take exactly one input")
                    values[node] = self._input()
                case "call_module":
                    child = self.module.get_submodule(node.target)
                    values[node] = self._apply_module(node.target, child, arguments[0])
                case "call_function" | "call_method":
                    if (result := _apply_function(node, arguments)) is not None:
                        values[node] = result
                case "get_attr":
                    raise UnsupportedNetworkError(
                        f"'{node.target}' is used as a bare tensor; put it into a Conv2d or Linear"
                    )
                case "output":
                    if not arguments:
                        raise UnsupportedNetworkError(
                            "the network must return one tensor of logits"
                        )
                    self._read_out(arguments[0])
        return verify_layer_graph(LayerGraph.build(self.populations, self.synapses))

    def _input(self) -> _Expression:
        shape = self.populations[0].shape
        value = _Expression((_Term("input"),), shape, _no_bias(shape[0]))
        if self.normalization is None:
            return value
        mean, std = (np.array(v, float) for v in (self.normalization.mean, self.normalization.std))
        if mean.shape != (shape[0],) or std.shape != (shape[0],) or not (std > 0).all():
            raise UnsupportedNetworkError(
                f"normalization needs a mean and a positive std for each of {shape[0]} channels, not "
                f"{self.normalization.mean} and {self.normalization.std}"
            )
        return replace(value.then(Scale(weight=1 / std)), bias=(-mean / std).reshape(-1, 1, 1))

    def _apply_module(self, name: str, child: nn.Module, value: _Expression) -> _Expression:
        match child:
            case ActivationQuantizer():
                return self._fire(name, child, value)
            case nn.Conv2d():
                return _convolve(name, child, value)
            case nn.BatchNorm2d():
                return _normalize(name, child, value)
            case nn.Linear():
                return _dense(child, value)
            case nn.AvgPool2d():
                return _average_pool(name, child, value)
            case nn.AdaptiveAvgPool2d():
                return _adaptive_pool(name, child.output_size, value)
            case nn.Flatten() | nn.Identity() | nn.Dropout() | nn.Dropout2d():
                return value
            case nn.MaxPool2d():
                raise UnsupportedNetworkError(
                    f"{name}: max pooling is not linear and has no spiking form; replace it by "
                    f"average pooling before training (Algorithm 1)"
                )
            case nn.ReLU():
                raise UnsupportedNetworkError(
                    f"{name}: replace ReLU by a quantizer before training (Algorithm 1): quantize_activations"
                )
        raise UnsupportedNetworkError(
            f"{name}: {type(child).__name__} has no spiking form; between two quantizers use Conv2d, "
            f"Linear, BatchNorm2d, average pooling, addition and Flatten"
        )

    def _fire(self, name: str, quantizer: ActivationQuantizer, value: _Expression) -> _Expression:
        quantizer = copy.deepcopy(quantizer).double()
        timesteps = float(quantizer.timesteps.detach())
        if not timesteps <= MAX_TIMESTEPS:  # also when it is not a number
            raise UnsupportedNetworkError(
                f"{name}: the quantizer has T = {timesteps:g} levels, above {MAX_TIMESTEPS:,}; in Case 3 "
                f"T = alpha / d diverges as the step size d shrinks: train it with max_timesteps"
            )
        threshold = np.full((1, 1, 1), float(quantizer.threshold.detach()))
        self.populations.append(
            SpikingPopulation(
                name=name,
                shape=value.shape,
                timesteps=int(timesteps),
                threshold=threshold,
                initial_potential=threshold / 2,
                bias=value.bias,
            )
        )
        self._connect(name, value)
        return _Expression((_Term(name),), value.shape, _no_bias(value.shape[0]))

    def _read_out(self, value: _Expression) -> None:
        if value.shape[1:] != (1, 1):
            raise UnsupportedNetworkError(
                f"the network must return one logit a class, not a {value.shape} feature map"
            )
        self.populations.append(
            ReadoutPopulation(name="readout", shape=value.shape, bias=value.bias)
        )
        self._connect("readout", value)

    def _connect(self, target: str, value: _Expression) -> None:
        self.synapses += [Synapse(source=t.source, target=target, maps=t.maps) for t in value.terms]


def _no_bias(channels: int) -> np.ndarray:
    return np.zeros((channels, 1, 1))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float64).cpu().numpy()


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _convolve(name: str, child: nn.Conv2d, value: _Expression) -> _Expression:
    if (
        isinstance(child.padding, str)
        or child.padding_mode != "zeros"
        or _pair(child.dilation) != (1, 1)
    ):
        raise UnsupportedNetworkError(
            f"{name}: a convolution must have numeric zero padding and no dilation"
        )
    convolution = Convolution(
        weight=_array(child.weight),
        stride=_pair(child.stride),
        padding=_pair(child.padding),
        groups=child.groups,
    )
    bias = _through_convolution(value, convolution)
    if child.bias is not None:
        bias = bias + _array(child.bias)[:, None, None]
    return replace(value.then(convolution), bias=bias)


def _through_convolution(value: _Expression, convolution: Convolution) -> np.ndarray:
    """What a convolution makes of the constant in front of it.

    It stays one value per channel, unless zero padding cuts it off at the border.
    """
    if not np.any(value.bias):
        return _no_bias(convolution.weight.shape[0])
    weight = torch.from_numpy(convolution.weight)
    at_border = any(convolution.padding) or value.bias.shape[1:] != (1, 1)
    extent = value.shape[1:] if at_border else convolution.kernel
    constant = torch.from_numpy(value.bias).expand(value.shape[0], *extent)[None]
    stride = convolution.stride if at_border else (1, 1)
    return F.conv2d(
        constant, weight, stride=stride, padding=convolution.padding if at_border else 0,
        groups=convolution.groups,
    ).numpy()[0]  # fmt: skip


def _normalize(name: str, child: nn.BatchNorm2d, value: _Expression) -> _Expression:
    if child.running_mean is None or child.running_var is None:
        raise UnsupportedNetworkError(f"{name}: batch norm must track running statistics")
    scale = 1 / np.sqrt(_array(child.running_var) + child.eps)
    shift = -_array(child.running_mean) * scale
    if child.affine:
        scale, shift = (
            scale * _array(child.weight),
            shift * _array(child.weight) + _array(child.bias),
        )
    terms = tuple(replace(term, maps=_scaled(term.maps, scale)) for term in value.terms)
    column = (slice(None), None, None)
    return replace(value, terms=terms, bias=value.bias * scale[column] + shift[column])


def _scaled(maps: tuple[LinearMap, ...], scale: np.ndarray) -> tuple[LinearMap, ...]:
    """Multiply output channels: into the last convolution if there is one, else as a map of its own."""
    if maps and isinstance(maps[-1], Convolution):
        last = maps[-1]
        return (*maps[:-1], with_weight(last, last.weight * scale[:, None, None, None]))
    return (*maps, Scale(weight=scale))


def _dense(child: nn.Linear, value: _Expression) -> _Expression:
    dense = Dense(weight=_array(child.weight))
    bias = dense.weight @ np.broadcast_to(value.bias, value.shape).reshape(-1)
    if child.bias is not None:
        bias = bias + _array(child.bias)
    return replace(value.then(dense), bias=bias[:, None, None])


def _average_pool(name: str, child: nn.AvgPool2d, value: _Expression) -> _Expression:
    padding = _pair(child.padding)
    if any(padding) and not child.count_include_pad:
        raise UnsupportedNetworkError(f"{name}: a padded average pool must count its padding")
    if child.ceil_mode or child.divisor_override is not None:
        raise UnsupportedNetworkError(f"{name}: ceil_mode and divisor_override are not supported")
    return _pool(value, _pair(child.kernel_size), _pair(child.stride), padding)


def _adaptive_pool(name: str, output_size: object, value: _Expression) -> _Expression:
    if output_size not in (1, (1, 1)):
        raise UnsupportedNetworkError(f"{name}: an adaptive average pool must have output size 1")
    kernel = value.shape[1:]
    return _pool(value, kernel, kernel, (0, 0))


def _pool(value: _Expression, kernel: Pair, stride: Pair, padding: Pair) -> _Expression:
    pool = AveragePool(kernel=kernel, stride=stride, padding=padding)
    bias = value.bias
    if any(padding) or bias.shape[1:] != (1, 1):
        constant = torch.from_numpy(bias).expand(*value.shape)[None]
        bias = F.avg_pool2d(constant, kernel, stride, padding).numpy()[0]
    return replace(value.then(pool), bias=bias)


_ADDITIONS: tuple[Callable[..., object] | str, ...] = (
    operator.add, operator.iadd, torch.add, "add", "add_",
)  # fmt: skip
_RESHAPES: tuple[Callable[..., object] | str, ...] = (
    torch.flatten, torch.reshape, "flatten", "view", "reshape",
)  # fmt: skip
_SIZES: tuple[Callable[..., object] | str, ...] = (getattr, operator.getitem, "size")
_MEANS: tuple[Callable[..., object] | str, ...] = (torch.mean, "mean")


def _apply_function(node: fx.Node, arguments: list[_Expression]) -> _Expression | None:
    """Value of an operation; None for one that only asks for the shape of a tensor."""
    if node.target in _ADDITIONS and len(arguments) == len(node.args) == 2:
        first, second = arguments
        if first.shape != second.shape:
            raise UnsupportedNetworkError(
                f"{node.name}: a residual join must add equal shapes, not {first.shape} and {second.shape}"
            )
        return _Expression(first.terms + second.terms, first.shape, first.bias + second.bias)
    if node.target in _RESHAPES and len(arguments) == 1:
        _require_flattening(node, arguments[0].shape)
        return arguments[0]
    if node.target in _SIZES:
        return None
    if node.target is F.adaptive_avg_pool2d and len(node.args) == 2:
        return _adaptive_pool(node.name, node.args[1], arguments[0])
    if node.target is F.avg_pool2d:
        settings: Any = node.args[1:]
        pool = nn.AvgPool2d(*settings, **cast(Any, node.kwargs))
        return _average_pool(node.name, pool, arguments[0])
    if node.target in _MEANS and _mean_axes(node) in ({2, 3}, {-2, -1}):
        return _adaptive_pool(node.name, 1, arguments[0])
    operation = getattr(node.target, "__name__", node.target)
    if node.target in (F.dropout, F.dropout2d):
        raise UnsupportedNetworkError(f"{node.name}: use nn.Dropout, which evaluation switches off")
    raise UnsupportedNetworkError(
        f"{node.name}: '{operation}' has no spiking form; between two quantizers use Conv2d, Linear, "
        f"BatchNorm2d, average pooling, addition and flatten"
    )


def _require_flattening(node: fx.Node, shape: Shape) -> None:
    """A reshape must keep the batch and join all the rest; populations are flattened by Linear."""
    if node.target in (torch.flatten, "flatten"):
        start = node.kwargs.get("start_dim", node.args[1] if len(node.args) > 1 else 0)
        flattens = start == 1
    else:
        sizes: Any = node.args[1:] if len(node.args) > 2 else node.args[1]
        batch, rest = sizes if isinstance(sizes, Sequence) and len(sizes) == 2 else (None, None)
        flattens = (isinstance(batch, fx.Node) and rest == -1) or (
            (isinstance(batch, fx.Node) or batch == -1) and rest == math.prod(shape)
        )
    if not flattens:
        raise UnsupportedNetworkError(
            f"{node.name}: a reshape must keep the batch and flatten the rest, as torch.flatten(x, 1) does"
        )


def _mean_axes(node: fx.Node) -> set[int]:
    axes: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else ())
    return set(axes) if isinstance(axes, Sequence) else set()
