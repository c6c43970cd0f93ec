"""Check by execution that a layer graph computes what the user's network does.

A quantized module and the layer graph it was converted to run in float64 and evaluation mode. Each
population reads the module's own values of its sources. So the first population that differs is the one that
was converted wrongly, and a count that differs by rounding does not affect later populations.

The check does not depend on how a network is written: an in-place operation, a keyword, a hook, an aliased
tensor or a training branch that conversion missed shows as a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from toolchain.datasets import PixelSource
from toolchain.errors import DataError, UnsupportedNetworkError
from toolchain.method.float_snn import input_current, transmit
from toolchain.method.guard import (
    REMEDY,
    TOLERANCE,
    difference_of,
    execute,
    require_repeatable,
)
from toolchain.method.quantizer_calls import QuantizerCall
from toolchain.method.quantizers import quantizers
from toolchain.networks.layer_graph import (
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
    split_outputs,
)
from toolchain.networks.linear_maps import Shape

NUM_SAMPLES = 6
NUM_STIMULATED = 2  # samples whose quantizers get random values, in case a population is silent
VALUES_PER_BATCH = 2**24  # of the largest population, 128 MiB in float64


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Numbers of a comparison that found no difference.

    Attributes:
        num_ties: counts that differ by one because the value is within ``TOLERANCE`` of a rounding boundary
            of the quantizer, where the order of additions in float64 decides.
    """

    num_samples: int
    num_counts: int
    num_ties: int


def compare_with_module(
    judge: nn.Module,
    graph: LayerGraph,
    calls: Sequence[QuantizerCall],
    as_input: Callable[[Tensor], Tensor] = lambda values: values,
    as_output: Callable[[Tensor], Tensor] = lambda logits: logits,
    samples: PixelSource | None = None,
) -> Agreement:
    """Execute a network, and compare its values with every population of its layer graph.

    Args:
        judge: the quantized network in float64 and evaluation mode (``evaluation_copy``).
        graph: its layer graph, all alignments ``average``.
        calls: the calls of its quantizers.
        as_input: takes ``pixels * unit`` to the network's input, for example by normalization.
        as_output: takes the layer graph's logits to what the network returns, such as a softmax.
        samples: some pixels of a data set, ``(B, C, H, W)``, in addition to random ones and the extremes.

    Raises:
        UnsupportedNetworkError: naming the first population that differs.
        DataError: the samples have another shape than the network's input.
    """
    source = graph.input
    pixels = probe_pixels(source.shape, source.max_value)
    if samples is not None:
        own = samples[: NUM_SAMPLES // 4]
        if own.shape[1:] != source.shape:
            raise DataError(
                f"samples have shape {own.shape[1:]}, but the network's input is {source.shape}; choose "
                f"another data set, or another input_shape"
            )
        pixels = np.concatenate([own, pixels[: NUM_SAMPLES - len(own)]])
    values = input_current(graph, pixels, torch.float64)
    largest = max(int(np.prod(p.shape)) for p in graph.populations)
    comparison = _Comparison(graph, judge, calls, as_output)
    logits = [
        comparison.run(part, as_input(part))
        for part in values.split(max(1, VALUES_PER_BATCH // largest))
    ]
    stimulated = values[-NUM_STIMULATED:]
    comparison.run(stimulated, as_input(stimulated), stimulate=True)
    require_repeatable(judge, as_input(values), torch.cat(logits))
    return Agreement(
        num_samples=len(values), num_counts=comparison.num_counts, num_ties=comparison.num_ties
    )


def probe_pixels(shape: Shape, max_value: int) -> np.ndarray:
    """Pixels to compare on: all 0, all max, one in a corner, one in the middle, sparse, and random."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, max_value + 1, (NUM_SAMPLES, *shape))
    pixels[:4] = 0
    pixels[1] = max_value
    pixels[2, 0, 0, 0] = max_value
    pixels[3, -1, shape[1] // 2, shape[2] // 2] = max_value
    pixels[4] *= random.random(shape) < 0.1
    return pixels


class _Comparison:
    """Hooks on the quantizers of a network that compare each call with its population."""

    def __init__(
        self,
        graph: LayerGraph,
        judge: nn.Module,
        calls: Sequence[QuantizerCall],
        as_output: Callable[[Tensor], Tensor],
    ) -> None:
        self.graph, self.judge, self.as_output = graph, judge, as_output
        self.calls = {(call.module, call.repeat): call for call in calls}
        self.num_counts = self.num_ties = 0
        # values of the module's populations, kept until the last synapse has read them
        self._values: dict[str, Tensor] = {}
        self._inputs: dict[str, Tensor] = {}
        self._unread: dict[str, int] = {}
        self._called: Counter[str] = Counter()
        self._stimulate = False
        self._random = torch.Generator().manual_seed(0)

    def run(self, values: Tensor, images: Tensor, *, stimulate: bool = False) -> Tensor:
        """Execute a batch, compare it, and return the module's logits.

        Args:
            stimulate: after comparing the input of a quantizer, replace it by random values over its range.
        """
        graph = self.graph
        self._stimulate = stimulate
        self._unread = {p.name: len(graph.outgoing(p.name)) for p in graph.populations}
        self._values, self._inputs, self._called = {graph.input.name: values}, {}, Counter()
        with self._hooks():
            logits = execute(self.judge, images)
        for (name, repeat), call in self.calls.items():
            if repeat >= self._called[name]:
                raise UnsupportedNetworkError(
                    f"{call.population}: the network never calls this quantizer, although it was exported; "
                    f"{REMEDY}"
                )
        self._compare_logits(logits)
        return logits

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        handles, found = [], quantizers(self.judge)
        for name in {call.module for call in self.calls.values()} & found.keys():
            before, after = self._hooks_of(name)
            handles.append(found[name].register_forward_pre_hook(before, with_kwargs=True))
            handles.append(found[name].register_forward_hook(after))
        try:
            with _QuantizeOperations(self._hooks_of):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks_of(self, name: str) -> tuple[Callable[..., Any], Callable[..., None]]:
        def before(
            module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
        ) -> tuple[tuple[Tensor], dict[str, Any]] | None:
            (given,) = (*args, *kwargs.values())
            if (call := self.calls.get((name, self._called[name]))) is None:
                return None  # nothing reads what it returns
            return self._before(call, given)

        def after(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            call = self.calls.get((name, self._called[name]))
            self._called[name] += 1
            if call is not None:
                self._after(call, output)

        return before, after

    def _before(
        self, call: QuantizerCall, given: Tensor
    ) -> tuple[tuple[Tensor], dict[str, Any]] | None:
        population = self._spiking(call)
        current = self._current(population)
        if (
            call.window is not None
        ):  # what the population fires, pooled, is what the quantizer gives
            self._values[population.name] = _counts(population, current) * _step(population)
            current = _max_pooled(current, call)
        _compare_input(population, _in_order(current, call), given)
        if not self._stimulate or call.window is not None:
            self._inputs[population.name] = given.clone()
            return None
        uniform = torch.rand(given.shape, generator=self._random, dtype=torch.float64)
        self._inputs[population.name] = (1.5 * uniform - 0.25) * float(population.threshold.max())
        return (self._inputs[population.name].clone(),), {}

    def _after(self, call: QuantizerCall, output: Tensor) -> None:
        population = self._spiking(call)
        name = population.name
        self._compare_counts(call, population, self._inputs.pop(name), output)
        if call.window is None:
            values = output.clone().flatten(1)
            if call.order is not None:
                values[:, torch.from_numpy(call.order)] = output.flatten(1)
            self._values[name] = values.reshape(-1, *population.shape)
        elif self._unread[name]:
            pooled = _max_pooled(self._values[name], call)
            _compare_input(population, pooled, output)

    def _spiking(self, call: QuantizerCall) -> SpikingPopulation:
        population = self.graph[call.population]
        assert isinstance(population, SpikingPopulation)
        return population

    def _current(self, population: SpikingPopulation | ReadoutPopulation) -> Tensor:
        """A population's current, computed from the module's values of its sources."""
        incoming = self.graph.incoming(population.name)
        current = torch.from_numpy(population.bias)
        for synapse in incoming:
            current = current + transmit(synapse.maps, self._value(population, synapse.source))
        for synapse in incoming:
            self._unread[synapse.source] -= 1
            if self._unread[synapse.source] == 0:
                del self._values[synapse.source]
        return current.expand(-1, *population.shape)

    def _value(self, reader: SpikingPopulation | ReadoutPopulation, name: str) -> Tensor:
        """Values of a source; those of a maximum, which no module computes, follow from its sources."""
        if name not in self._values:
            source = self.graph[name]
            if not isinstance(source, SpikingPopulation) or source.role != "maximum":
                raise UnsupportedNetworkError(
                    f"{reader.name}: the network computes it before '{name}', its source in the layer graph; "
                    f"{REMEDY}"
                )
            self._values[name] = _counts(source, self._current(source)) * _step(source)
        return self._values[name]

    def _compare_logits(self, found: Tensor) -> None:
        readout = self.graph.readout
        logits = self._current(readout)
        if readout.outputs:
            parts = split_outputs(readout, logits.flatten(1).numpy())
            logits = torch.cat([torch.from_numpy(part).flatten(1) for part in parts.values()], 1)
        shape = logits.shape if readout.outputs else found.shape
        ours = self.as_output(logits.reshape(shape)) if logits.numel() == found.numel() else logits
        if (difference := difference_of(ours, found, 0.0)) is not None:
            raise UnsupportedNetworkError(
                f"{readout.name}: the converted network has other logits than the network itself: "
                f"{difference}; {REMEDY}"
            )

    def _compare_counts(
        self, call: QuantizerCall, population: SpikingPopulation, given: Tensor, output: Tensor
    ) -> None:
        """Compare the quantizer's output with the spike counts of soft-reset neurons at the same input."""
        name, steps = population.name, population.timesteps
        threshold, start = (
            float(population.threshold.max()),
            float(population.initial_potential.max()),
        )
        position = given.mul(steps).add_(start).div_(threshold)
        counts = position.floor().clamp_(0, steps)
        levels = output * (steps / threshold)
        expected = levels.round()
        if (found := difference_of(expected, levels, float(steps))) is not None:
            quantizer = quantizers(self.judge).get(call.module)
            kind = "quantize" if quantizer is None else type(quantizer).__name__
            raise UnsupportedNetworkError(
                f"{name}: {kind} gives values that are not multiples of alpha / T, as spike counts are: "
                f"{found}; use a quantizer of toolchain.method.quantizers other than SlipRelu"
            )
        self.num_counts += counts.numel()
        different = counts != expected
        if not different.any():
            return
        scale = float(given.abs().max()) + threshold
        slack = TOLERANCE * (1 + steps * scale / threshold)
        tied = (position - position.round()).abs() <= slack
        wrong = different & ~(tied & ((counts - expected).abs() == 1))
        if wrong.any():
            at = tuple(int(i) for i in wrong.nonzero()[0])
            raise UnsupportedNetworkError(
                f"{name}: the converted population fires {float(counts[at]):g} spikes where the network's "
                f"quantizer gives {float(expected[at]):g}, at sample and neuron {at}; {REMEDY}"
            )
        self.num_ties += int(different.sum())


class _QuantizeOperations(TorchDispatchMode):
    """Hooks on the quantizers of an exported program, which are operations and no modules."""

    def __init__(
        self, hooks_of: Callable[[str], tuple[Callable[..., Any], Callable[..., None]]]
    ) -> None:
        super().__init__()
        self._hooks_of = hooks_of

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not torch.ops.qac_deploy.quantize.default:
            return func(*args, **(kwargs or {}))
        values, *rest = args
        before, after = self._hooks_of(rest[-1])
        changed = before(None, (values,), {})
        given = values if changed is None else changed[0][0]
        output = func(given, *rest)
        after(None, (given,), output)
        return output


def _counts(population: SpikingPopulation, current: Tensor) -> Tensor:
    """Spike counts of soft-reset neurons with a constant current."""
    start, threshold = (
        torch.from_numpy(values) for values in (population.initial_potential, population.threshold)
    )
    steps = population.timesteps
    return ((start + steps * current) / threshold).floor().clamp(0, steps)


def _step(population: SpikingPopulation) -> Tensor:
    return torch.from_numpy(population.threshold) / population.timesteps


def _in_order(current: Tensor, call: QuantizerCall) -> Tensor:
    """A population's values as the quantizer's tensor holds them."""
    return current if call.order is None else current.flatten(1)[:, torch.from_numpy(call.order)]


def _max_pooled(values: Tensor, call: QuantizerCall) -> Tensor:
    window = call.window
    assert window is not None
    return F.max_pool2d(values, window.kernel, window.stride, window.padding, window.dilation)


def _compare_input(population: SpikingPopulation, current: Tensor, given: Tensor) -> None:
    floor = float(population.threshold.max())
    if (found := difference_of(current, given, floor)) is not None:
        raise UnsupportedNetworkError(
            f"{population.name}: the converted network has another input than the network itself: {found}; "
            f"{REMEDY}"
        )
