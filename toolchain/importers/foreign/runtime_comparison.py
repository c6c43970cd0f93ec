"""Compare a network that was read with the runtime of its format: every count, and the logits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import (
    ForeignNetwork,
    RuntimeAgreement,
    RuntimeValues,
)
from toolchain.importers.foreign.probe_inputs import (
    random_results,
)
from toolchain.method.guard import execute
from toolchain.method.quantizers import ActivationQuantizer, quantizers

RUNTIME_TOLERANCE = 1e-5
"""Share of the range of the logits: what additions in float32, in another order, may change."""


ROUNDING_FACTOR, LEAST_ROUNDING = 32.0, 1e-6
"""A value may lie this many times the module's own rounding in float32 beside a boundary, and at least this
share of itself."""


NUM_STIMULATED = 4
"""Samples whose quantizers get random counts."""


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
