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

from toolchain.method.float_snn import transmit
from toolchain.networks.layer_graph import Synapse
from toolchain.networks.linear_maps import (
    AveragePool,
    Convolution,
    Dense,
    LinearMap,
    Pair,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    UnweightedMap,
    with_weight,
)
from toolchain.networks.map_algebra import merged_in_parallel


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What is known of values that are spike counts of one scale: ``threshold / timesteps * (0..T)``."""

    threshold: float
    timesteps: int


@dataclass(frozen=True, eq=False)
class Term:
    """The maps applied to one source population, in order."""

    source_shape: Shape
    maps: tuple[LinearMap, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class AffineCounts:
    """``scale * counts + shift`` with one scale and shift per channel: a batch norm of spike counts."""

    counts: LinearExpression
    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, eq=False)
class LinearExpression:
    """``sum of op_i(source_i) + bias``: a feature map before its quantizer.

    Args:
        terms: by name of the source population.
        bias: float64, shape ``(channels, 1, 1)``, or one value per neuron if zero padding changed it at the
            border.
        levels: set if all values are spike counts of one scale, as max pooling needs.
        affine: set if the values are an affine function of such counts, per channel.
    """

    terms: dict[str, Term]
    shape: Shape
    bias: np.ndarray
    levels: Levels | None = None
    affine: AffineCounts | None = None

    @classmethod
    def of_population(
        cls, name: str, shape: Shape, levels: Levels | None = None
    ) -> LinearExpression:
        """The values of one population."""
        return cls({name: Term(shape)}, shape, _no_bias(shape[0]), levels)

    @classmethod
    def of_constant(cls, values: np.ndarray) -> LinearExpression:
        """A constant feature map, shape ``(channels, height, width)``."""
        channels, height, width = values.shape
        return cls({}, (channels, height, width), values)

    def plus(self, other: LinearExpression) -> LinearExpression:
        """``self + other``, of the same shape; paths from one source are merged into one.

        Raises:
            UnsupportedNetworkError: two paths from one source do not fit into one synapse.
        """
        assert self.shape == other.shape
        terms = dict(self.terms)
        for source, term in other.terms.items():
            if source in terms:
                maps = merged_in_parallel(terms[source].maps, term.maps, term.source_shape)
                term = replace(term, maps=maps)
            terms[source] = term
        return LinearExpression(terms, self.shape, self.bias + other.bias)

    def scaled(self, scale: np.ndarray | float) -> LinearExpression:
        """Multiply each channel; ``scale`` has shape ``(channels,)`` or is a number."""
        factors = np.array(np.broadcast_to(np.asarray(scale, float), self.shape[:1]))
        if (factors == 1).all():
            return self
        terms = {s: replace(t, maps=_scaled(t.maps, factors)) for s, t in self.terms.items()}
        affine = self._as_affine()
        if affine is not None:
            affine = replace(affine, scale=affine.scale * factors, shift=affine.shift * factors)
        bias = self.bias * factors[:, None, None]
        return LinearExpression(terms, self.shape, bias, affine=affine)

    def shifted(self, shift: np.ndarray) -> LinearExpression:
        """Add a constant; ``shift`` has shape ``(channels,)`` or broadcasts to the feature map."""
        added = shift[:, None, None] if shift.ndim == 1 else shift
        affine = self._as_affine()
        if affine is not None:
            per_channel = added.shape[1:] == (1, 1)
            affine = replace(affine, shift=affine.shift + added[:, 0, 0]) if per_channel else None
        return replace(self, bias=self.bias + added, levels=None, affine=affine)

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
        return replace(self._then(linear_map), bias=_through_unweighted(self, linear_map))

    def selected(
        self, channels: np.ndarray, rows: np.ndarray, columns: np.ndarray
    ) -> LinearExpression:
        """Rearranged channels, rows and columns, each by indices; -1 gives zeros. Counts stay counts."""
        result = self
        if not _is_identity(channels, self.shape[0]):
            result = result.unweighted(SelectChannels(channels=channels))
        if not (_is_identity(rows, self.shape[1]) and _is_identity(columns, self.shape[2])):
            matrices = (
                (indices[:, None] == np.arange(size)).astype(np.int64)
                for indices, size in zip((rows, columns), self.shape[1:], strict=True)
            )
            by_row, by_column = matrices
            result = result.unweighted(Resample(rows=by_row, columns=by_column))
        return replace(result, levels=self.levels)

    def synapses_into(self, target: str) -> list[Synapse]:
        """One synapse for each term."""
        return [Synapse(source=s, target=target, maps=t.maps) for s, t in self.terms.items()]

    def _as_affine(self) -> AffineCounts | None:
        if self.levels is None:
            return self.affine
        ones, zeros = np.ones(self.shape[0]), np.zeros(self.shape[0])
        return AffineCounts(counts=self, scale=ones, shift=zeros)

    def _then(self, linear_map: LinearMap) -> LinearExpression:
        """With a map appended to each term; the bias is the caller's."""
        terms = {s: replace(t, maps=_appended(t.maps, linear_map)) for s, t in self.terms.items()}
        return LinearExpression(terms, linear_map.output_shape(self.shape), self.bias)


def _no_bias(channels: int) -> np.ndarray:
    return np.zeros((channels, 1, 1))


def _is_identity(indices: np.ndarray, size: int) -> bool:
    return len(indices) == size and bool((indices == np.arange(size)).all())


def _appended(maps: tuple[LinearMap, ...], linear_map: LinearMap) -> tuple[LinearMap, ...]:
    """The maps and one more; two rearrangements in a row are one."""
    match (maps[-1] if maps else None), linear_map:
        case Resample() as first, Resample() as second:
            both = Resample(
                rows=second.rows @ first.rows,
                columns=second.columns @ first.columns,
                divisor=first.divisor * second.divisor,
            )
            return (*maps[:-1], both)
        case SelectChannels(channels=first), SelectChannels(channels=second):
            channels = np.where(second >= 0, first[second], -1)
            return (*maps[:-1], SelectChannels(channels=channels))
    return (*maps, linear_map)


def _scaled(maps: tuple[LinearMap, ...], scale: np.ndarray) -> tuple[LinearMap, ...]:
    """Scale output channels: in the weight if the last map has one, else by another map."""
    if maps and isinstance(maps[-1], Convolution | Dense | Scale):
        last = maps[-1]
        factors = scale.reshape(-1, *[1] * (last.weight.ndim - 1))
        return (*maps[:-1], with_weight(last, last.weight * factors))
    return (*maps, Scale(weight=scale))


def _through_convolution(value: LinearExpression, convolution: Convolution) -> np.ndarray:
    """Bias after a convolution: one value per channel, unless zero padding changes it at the border."""
    if not np.any(value.bias):
        return _no_bias(convolution.weight.shape[0])
    weight = torch.from_numpy(convolution.weight)
    at_border = any(convolution.padding) or value.bias.shape[1:] != (1, 1)
    if not at_border:
        convolution = replace(convolution, stride=(1, 1))
    reach = (d * (k - 1) + 1 for d, k in zip(convolution.dilation, convolution.kernel, strict=True))
    extent = value.shape[1:] if at_border else tuple(reach)
    constant = torch.from_numpy(value.bias).expand(value.shape[0], *extent)[None]
    return F.conv2d(
        constant, weight, None, convolution.stride, convolution.padding, convolution.dilation,
        convolution.groups,
    ).numpy()[0]  # fmt: skip


def _through_unweighted(value: LinearExpression, linear_map: UnweightedMap) -> np.ndarray:
    """Bias after a map without a weight: one value per channel, if it takes constants to constants."""
    rows, columns = (
        linear_map.axis_matrix(axis, value.shape[1 + axis]).sum(axis=1) for axis in (0, 1)
    )
    keeps_constants = (np.multiply.outer(rows, columns) == linear_map.divisor).all()
    if keeps_constants and value.bias.shape[1:] == (1, 1):
        chosen = linear_map.channel_sources(value.shape[0])
        return value.bias[chosen] * (chosen >= 0)[:, None, None]
    constant = torch.from_numpy(value.bias).expand(*value.shape)[None]
    return transmit((linear_map,), constant).numpy()[0]
