"""The logits of a network and of the layer graph that it became."""

from __future__ import annotations

import numpy as np
import torch

from toolchain.method.float_snn import run_float_snn
from toolchain.method.guard import execute
from toolchain.networks.layer_graph import LayerGraph, split_outputs

MAX_VALUE = 255


def check_logits(judge, graph: LayerGraph, pixels, messages=""):
    """The float SNN computes what the network does, but for a final softmax that was left out."""
    expected = execute(judge, torch.from_numpy(pixels).to(torch.float64) / MAX_VALUE)
    logits = run_float_snn(graph, pixels).logits
    if graph.readout.outputs:
        parts = split_outputs(graph.readout, logits).values()
        logits = np.concatenate([part.reshape(len(pixels), -1) for part in parts], axis=1)
    found = torch.from_numpy(logits).reshape(expected.shape)
    for name in ("log_softmax", "softmax"):
        if f"ends in {name}," in messages:
            found = getattr(torch, name)(found, 1)
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * scale)
