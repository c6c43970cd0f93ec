"""From a trained PyTorch module to a layer graph (Algorithm 1, lines 22 to 25).

The module is traced with ``torch.fx``. Between two quantizers everything must be linear, so a traced
value is a *linear expression* (``linear_expressions``). The module is then executed and compared with the
layer graph (``guard``), which finds what tracing misses.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from toolchain.datasets import PixelSource
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.method.guard import TOLERANCE, compare_with_module, evaluation_copy, execute
from toolchain.method.quantizers import ActivationQuantizer
from toolchain.method.tracing import trace
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    Population,
    ReadoutPopulation,
    SpikingPopulation,
    Synapse,
    verify_layer_graph,
)
from toolchain.networks.layer_graph.structure import MAX_TIMESTEPS
from toolchain.networks.linear_maps import Convolution, Dense, Pair, Shape


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """Input of a network: ``(pixels / max_value - mean) / std``, with one mean and std per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def convert(
    module: nn.Module,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> LayerGraph:
    """Convert a trained quantized network, in evaluation mode, to a layer graph.

    The network is executed and compared with the layer graph, population by population, on random
    pixels, on extremes and on ``samples``. A warning counts the spike counts that differ by rounding alone.

    Args:
        module: takes ``pixels / max_value`` of shape ``(B, *input_shape)``, returns logits. It stays as
            it is, including its mode.
        max_value: largest pixel integer.
        normalization: applied to the input before the module; it becomes weights and biases.
        samples: some pixels of a data set to compare on, ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: naming the module or operation that has no spiking form and its replacement,
            or the first population that differs from the module.
    """
    judge = evaluation_copy(module)
    as_input = _normalizing(normalization, input_shape[0])
    execute(judge, as_input(torch.zeros(1, *input_shape, dtype=torch.float64)))
    graph = _Converter(judge, input_shape, max_value, normalization).convert(trace(judge))
    agreement = compare_with_module(judge, graph, as_input, samples)
    if agreement.num_ties:
        warnings.warn(
            f"{agreement.num_ties:,} of {agreement.num_counts:,} spike counts lie on a rounding boundary of "
            f"their quantizer, within {TOLERANCE:g}, and differ by one from those of the network",
            stacklevel=2,
        )
    return graph


def _normalizing(
    normalization: Normalization | None, channels: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Function from ``pixels / max_value`` to the input of the network."""
    if normalization is None:
        return lambda values: values
    mean, std = (
        torch.tensor(field, dtype=torch.float64).reshape(-1, 1, 1)
        for field in (normalization.mean, normalization.std)
    )
    if not len(mean) == len(std) == channels or not (std > 0).all():
        raise UnsupportedNetworkError(
            f"normalization needs a mean and a positive std for each of {channels} channels, not "
            f"{normalization.mean} and {normalization.std}"
        )
    return lambda values: (values - mean) / std


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
        values: dict[fx.Node, LinearExpression] = {}
        for node in traced.nodes:
            arguments = _feature_maps(node, values)
            match node.op:
                case "placeholder":
                    if values:
                        raise UnsupportedNetworkError(
                            "the network must take exactly one input; remove the others from its forward"
                        )
                    values[node] = self._input()
                case "call_module":
                    if len(arguments) != 1:
                        raise UnsupportedNetworkError(
                            f"{node.target}: call it with one feature map, not {len(arguments)}"
                        )
                    child = self.module.get_submodule(node.target)
                    values[node] = self._apply_module(node.target, child, arguments[0])
                case "call_function" | "call_method":
                    if (result := _apply_function(node, arguments)) is not None:
                        values[node] = result
                        if node.target in _IN_PLACE_ADDITIONS:
                            values[node.args[0]] = result
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

    def _input(self) -> LinearExpression:
        shape = self.populations[0].shape
        value = LinearExpression.of_population("input", shape)
        if self.normalization is None:
            return value
        mean, std = (np.array(v, float) for v in (self.normalization.mean, self.normalization.std))
        return value.scaled(1 / std).shifted(-mean / std)

    def _apply_module(
        self, name: str, child: nn.Module, value: LinearExpression
    ) -> LinearExpression:
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
                    f"{name}: max pooling is not linear and has no spiking form; replace it by average "
                    f"pooling before training (Algorithm 1), for example with quantize_activations"
                )
            case nn.ReLU():
                raise UnsupportedNetworkError(
                    f"{name}: ReLU has no spiking form; replace it by a quantizer before training "
                    f"(Algorithm 1), for example with quantize_activations"
                )
        raise UnsupportedNetworkError(
            f"{name}: {type(child).__name__} has no spiking form; between two quantizers use Conv2d, "
            f"Linear, BatchNorm2d, average pooling, addition and Flatten"
        )

    def _fire(
        self, name: str, quantizer: ActivationQuantizer, value: LinearExpression
    ) -> LinearExpression:
        timesteps = float(quantizer.timesteps.detach())
        if not timesteps <= MAX_TIMESTEPS:  # also when it is not a number
            raise UnsupportedNetworkError(
                f"{name}: the quantizer has T = {timesteps:g} levels, above the limit of {MAX_TIMESTEPS:,}; "
                f"train it with max_timesteps (in Case 3, T = alpha / d grows as the step size d shrinks)"
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
        self.synapses += value.synapses_into(name)
        return LinearExpression.of_population(name, value.shape)

    def _read_out(self, value: LinearExpression) -> None:
        if value.shape[1:] != (1, 1):
            raise UnsupportedNetworkError(
                f"the network must return one logit per class, not a {value.shape} feature map; end it with "
                f"pooling to one pixel or with Linear"
            )
        self.populations.append(
            ReadoutPopulation(name="readout", shape=value.shape, bias=value.bias)
        )
        self.synapses += value.synapses_into("readout")


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float64).cpu().numpy()


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _convolve(name: str, child: nn.Conv2d, value: LinearExpression) -> LinearExpression:
    if (
        isinstance(child.padding, str)
        or child.padding_mode != "zeros"
        or _pair(child.dilation) != (1, 1)
    ):
        raise UnsupportedNetworkError(
            f"{name}: a convolution must have numeric zero padding and no dilation; train the network with "
            f"such a Conv2d"
        )
    convolution = Convolution(
        weight=_array(child.weight),
        stride=_pair(child.stride),
        padding=_pair(child.padding),
        groups=child.groups,
    )
    value = value.convolved(convolution)
    return value if child.bias is None else value.shifted(_array(child.bias))


def _normalize(name: str, child: nn.BatchNorm2d, value: LinearExpression) -> LinearExpression:
    if child.running_mean is None or child.running_var is None:
        raise UnsupportedNetworkError(
            f"{name}: batch norm must track running statistics; train with track_running_stats=True"
        )
    scale = 1 / np.sqrt(_array(child.running_var) + child.eps)
    shift = -_array(child.running_mean) * scale
    if child.affine:
        scale, shift = (
            scale * _array(child.weight),
            shift * _array(child.weight) + _array(child.bias),
        )
    return value.scaled(scale).shifted(shift)


def _dense(child: nn.Linear, value: LinearExpression) -> LinearExpression:
    value = value.dense(Dense(weight=_array(child.weight)))
    return value if child.bias is None else value.shifted(_array(child.bias))


def _average_pool(name: str, child: nn.AvgPool2d, value: LinearExpression) -> LinearExpression:
    padding = _pair(child.padding)
    if any(padding) and not child.count_include_pad:
        raise UnsupportedNetworkError(
            f"{name}: a padded average pool must count its padding; use count_include_pad=True"
        )
    if child.ceil_mode or child.divisor_override is not None:
        raise UnsupportedNetworkError(
            f"{name}: average pooling with ceil_mode or divisor_override is not supported; use padding, or "
            f"scale a weight after it"
        )
    return value.pooled(_pair(child.kernel_size), _pair(child.stride), padding)


def _adaptive_pool(name: str, output_size: object, value: LinearExpression) -> LinearExpression:
    if output_size not in (1, (1, 1)):
        raise UnsupportedNetworkError(
            f"{name}: an adaptive average pool must have output size 1, not {output_size}; use AvgPool2d"
        )
    kernel = value.shape[1:]
    return value.pooled(kernel, kernel)


_IN_PLACE_ADDITIONS: tuple[Callable[..., object] | str, ...] = (operator.iadd, "add_")
_ADDITIONS: tuple[Callable[..., object] | str, ...] = (
    operator.add, torch.add, "add", *_IN_PLACE_ADDITIONS,
)  # fmt: skip
_DROPOUTS: tuple[Callable[..., object] | str, ...] = (F.dropout, F.dropout2d)
_RESHAPES: tuple[Callable[..., object] | str, ...] = (
    torch.flatten, torch.reshape, "flatten", "view", "reshape",
)  # fmt: skip
_SIZES: tuple[Callable[..., object] | str, ...] = (getattr, operator.getitem, "size")
_MEANS: tuple[Callable[..., object] | str, ...] = (torch.mean, "mean")


def _feature_maps(
    node: fx.Node, values: Mapping[fx.Node, LinearExpression]
) -> list[LinearExpression]:
    """Feature maps among a node's operands.

    Raises:
        UnsupportedNetworkError: a feature map is passed by keyword, other than as ``other``.
    """
    by_keyword = {k: a for k, a in node.kwargs.items() if isinstance(a, fx.Node) and a in values}
    if unknown := by_keyword.keys() - {"other"}:
        raise UnsupportedNetworkError(
            f"{node.name}: pass the feature map by position, not as {min(unknown)}="
        )
    operands = (*node.args, *by_keyword.values())
    return [values[a] for a in operands if isinstance(a, fx.Node) and a in values]


def _apply_function(node: fx.Node, arguments: list[LinearExpression]) -> LinearExpression | None:
    """Value of an operation; None if it reads only the shape of a tensor."""
    num_operands = len(node.args) + ("other" in node.kwargs)
    if node.target in _ADDITIONS and len(arguments) == num_operands == 2:
        return _add(node, *arguments)
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
    if node.target in _DROPOUTS:
        training: Any = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
        if training is False:
            return arguments[0]
        raise UnsupportedNetworkError(
            f"{node.name}: this dropout is active in evaluation mode as well; pass training=self.training, "
            f"or use nn.Dropout"
        )
    operation = getattr(node.target, "__name__", node.target)
    raise UnsupportedNetworkError(
        f"{node.name}: '{operation}' has no spiking form; between two quantizers use Conv2d, Linear, "
        f"BatchNorm2d, average pooling, addition and flatten"
    )


def _add(node: fx.Node, first: LinearExpression, second: LinearExpression) -> LinearExpression:
    """A residual join, with the factor ``alpha`` of ``torch.add``."""
    factor: Any = node.kwargs.get("alpha", 1)
    if not node.kwargs.keys() <= {"alpha", "other"} or not isinstance(factor, int | float):
        raise UnsupportedNetworkError(
            f"{node.name}: a residual join must add two tensors, with a number as alpha if it has one"
        )
    try:
        return first.plus(second, factor)
    except UnsupportedNetworkError as error:
        raise UnsupportedNetworkError(f"{node.name}: {error}") from None


def _require_flattening(node: fx.Node, shape: Shape) -> None:
    """Require that a reshape keeps the batch and flattens the rest, as Linear reads a population."""
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
