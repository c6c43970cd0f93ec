"""Error of the logits if one activation alone is quantized, for each activation and each T."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from toolchain.networks.layer_graph import LayerGraph
from toolchain.post_training.activation_groups import ActivationGroup
from toolchain.post_training.closed_form import (
    Activate,
    GraphTensors,
    quantized,
    run_pass,
    values_behind,
)
from toolchain.post_training.logit_errors import LogitError

Candidate = tuple[int, np.ndarray]
"""T and clipping level of a group, shape ``(channels, 1, 1)`` or ``(1, 1, 1)``."""


@torch.inference_mode()
def errors_alone(
    graph: LayerGraph,
    groups: Sequence[ActivationGroup],
    images: Tensor,
    activate: Activate,
    candidates: Mapping[str, Sequence[Candidate]],
    error: LogitError,
    samples_per_pass: int,
    on_measurement: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, tuple[float, ...]]:
    """Error of the logits if one group is quantized and the rest is as in the float network.

    The mean of what rounding changes is given back per channel, since corrected biases will do so.

    Args:
        activate: the activations of the float network.
        candidates: what is tried, by name of the group.

    Returns:
        By name of the group, one error for each of its candidates.
    """
    tensors = GraphTensors.of(graph, images.dtype)
    every = [p.name for p in graph.spiking]
    half = torch.full((1, 1, 1), 0.5, dtype=images.dtype)
    sums: dict[str, np.ndarray] = {}
    parts = images.split(samples_per_pass)
    for at, part in enumerate(parts):
        expected = run_pass(graph, tensors, part, activate, keep=every)
        for number, group in enumerate(groups):
            changed = values_behind(graph, group.activations)
            given = {n: v for n, v in expected.values.items() if n not in changed}
            errors = []
            for steps, level in candidates[group.name]:
                threshold = torch.from_numpy(level).to(part.dtype)
                for name in group.activations:
                    value = expected.values[name]
                    rounded = quantized(value, threshold, half, steps)
                    given[name] = rounded + (value - rounded).mean(dim=(0, 2, 3), keepdim=True)
                logits = run_pass(graph, tensors, part, activate, given=given).logits
                errors.append(float(error(logits, expected.logits).sum()))
            sums[group.name] = sums.get(group.name, 0) + np.array(errors)
            on_measurement(at * len(groups) + number + 1, len(parts) * len(groups))
    return {name: tuple(float(e) for e in total / len(images)) for name, total in sums.items()}
