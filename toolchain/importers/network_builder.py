"""Populations and synapses of a network that is being read, and the values between them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.linear_expressions import Levels, LinearExpression
from toolchain.importers.max_pooling import max_pooled
from toolchain.importers.tensor_views import NoFeatureMapError, TensorView
from toolchain.method.quantizer_calls import MaxWindow, QuantizerCall
from toolchain.networks.layer_graph import Population, SpikingPopulation, Synapse
from toolchain.networks.layer_graph.populations import Role


@dataclass(frozen=True, eq=False)
class PendingMaximum:
    """A max pool of values that are no counts yet: its quantizer follows, and changes places with it."""

    value: LinearExpression
    window: MaxWindow
    name: str


@dataclass(frozen=True, eq=False)
class OutputFunction:
    """A function of the logits that keeps their order, such as a final softmax; it is left out."""

    view: TensorView
    name: str


@dataclass(frozen=True)
class NoValue:
    """A result that populations do not have, such as the indices of a max pool.

    Args:
        operation: name of the operation that gives it.
    """

    operation: str


Value: TypeAlias = (
    NoValue
    | TensorView
    | PendingMaximum
    | OutputFunction
    | Tensor
    | list[Any]
    | tuple[Any, ...]
    | None
)


@dataclass(eq=False)
class NetworkBuilder:
    """Populations and synapses found so far."""

    populations: list[Population] = field(default_factory=list)
    synapses: list[Synapse] = field(default_factory=list)
    calls: list[QuantizerCall] = field(default_factory=list)
    _used: Counter[str] = field(default_factory=Counter)

    def fire(
        self, name: str, value: LinearExpression, levels: Levels, role: Role = "activation"
    ) -> LinearExpression:
        """Add a spiking population; return its values, under a name that no other has."""
        name = self.unique(name)
        threshold = np.full((1, 1, 1), levels.threshold)
        if not value.terms:
            raise UnsupportedNetworkError(
                f"{name}: does not depend on the network's input; remove it, or store its result"
            )
        self.populations.append(
            SpikingPopulation(
                name=name,
                shape=value.shape,
                timesteps=levels.timesteps,
                threshold=threshold,
                initial_potential=threshold / 2,
                bias=value.bias,
                role=role,
            )
        )
        self.synapses += value.synapses_into(name)
        return LinearExpression.of_population(name, value.shape, levels)

    def max_pooled(self, value: LinearExpression, window: MaxWindow, name: str) -> LinearExpression:
        """Add the populations of an exact max pool."""

        def fire(label: str, current: LinearExpression, levels: Levels) -> LinearExpression:
            return self.fire(label, current, levels, "maximum")

        return max_pooled(value, window, name, fire)

    def unique(self, name: str) -> str:
        """A name that no population has yet."""
        taken = {population.name for population in self.populations}
        unique, repeat = name, 1
        while unique in taken:
            unique, repeat = f"{name}_{repeat}", repeat + 1
        return unique

    def quantize(
        self,
        path: str,
        value: TensorView | PendingMaximum,
        levels: Levels,
        shape: tuple[int, ...],
    ) -> TensorView:
        """Turn a quantizer, whose result has a shape without the batch axis, into a population."""
        repeat, self._used[path] = self._used[path], self._used[path] + 1
        window, order = None, None
        if isinstance(value, PendingMaximum):
            counts = self.fire(path, value.value, levels)
            window = value.window
            pooled = self.max_pooled(counts, window, value.name)
            result = TensorView.of_expression(pooled, shape)
        elif (whole := value.natural_order()) is not None:
            counts = self.fire(path, whole, levels)
            result = TensorView((counts,), value.numbers)
        elif (rearranged := _rearranged(value)) is not None:
            counts = self.fire(path, rearranged, levels)
            order = value.indices.reshape(-1)
            result = TensorView((counts,), value.numbers)
        else:
            counts = self.fire(path, _as_feature_map(value), levels)
            result = TensorView.of_expression(counts, shape)
        name = next(iter(counts.terms))
        self.calls.append(
            QuantizerCall(module=path, repeat=repeat, population=name, order=order, window=window)
        )
        return result


def _as_feature_map(view: TensorView) -> LinearExpression:
    """The feature map of a view, or a row of its elements if they are none."""
    try:
        return view.feature_map()
    except NoFeatureMapError:
        return view.moved(view.numbers.flatten(1)).feature_map()


def _rearranged(view: TensorView) -> LinearExpression | None:
    """The one feature map whose elements a view holds once each in another order, if it does."""
    if len(view.parts) != 1 or view.indices.size != view.num_elements:
        return None
    if (np.sort(view.indices.reshape(-1)) == np.arange(view.num_elements)).all():
        return view.parts[0]
    return None
