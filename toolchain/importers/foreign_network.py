"""A network from another tool, beside that tool's own execution of it (design 2.6).

A reader of a format makes a module of the file: the same operations in PyTorch, with quantizers of ours in
the place of the format's. ``compare_with_runtime`` runs both. The module is then converted as any other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.datasets import PixelSource
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.imported_quantizers import imported_quantizer as imported_quantizer
from toolchain.importers.pixel_quantizers import (
    LevelPopulation,
    PixelQuantizer,
    fit_pixel_quantizers,
)
from toolchain.importers.probe_inputs import high_contrast_pixels, large_inputs, random_results
from toolchain.importers.torch_module import Normalization, as_network_input, convert
from toolchain.method.graph_comparison import probe_pixels
from toolchain.method.guard import execute
from toolchain.method.quantizers import ActivationQuantizer, quantizers
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import Shape

RUNTIME_TOLERANCE = 1e-5
"""Share of the range of the logits: what additions in float32, in another order, may change."""

ROUNDING_FACTOR, LEAST_ROUNDING = 32.0, 1e-6
"""A value may lie this many times the module's own rounding in float32 beside a boundary, and at least this
share of itself."""

NUM_OWN_SAMPLES = 16
"""Samples of the user's data set on which both are compared."""

NUM_STIMULATED = 4
"""Samples whose quantizers get random counts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RuntimeValues:
    """What the format's own runtime computed for one batch.

    Attributes:
        logits: ``(B, ...)``.
        quantized: result of each quantizer, by its name in the module.
        stimulated: quantizers whose stimulus was given on in place of that result.
        remarks: what else the runtime shows on this batch, one line each.
    """

    logits: np.ndarray
    quantized: Mapping[str, np.ndarray]
    stimulated: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


class Judge(Protocol):
    """The format's own runtime, on a network in evaluation mode."""

    def __call__(
        self, inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        """Execute a batch.

        Args:
            inputs: float32, ``(B, *input_shape)``.
            stimuli: what quantizers give to whatever reads them, by name, in place of what they compute. It
                is on their grid. What they compute is returned nevertheless.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignNetwork:
    """A network that was read from a file or an object of another tool.

    Attributes:
        module: computes the same in float64, on a batch of any size. It has a quantizer for each quantized
            activation, each called once, or none at all if the network is a plain ReLU network.
        source: what it is, for people, such as ``ONNX with quantize, clip and dequantize, opset 17``.
        runtime: name and version of the judge, such as ``onnxruntime 1.32.0``.
        execute: the judge.
        input_shape: of one sample as the network takes it, without the batch axis and of any rank; None
            if it is not known. ``input_layout.for_images`` fits images to it.
        notes: what was left out or decided, one line each.
        any_input: whether the module computes the same on every input, and not on images of pixels alone,
            because nothing in it follows from what pixels are.
    """

    module: nn.Module
    source: str
    runtime: str
    execute: Judge
    input_shape: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    any_input: bool = False

    @property
    def is_quantized(self) -> bool:
        of_pixels = (isinstance(part, PixelQuantizer) for part in self.module.modules())
        return bool(quantizers(self.module)) or any(of_pixels)


@dataclass(frozen=True, kw_only=True)
class RuntimeAgreement:
    """Numbers of a comparison that found no difference.

    Attributes:
        num_ties: counts that differ by one, because the value lies on a rounding boundary of the quantizer
            (ours rounds half up, most formats half to even) or within float32's rounding of it.
        remarks: of the runtime, one line each.
    """

    num_samples: int
    num_counts: int
    num_ties: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A layer graph that was made of a foreign network, and how far both agree."""

    graph: LayerGraph
    source: str
    runtime: str
    agreement: RuntimeAgreement
    notes: tuple[str, ...] = ()


def import_network(
    network: ForeignNetwork,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> Imported:
    """Compare a quantized network with its runtime, and convert it to a layer graph.

    Args:
        input_shape, max_value, normalization, samples: as ``convert`` takes them.

    Raises:
        UnsupportedNetworkError: the first quantizer or the logits in which both differ, or an operation
            that has no spiking form.
    """
    parts = [probe_pixels(input_shape, max_value), high_contrast_pixels(input_shape, max_value)]
    if samples is not None:
        parts.insert(0, np.asarray(samples[:NUM_OWN_SAMPLES]))
    values = torch.from_numpy(np.concatenate(parts)).to(torch.float64) / max_value
    inputs = as_network_input(values, normalization).to(torch.float32)
    network = with_pixel_quantizers(network, input_shape, max_value, normalization)
    agreement = compare_with_runtime(network, inputs)
    if network.any_input:
        compare_with_runtime(network, large_inputs(inputs))
    notes = [*network.notes, *agreement.remarks]
    if agreement.num_ties:
        notes.append(_effect_of_ties(network, inputs))
    graph = convert(network.module, input_shape, max_value, normalization, samples=samples)
    return Imported(
        graph=graph,
        source=network.source,
        runtime=network.runtime,
        agreement=agreement,
        notes=tuple(notes),
    )


def with_pixel_quantizers(
    network: ForeignNetwork,
    input_shape: Shape,
    max_value: int,
    normalization: Normalization | None = None,
) -> ForeignNetwork:
    """The same network, whose quantizers of the input became what they do to pixels, also in its judge.

    Args:
        input_shape, max_value, normalization: as ``convert`` takes them.

    Raises:
        UnsupportedNetworkError: as ``fit_pixel_quantizers``.
    """
    mean, std = (None, None) if normalization is None else (normalization.mean, normalization.std)
    notes = fit_pixel_quantizers(network.module, input_shape, max_value, mean, std)
    return replace(
        network,
        execute=_counting_levels(network),
        notes=(*network.notes, *notes),
        any_input=network.any_input and not notes,
    )


def _counting_levels(network: ForeignNetwork) -> Judge:
    """A network's judge that gives counts of the quantizers that count levels from the lowest."""
    of_levels = {
        f"{name}.counts": (name, population)
        for name, population in network.module.named_modules()
        if isinstance(population, LevelPopulation)
    }

    def execute(
        inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        theirs = dict(stimuli or {})
        for counts, (name, population) in of_levels.items():
            if counts in theirs:
                theirs[name] = population.values_of(theirs.pop(counts))
        found = network.execute(inputs, theirs or None)
        quantized, stimulated = dict(found.quantized), set(found.stimulated)
        for counts, (name, population) in of_levels.items():
            if name in quantized:
                quantized[counts] = population.counts_of(quantized.pop(name))
            if name in stimulated:
                stimulated ^= {name, counts}
        return replace(found, quantized=quantized, stimulated=frozenset(stimulated))

    return execute if of_levels else network.execute


def compare_with_runtime(network: ForeignNetwork, inputs: Tensor) -> RuntimeAgreement:
    """Execute the module and the runtime on the same inputs, and compare every count and the logits.

    After its comparison, each quantizer of the module gives what the runtime gave. So the first quantizer
    that differs is the one that was read wrongly, and a tie does not affect later layers.

    A second time, all quantizers give random counts, in both. What follows them is then driven over its whole
    range, clips included, even where the images leave it silent.

    Args:
        inputs: float32, ``(B, *input_shape)``.

    Raises:
        UnsupportedNetworkError: naming the first quantizer that differs, or the logits.
    """
    theirs = network.execute(inputs.numpy())
    comparison = _Comparison(network)
    comparison.run(inputs, theirs, {})
    results = {name: values[-NUM_STIMULATED:] for name, values in theirs.quantized.items()}
    if stimuli := random_results(network.module, results):
        some = inputs[-NUM_STIMULATED:]
        stimulated = network.execute(some.numpy(), stimuli)
        if taken := {name: stimuli[name] for name in stimulated.stimulated}:
            _Comparison(network).run(some, stimulated, taken)
    return RuntimeAgreement(
        num_samples=len(inputs),
        num_counts=comparison.num_counts,
        num_ties=comparison.num_ties,
        remarks=theirs.remarks,
    )


def _effect_of_ties(network: ForeignNetwork, inputs: Tensor) -> str:
    """What the ties change in the end, since the comparison goes on with the runtime's counts."""
    theirs = np.asarray(network.execute(inputs.numpy()).logits, np.float64).reshape(len(inputs), -1)
    ours = execute(network.module, inputs.to(torch.float64)).reshape(len(inputs), -1).numpy()
    share = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    others = int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum())
    return (
        f"ties: neurons round half up, {network.runtime} half to even. On the {len(inputs)} compared "
        f"samples, logits differ by up to {share:.1%} of their range; {others} of them get another class"
    )


def _rounding(position: Tensor, single: Tensor) -> Tensor:
    """How far float32 may move each value, judged by how far it moved this value and others of its sample.

    A neuron of large values excuses no difference of the others, since these count by their median.
    """
    moved = (position - single).abs()
    usual = moved.flatten(1).median(dim=1).values.reshape(-1, *[1] * (moved.ndim - 1))
    return ROUNDING_FACTOR * torch.maximum(moved, usual) + LEAST_ROUNDING * (1 + position.abs())


Hook: TypeAlias = Callable[[ActivationQuantizer, tuple[Any, ...], Tensor], Tensor]
"""A forward hook of a quantizer, which changes what it gives."""


def _with_hooks(
    module: nn.Module,
    hook_of: Callable[[str], Hook],
    inputs: Tensor,
) -> Tensor:
    """Logits of a module whose quantizers have hooks."""
    handles = [
        quantizer.register_forward_hook(hook_of(name))
        for name, quantizer in quantizers(module).items()
    ]
    try:
        return execute(module, inputs)
    finally:
        for handle in handles:
            handle.remove()


class _Comparison:
    """Compares the quantizers of a module with those of the judge, one execution after another."""

    def __init__(self, network: ForeignNetwork) -> None:
        self.network = network
        self.num_counts = self.num_ties = 0
        self.theirs = RuntimeValues(logits=np.empty(0), quantized={})
        self.stimuli: Mapping[str, np.ndarray] = {}
        self._single: dict[str, Tensor] = {}

    def run(self, inputs: Tensor, theirs: RuntimeValues, stimuli: Mapping[str, np.ndarray]) -> None:
        """Execute the module, and compare it with what the judge gave on the same inputs and stimuli."""
        self.theirs, self.stimuli = theirs, stimuli
        single = copy.deepcopy(self.network.module).to(torch.float32)
        in_single = _with_hooks(single, self._noting, inputs)
        logits = _with_hooks(self.network.module, self._comparing, inputs.to(torch.float64))
        self.compare_logits(logits, in_single.to(torch.float64))

    def _noting(self, name: str) -> Hook:
        """What reaches a quantizer in float32, which shows how far rounding moves it."""

        def hook(quantizer: ActivationQuantizer, given: tuple[Any, ...], output: Tensor) -> Tensor:
            self._single[name] = given[0].to(torch.float64)
            return self._given_on(name, output).to(torch.float32)

        return hook

    def _given_on(self, name: str, output: Tensor) -> Tensor:
        """What a quantizer gives to whatever reads it: its stimulus, or what the runtime gave."""
        values = self.stimuli.get(name)
        if values is None:
            values = self.theirs.quantized.get(name, np.empty(0))
        found = torch.from_numpy(np.array(values, np.float64))
        return found if found.shape == output.shape else output.to(torch.float64)

    def _comparing(self, name: str) -> Hook:
        def hook(quantizer: ActivationQuantizer, given: tuple[Any, ...], output: Tensor) -> Tensor:
            return self._compared(name, quantizer, given[0], output)

        return hook

    def _compared(
        self, name: str, quantizer: ActivationQuantizer, given: Tensor, output: Tensor
    ) -> Tensor:
        """Compare the counts of one quantizer; return those of the runtime, as values."""
        if name not in self.theirs.quantized:
            raise UnsupportedNetworkError(f"{name}: {self.network.runtime} does not compute it")
        theirs = torch.from_numpy(np.array(self.theirs.quantized[name], np.float64))
        if theirs.shape != output.shape:
            raise UnsupportedNetworkError(
                f"{name}: {self.network.runtime} gives values of shape {tuple(theirs.shape)}, the network "
                f"that was read from it {tuple(output.shape)}"
            )
        step, levels = (float(value.detach()) for value in quantizer.step_and_levels())
        counts, expected = (output / step).round(), (theirs / step).round()
        off_grid = (theirs / step - expected).abs().max()
        if not off_grid <= RUNTIME_TOLERANCE * (1 + levels):  # also when it is not a number
            raise UnsupportedNetworkError(
                f"{name}: {self.network.runtime} gives values that are no multiples of {step:g}, as this "
                f"quantizer's are"
            )
        self.num_counts += counts.numel()
        different = counts != expected
        if different.any():
            position = given / step
            slack = _rounding(position, self._single[name] / step)
            tied = ((position - 0.5) - (position - 0.5).round()).abs() <= slack
            wrong = different & ~(tied & ((counts - expected).abs() == 1))
            if wrong.any():
                at = tuple(int(i) for i in wrong.nonzero()[0])
                raise UnsupportedNetworkError(
                    f"{name}: {self.network.runtime} gives {float(expected[at]):g} steps of {step:g} where "
                    f"the network that was read from it gives {float(counts[at]):g}, at sample and neuron "
                    f"{at}"
                )
            self.num_ties += int(different.sum())
        return expected * step if name not in self.stimuli else self._given_on(name, output)

    def compare_logits(self, ours: Tensor, single: Tensor) -> None:
        """Compare the logits; where they cancel, nothing but float32's rounding is left of them."""
        theirs = torch.from_numpy(np.array(self.theirs.logits, np.float64))
        if theirs.numel() != ours.numel():
            raise UnsupportedNetworkError(
                f"{self.network.runtime} gives logits of shape {tuple(theirs.shape)}, the network that was "
                f"read from it {tuple(ours.shape)}"
            )
        theirs, ours, single = (v.reshape(len(ours), -1) for v in (theirs, ours, single))
        scales = torch.maximum(theirs.abs(), ours.abs()).amax(dim=1)
        scales = scales.clamp(min=float(scales.max()) / 100)  # where large terms cancel each other
        differences = (ours - theirs).abs().amax(dim=1)
        moved = (ours - single).abs().amax(dim=1)
        rounding = ROUNDING_FACTOR * torch.maximum(moved, moved.median())
        if not (differences <= RUNTIME_TOLERANCE * scales + rounding).all():
            worst = int((differences / scales).nan_to_num(torch.inf).argmax())
            largest, scale = float(differences[worst]), float(scales[worst])
            raise UnsupportedNetworkError(
                f"the logits differ from those of {self.network.runtime} by {largest:.3g} at most, in a "
                f"range of {scale:.3g}"
            )
