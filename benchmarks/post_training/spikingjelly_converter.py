"""SpikingJelly's converter on the same float network, with its own neurons, for each of its modes.

All modes are simulated once for the longest budget; what the readout has summed after t steps is the result
for t timesteps. Its own delayed readout is left out: it needs more steps than it sums.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CALIBRATION_BATCH = 128
TEST_BATCH = 250


def modes(batches: Sequence[Tensor]) -> dict[str, Callable[[], object]]:
    """Recipes for its FXConverter by name; each needs calibration images."""
    from spikingjelly.activation_based import ann2snn, neuron

    def rate(mode: str, **settings: Any) -> Callable[[], object]:
        return lambda: ann2snn.RateCodingRecipe(dataloader=batches, mode=mode, **settings)

    half = {"neuron_factory": lambda scale: neuron.HalfThresholdIFNode()}
    per_channel = {"channel_wise": True, "pre_spike_maxpool": True, "half_threshold": True}
    return {
        "max": rate("Max"),
        "99.9%": rate("99.9%"),
        "99%": rate("99%"),
        "99%, v(0) = 1/2": rate("99%", **half),
        "99.9% per channel, v(0) = 1/2": rate("99.9%", **per_channel),
        "99% per channel, v(0) = 1/2": rate("99%", **per_channel),
        "local threshold balancing": lambda: ann2snn.LocalThresholdBalancingRecipe(
            dataloader=batches
        ),
        "local threshold balancing, 16 passes": lambda: ann2snn.LocalThresholdBalancingRecipe(
            dataloader=[*batches] * 16
        ),
    }


def accuracies(
    module: nn.Module,
    calibration: Tensor,
    images: Tensor,
    labels: np.ndarray,
    timesteps: Sequence[int],
    say: Callable[[str], None],
    only: Collection[str] = (),
) -> dict[str, dict[int, float]]:
    """Accuracy of each mode after each number of timesteps.

    Args:
        calibration, images: inputs of the network, float32.
        only: modes to measure; all if empty.
    """
    from spikingjelly.activation_based import ann2snn, functional

    found: dict[str, dict[int, float]] = {}
    for name, recipe in modes(calibration.split(CALIBRATION_BATCH)).items():
        if only and name not in only:
            continue
        torch.manual_seed(0)
        network = ann2snn.FXConverter(recipe=recipe(), device="cpu").convert(copy.deepcopy(module))
        right = dict.fromkeys(timesteps, 0)
        with torch.inference_mode():
            for start in range(0, len(images), TEST_BATCH):
                part, expected = (
                    images[start : start + TEST_BATCH],
                    labels[start : start + TEST_BATCH],
                )
                functional.reset_net(network)
                total: Tensor | int = 0
                for step in range(1, max(timesteps) + 1):
                    total = total + network(part)
                    if step in right:
                        right[step] += int((total.argmax(dim=1).numpy() == expected).sum())
        found[name] = {steps: count / len(labels) for steps, count in right.items()}
        say(
            f"SpikingJelly, {name}: "
            + ", ".join(f"T = {t}: {a:.2%}" for t, a in found[name].items())
        )
    return found
