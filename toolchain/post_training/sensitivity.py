"""Error of the logits if one activation alone is quantized, for each activation and each T."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from toolchain.networks.layer_graph import LayerGraph
from toolchain.post_training.activation_groups import ActivationGroup
from toolchain.post_training.allocation import Sensitivity
from toolchain.post_training.closed_form import (
    Activate,
    GraphTensors,
    quantized,
    run_pass,
    values_behind,
)
from toolchain.post_training.logit_errors import LogitError


@torch.inference_mode()
def measure_sensitivity(
    graph: LayerGraph,
    groups: Sequence[ActivationGroup],
    images: Tensor,
    activate: Activate,
    clipping: Mapping[str, Mapping[int, np.ndarray]],
    error: LogitError,
    samples_per_pass: int,
    on_measurement: Callable[[int, int], None] = lambda done, total: None,
) -> Sensitivity:
    """Quantize one group at a time in the float network.

    The mean of what rounding changes is given back per channel, since corrected biases will do so.

    Args:
        activate: the activations of the float network.
        clipping: level of each group at each T that is measured.
    """
    tensors = GraphTensors.of(graph, images.dtype)
    every = [p.name for p in graph.spiking]
    sums: dict[str, np.ndarray] = {}
    parts = images.split(samples_per_pass)
    for at, part in enumerate(parts):
        expected = run_pass(graph, tensors, part, activate, keep=every)
        for number, group in enumerate(groups):
            changed = values_behind(graph, group.activations)
            given = {n: v for n, v in expected.values.items() if n not in changed}
            errors, half = [], torch.full((1, 1, 1), 0.5, dtype=part.dtype)
            for steps, level in clipping[group.name].items():
                threshold = torch.from_numpy(level).to(part.dtype)
                for name in group.activations:
                    value = expected.values[name]
                    rounded = quantized(value, threshold, half, steps)
                    given[name] = rounded + (value - rounded).mean(dim=(0, 2, 3), keepdim=True)
                logits = run_pass(graph, tensors, part, activate, given=given).logits
                errors.append(float(error(logits, expected.logits).sum()))
            sums[group.name] = sums.get(group.name, 0) + np.array(errors)
            on_measurement(at * len(groups) + number + 1, len(parts) * len(groups))
    return Sensitivity(
        timesteps=tuple(next(iter(clipping.values()))),
        errors={name: tuple(total / len(images)) for name, total in sums.items()},
        weights={group.name: len(group.activations) for group in groups},
    )
