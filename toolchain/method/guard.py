"""Check by execution that a layer graph computes what the user's network does.

A quantized module and the layer graph it was converted to run in float64 and evaluation mode. Each
population reads the module's own values of its sources. So the first population that differs is the one that
was converted wrongly, and a count that differs by rounding does not affect later populations.

The check does not depend on how a network is written: an in-place operation, a keyword, a hook, an aliased
tensor or a training branch that conversion missed shows as a difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from toolchain.datasets import PixelSource
from toolchain.errors import DataError, QacDeployError, UnsupportedNetworkError
from toolchain.method.float_snn import input_current, transmit
from toolchain.method.quantizers import quantizers
from toolchain.networks.layer_graph import (
    LayerGraph,
    ReadoutPopulation,
    SpikingPopulation,
)
from toolchain.networks.linear_maps import Shape

TOLERANCE = 1e-9  # share of the range of the compared values
NUM_SAMPLES = 8
NUM_STIMULATED = 2  # samples whose quantizers get random values, in case a population is silent
NUM_REPEATED = 2  # samples executed a second time, in another order and batch
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


def evaluation_copy(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU, in float64 and evaluation mode.

    A hook of it that replaces what a module is given or returns raises UnsupportedNetworkError when called.

    Raises:
        UnsupportedNetworkError: it cannot be copied.
    """
    judge = faithful_copy(module).eval().to("cpu", torch.float64)
    for name, part in judge.named_modules():
        for hooks in (part._forward_pre_hooks, part._forward_hooks):
            for key, hook in hooks.items():
                hooks[key] = _only_looking(hook, name or type(module).__name__)
    return judge


def _only_looking(hook: Callable[..., Any], name: str) -> Callable[..., None]:
    """A hook that may look at values, and not replace them: on which samples it would, no one can see."""

    def look(*arguments: Any) -> None:
        if hook(*arguments) is not None:
            raise UnsupportedNetworkError(
                f"{name}: a forward hook replaces its values, which conversion does not see; write what it "
                f"does into the network's forward"
            )

    return look


def faithful_copy(module: nn.Module) -> nn.Module:
    """Copy a module with its hooks.

    Raises:
        UnsupportedNetworkError: it cannot be copied.
    """
    try:
        copied = copy.deepcopy(module)
    except Exception as error:  # a user's own classes
        raise UnsupportedNetworkError(
            f"{type(module).__name__} cannot be copied ({_first_line(error)}); make pruning permanent with "
            f"prune.remove, and use torch.nn.utils.parametrizations in place of weight_norm"
        ) from error
    for ours, theirs in zip(copied.modules(), module.modules(), strict=True):
        if isinstance(theirs, fx.GraphModule):
            _restore_calls(ours, theirs)
    return copied


def _restore_calls(copied: nn.Module, module: fx.GraphModule) -> None:
    """Restore what copying loses of a traced module: its hooks, and a forward that was replaced."""
    for field in (
        "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
        "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    ):  # fmt: skip
        getattr(copied, field).update(getattr(module, field))
    if "forward" in vars(module):
        vars(copied)["forward"] = vars(module)["forward"]


def execute(judge: nn.Module, images: Tensor) -> Tensor:
    """Logits of a network; the caller's random state stays as it is.

    Raises:
        UnsupportedNetworkError: it fails on this input, or does not return a tensor.
    """
    name = type(judge).__name__
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = judge(images.clone())
    except QacDeployError:
        raise
    except Exception as error:  # a user's own code
        raise UnsupportedNetworkError(
            f"{name} fails on an input of shape {tuple(images.shape)} in float64 and evaluation mode: "
            f"{_first_line(error)}; check input_shape, and store tensors as parameters or buffers"
        ) from error
    if not isinstance(logits, Tensor):
        raise UnsupportedNetworkError(
            f"{name} must return one tensor of logits, not {type(logits).__name__}"
        )
    return logits


def compare_with_module(
    judge: nn.Module,
    graph: LayerGraph,
    as_input: Callable[[Tensor], Tensor] = lambda values: values,
    samples: PixelSource | None = None,
) -> Agreement:
    """Execute a network, and compare its values with every population of its layer graph.

    Args:
        judge: the quantized network in float64 and evaluation mode (``evaluation_copy``).
        graph: its layer graph, all alignments ``average``.
        as_input: takes ``pixels * unit`` to the network's input, for example by normalization.
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
    comparison = _Comparison(graph, judge)
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
    """Hooks on the quantizers of a network that compare each with its population as it is called."""

    def __init__(self, graph: LayerGraph, judge: nn.Module) -> None:
        self.graph, self.judge = graph, judge
        self.num_counts = self.num_ties = 0
        self._values: dict[
            str, Tensor
        ] = {}  # of the module, kept until the last synapse has read them
        self._inputs: dict[str, Tensor] = {}
        self._unread: dict[str, int] = {}
        self._called: set[str] = set()
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
        self._values, self._inputs, self._called = {graph.input.name: values}, {}, set()
        with self._hooks():
            logits = execute(self.judge, images)
        for population in graph.spiking:
            if population.name not in self._called:
                raise UnsupportedNetworkError(
                    f"{population.name}: the network never calls this quantizer, although it was traced; "
                    f"{REMEDY}"
                )
        self._compare_currents(graph.readout, logits)
        return logits

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        handles, found = [], quantizers(self.judge)
        for population in self.graph.spiking:
            quantizer = found.get(population.name)
            if quantizer is not None:
                before, after = self._hooks_of(population)
                handles.append(quantizer.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(quantizer.register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks_of(
        self, population: SpikingPopulation
    ) -> tuple[Callable[..., Any], Callable[..., None]]:
        name = population.name

        def before(
            module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
        ) -> tuple[tuple[Tensor], dict[str, Any]] | None:
            (given,) = (*args, *kwargs.values())
            if name in self._called:
                raise UnsupportedNetworkError(
                    f"{name}: the network calls this quantizer more than once, but a population fires one "
                    f"window per sample; use a quantizer of its own for each call"
                )
            self._called.add(name)
            self._compare_currents(population, given)
            if not self._stimulate:
                self._inputs[name] = given.clone()
                return None
            uniform = torch.rand(given.shape, generator=self._random, dtype=torch.float64)
            self._inputs[name] = (1.5 * uniform - 0.25) * float(population.threshold.max())
            return (self._inputs[name].clone(),), {}

        def after(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            self._compare_counts(population, self._inputs.pop(name), output)
            self._values[name] = output.clone().reshape(-1, *population.shape)

        return before, after

    def _compare_currents(
        self, population: SpikingPopulation | ReadoutPopulation, given: Tensor
    ) -> None:
        """Compare a population's current, computed from the module's values of its sources."""
        incoming = self.graph.incoming(population.name)
        if missing := [s.source for s in incoming if s.source not in self._values]:
            raise UnsupportedNetworkError(
                f"{population.name}: the network computes it before '{missing[0]}', its source in the layer "
                f"graph; {REMEDY}"
            )
        current = torch.from_numpy(population.bias)
        for synapse in incoming:
            current = current + transmit(synapse.maps, self._values[synapse.source])
        for synapse in incoming:
            self._unread[synapse.source] -= 1
            if self._unread[synapse.source] == 0:
                del self._values[synapse.source]
        floor = 0.0
        if isinstance(population, SpikingPopulation):
            floor = float(population.threshold.max())
        if (found := difference_of(current, given, floor)) is not None:
            what = "other logits" if isinstance(population, ReadoutPopulation) else "another input"
            raise UnsupportedNetworkError(
                f"{population.name}: the converted network has {what} than the network itself: "
                f"{found}; {REMEDY}"
            )

    def _compare_counts(self, population: SpikingPopulation, given: Tensor, output: Tensor) -> None:
        """Compare the quantizer's output with the spike counts of soft-reset neurons at the same input."""
        name, steps = population.name, population.timesteps
        threshold = torch.from_numpy(population.threshold)
        current = given.reshape(-1, *population.shape)
        position = (torch.from_numpy(population.initial_potential) + steps * current) / threshold
        counts = position.floor().clamp(0, steps)
        expected = output.reshape(current.shape) * steps / threshold
        if (found := difference_of(expected.round(), expected, float(steps))) is not None:
            kind = type(self.judge.get_submodule(name)).__name__
            raise UnsupportedNetworkError(
                f"{name}: {kind} gives values that are not multiples of alpha / T, as spike counts are: "
                f"{found}; use a quantizer of toolchain.method.quantizers other than SlipRelu"
            )
        scale = float(current.abs().max()) + float(threshold.max())
        slack = TOLERANCE * (1 + steps * scale / float(threshold.min()))
        tied = (position - position.round()).abs() <= slack
        different = counts != expected.round()
        wrong = different & ~(tied & ((counts - expected.round()).abs() == 1))
        if wrong.any():
            at = tuple(int(i) for i in wrong.nonzero()[0])
            raise UnsupportedNetworkError(
                f"{name}: the converted population fires {float(counts[at]):g} spikes where the network's "
                f"quantizer gives {float(expected[at]):g}, at sample and neuron {at}; {REMEDY}"
            )
        self.num_counts += counts.numel()
        self.num_ties += int(different.sum())


REMEDY = (
    "conversion cannot follow its forward; remove hooks, in-place operations and stored state from it, and "
    "compute everything with modules and functions that return new tensors"
)


def require_repeatable(judge: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Execute some samples again, in another order and batch, and require the same logits.

    Raises:
        UnsupportedNetworkError: they differ: the network depends on state, chance or other samples.
    """
    again = torch.arange(len(images) - 1, -1, -1)[:NUM_REPEATED]
    if (found := difference_of(logits[again], execute(judge, images[again]), 0.0)) is not None:
        raise UnsupportedNetworkError(
            f"{type(judge).__name__} gives other logits for the same sample in another batch: {found}; "
            f"remove what depends in evaluation mode on chance, on earlier calls or on other samples"
        )


def difference_of(expected: Tensor, found: Tensor, floor: float) -> str | None:
    """Text of the largest difference if it exceeds ``TOLERANCE`` of the range, else None.

    Args:
        floor: least range, for values that are all near zero.
    """
    if expected.numel() != found.numel():
        return f"shape {tuple(found.shape)} where {tuple(expected.shape)} was expected"
    found = found.reshape(expected.shape).to(torch.float64)
    error = (expected - found).abs()
    scale = max(float(expected.abs().max()), float(found.abs().max()), floor)
    largest = float(error.max())
    if largest <= TOLERANCE * scale:  # false for NaN
        return None
    return f"{largest:.3g} at most, in a range of {scale:.3g}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
