"""Execute a NIR graph by its own nodes, with the windows and the soft reset that its metadata name."""

from __future__ import annotations

import networkx as nx
import nir
import numpy as np
import torch
import torch.nn.functional as F


def execute(graph, pixels):
    """Spike counts of every IF node, shape (samples, neurons), and the logits of the Output node.

    Only for networks in which every synapse averages.
    """
    values, counts = {}, {}
    order = nx.DiGraph(graph.edges)
    for name in nx.topological_sort(order):
        node = graph.nodes[name]
        if isinstance(node, nir.Input):
            values[name] = torch.from_numpy(np.asarray(pixels)).double()
            continue
        current = sum(values[source] for source in order.predecessors(name))
        values[name] = result = _apply(node, current)
        assert list(result.shape[1:]) == list(node.output_type["output"]), name
        if isinstance(node, nir.IF):
            counts[name] = result.flatten(1).numpy()
        if isinstance(node, nir.Output):
            logits = node.metadata["timesteps"] * result.flatten(1).numpy()
    return counts, logits


def _apply(node, x):
    if isinstance(node, nir.Conv2d):
        weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
        stride, padding, dilation = (
            tuple(map(int, v)) for v in (node.stride, node.padding, node.dilation)
        )
        return F.conv2d(x, weight, bias, stride, padding, dilation, int(node.groups))
    if isinstance(node, nir.Linear):
        return x @ torch.from_numpy(node.weight).T
    if isinstance(node, nir.Affine):
        return x @ torch.from_numpy(node.weight).T + torch.from_numpy(node.bias)
    if isinstance(node, nir.Scale):
        return x * torch.from_numpy(node.scale)
    if isinstance(node, nir.Flatten):
        return x.flatten(1 + node.start_dim)
    if isinstance(node, nir.SumPool2d):
        kernel, stride, padding = (
            tuple(map(int, v)) for v in (node.kernel_size, node.stride, node.padding)
        )
        return F.avg_pool2d(
            F.pad(x, [padding[1]] * 2 + [padding[0]] * 2), kernel, stride, divisor_override=1
        )
    if isinstance(node, nir.IF):
        shape = node.v_threshold.shape
        threshold = torch.from_numpy(node.v_threshold)
        start = np.broadcast_to(node.metadata["initial_potential"], node.metadata["shape"])
        v = torch.from_numpy(start.reshape(shape).astype(float)).expand_as(x)
        count = torch.zeros_like(x)
        for _ in range(node.metadata["timesteps"]):
            v = v + x
            spikes = (v >= threshold).double()
            count, v = count + spikes, v - spikes * threshold
        return count
    assert isinstance(node, nir.Output)
    return x
