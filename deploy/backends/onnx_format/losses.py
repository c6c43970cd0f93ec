"""What an ONNX file does not say of the integer network."""

from __future__ import annotations

import numpy as np

from deploy.backends.onnx_format.network import OnnxExport
from toolchain.networks.integer_network import IntegerNetwork, IntegerSpiking


def losses(export: OnnxExport, network: IntegerNetwork) -> list[str]:
    """One line for each part of the network that the model does not express, or expresses otherwise."""
    found = [
        "spike trains and buffers: a quantizer gives the count of a whole firing window at once",
        "scale of the logits: they are integers; logit_unit in the metadata is the value of 1",
    ]
    if names := [p.name for p in network.spiking if not _starts_halfway(p)]:
        found.append(
            f"initial potentials of {', '.join(names)}: the counts include them, but an importer takes half "
            f"a threshold and another bias"
        )
    if names := [p.name for p in network.spiking if _differs_within_channels(p)]:
        found.append(
            f"thresholds of {', '.join(names)}: they differ within a channel, which an importer may refuse"
        )
    if export.pools.populations:
        found.append(
            f"populations {', '.join(sorted(export.pools.populations))}: MaxPool nodes compute what they do"
        )
    if export.in_float64:
        found.append(
            f"{', '.join(export.in_float64)}: float32 is not exact for them, so they are computed in float64 "
            f"in front of their quantizers, which other tools may not take"
        )
    if export.shifted_biases:
        found.append(
            f"biases of {', '.join(export.shifted_biases)}: they are shifted, since float32 would otherwise "
            f"round some counts wrongly; an importer finds biases that differ by a few integers"
        )
    return found


def _starts_halfway(population: IntegerSpiking) -> bool:
    half = population.threshold // 2
    return population.role == "maximum" or bool((population.initial_potential == half).all())


def _differs_within_channels(population: IntegerSpiking) -> bool:
    threshold = population.threshold
    return bool(np.any(threshold != threshold[:, :1, :1]))
