"""Linear expressions between two quantizers: a sum of linear maps of populations, and a bias.

An importer walks a network and keeps one ``LinearExpression`` per feature map. Batch normalization scales
the terms and shifts the bias, which folds it. A quantizer turns its expression into a spiking population,
and each term into a synapse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.float_snn import transmit
from toolchain.networks.layer_graph import Synapse
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Pair,
    Scale,
    Shape,
    UnweightedMap,
    with_weight,
)


@dataclass(frozen=True, eq=False)
class Term:
    """The maps applied to one source population, in order."""

    source: str
    maps: tuple[LinearMap, ...] = ()


@dataclass(frozen=True, eq=False)
class LinearExpression:
    """``sum of op_i(source_i) + bias``: a feature map before its quantizer.

    Args:
        bias: float64, shape ``(channels, 1, 1)``, or one value per neuron if zero padding changed it at the
            border.
    """

    terms: tuple[Term, ...]
    shape: Shape
    bias: np.ndarray

    @classmethod
    def of_population(cls, name: str, shape: Shape) -> LinearExpression:
        """The values of one population."""
        return cls((Term(name),), shape, _no_bias(shape[0]))

    def plus(self, other: LinearExpression, factor: float = 1.0) -> LinearExpression:
        """``self + factor * other``.

        Raises:
            UnsupportedNetworkError: the shapes differ; nothing is broadcast.
        """
        if self.shape != other.shape:
            raise UnsupportedNetworkError(
                f"a residual join must add equal shapes, not {self.shape} and {other.shape}"
            )
        if factor != 1:
            other = other.scaled(np.full(self.shape[0], float(factor)))
        return LinearExpression(self.terms + other.terms, self.shape, self.bias + other.bias)

    def scaled(self, scale: np.ndarray) -> LinearExpression:
        """Multiply each channel; ``scale`` has shape ``(channels,)``."""
        terms = tuple(replace(term, maps=_scaled(term.maps, scale)) for term in self.terms)
        return replace(self, terms=terms, bias=self.bias * scale[:, None, None])

    def shifted(self, shift: np.ndarray) -> LinearExpression:
        """Add a constant to each channel; ``shift`` has shape ``(channels,)``."""
        return replace(self, bias=self.bias + shift[:, None, None])

    def convolved(self, convolution: Convolution) -> LinearExpression:
        """Apply a convolution."""
        return replace(self._then(convolution), bias=_through_convolution(self, convolution))

    def dense(self, dense: Dense) -> LinearExpression:
        """Apply a fully connected map."""
        bias = dense.weight @ np.broadcast_to(self.bias, self.shape).reshape(-1)
        return replace(self._then(dense), bias=bias[:, None, None])

    def pooled(self, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> LinearExpression:
        """Average over windows; padded zeros count."""
        return self.unweighted(AveragePool(kernel=kernel, stride=stride, padding=padding))

    def unweighted(self, linear_map: UnweightedMap) -> LinearExpression:
        """Apply a map without a weight."""
        rows, columns = (
            linear_map.axis_matrix(axis, self.shape[1 + axis]).sum(axis=1) for axis in (0, 1)
        )
        keeps_constants = (np.multiply.outer(rows, columns) == linear_map.divisor).all()
        bias = self.bias
        if not keeps_constants or bias.shape[1:] != (1, 1):
            constant = torch.from_numpy(bias).expand(*self.shape)[None]
            bias = transmit((linear_map,), constant).numpy()[0]
        return replace(self._then(linear_map), bias=bias)

    def synapses_into(self, target: str) -> list[Synapse]:
        """One synapse for each term."""
        return [Synapse(source=t.source, target=target, maps=t.maps) for t in self.terms]

    def _then(self, linear_map: LinearMap) -> LinearExpression:
        terms = tuple(replace(term, maps=(*term.maps, linear_map)) for term in self.terms)
        return replace(self, terms=terms, shape=linear_map.output_shape(self.shape))


def _no_bias(channels: int) -> np.ndarray:
    return np.zeros((channels, 1, 1))


def _scaled(maps: tuple[LinearMap, ...], scale: np.ndarray) -> tuple[LinearMap, ...]:
    """Scale output channels: in the weight if the last map is a convolution, else by another map."""
    if maps and isinstance(maps[-1], Convolution):
        last = maps[-1]
        return (*maps[:-1], with_weight(last, last.weight * scale[:, None, None, None]))
    return (*maps, Scale(weight=scale))


def _through_convolution(value: LinearExpression, convolution: Convolution) -> np.ndarray:
    """Bias after a convolution: one value per channel, unless zero padding changes it at the border."""
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
