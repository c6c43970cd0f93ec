"""Execute a NIR graph step by step, node by node, as the specification says: the judge of what is made of it.

It knows nothing of populations and synapses. A step of NIR's equations in time (forward Euler) is::

    i += dt / tau_syn * (w_in * x - i)         only CubaLIF; x is the sum of a node's inputs
    v += dt / tau_mem * (v_leak - v + r * i)   IF: v += dt * r * x
    z = v > v_threshold                        some writers: v >= v_threshold
    v -= v_threshold * z                       the soft reset, which the user vouches for

with v = i = 0 at first. Without leak, the second line is ``v += gain * x``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import assert_never

from toolchain.importers.nir_format.conventions import Convention
from toolchain.importers.nir_format.network import NirNetwork
from toolchain.importers.nir_format.nodes import (
    Convolved,
    Flattened,
    Neurons,
    Node,
    Pooled,
    Port,
    Product,
    Scaled,
)

FIRING_RATE = 0.3  # of neurons that fire at random


@dataclass(frozen=True, eq=False)
class Execution:
    """What one batch did.

    Attributes:
        potentials: v before the reset, of each population, ``(B, T, ...)``.
        spikes: z, in the same shape.
        logits: mean over all steps of what the Output reads, ``(B, ...)``.
    """

    potentials: dict[str, Tensor]
    spikes: dict[str, Tensor]
    logits: Tensor


@torch.inference_mode()
def execute_graph(
    network: NirNetwork,
    convention: Convention,
    inputs: Tensor,
    timesteps: int,
    at_random: torch.Generator | None = None,
) -> Execution:
    """Present an input in each of T steps.

    Args:
        inputs: float64, ``(B, ...)`` in the shape of the Input.
        at_random: neurons fire at random, whatever their potential, so that none stays silent.
    """
    state: dict[str, Tensor] = {}
    potentials: dict[str, list[Tensor]] = {name: [] for name in network.neurons}
    spikes: dict[str, list[Tensor]] = {name: [] for name in network.neurons}
    logits = torch.zeros(())
    for _ in range(timesteps):
        values: dict[str, Tensor] = {}
        for name, node in network.nodes.items():
            sources = network.sources[name]
            x = sum((values[s] for s in sources[1:]), values[sources[0]]) if sources else inputs
            if not isinstance(node, Neurons):
                values[name] = apply_node(node, x)
                continue
            gain, threshold = (
                torch.from_numpy(array) for array in (convention.gains[name], node.v_threshold)
            )
            v = state.get(name, torch.zeros_like(x)) + gain * x
            if at_random is not None:
                fired = torch.rand(v.shape, generator=at_random, dtype=v.dtype) < FIRING_RATE
            else:
                fired = v >= threshold if convention.fires_at_equality else v > threshold
            z = fired.to(v.dtype)
            state[name] = v - threshold * z
            values[name] = z
            potentials[name].append(v)
            spikes[name].append(fired)
        logits = logits + values[network.output]
    return Execution(
        potentials={name: torch.stack(steps, 1) for name, steps in potentials.items()},
        spikes={name: torch.stack(steps, 1) for name, steps in spikes.items()},
        logits=logits / timesteps,
    )


def apply_node(node: Node, x: Tensor) -> Tensor:
    """A node without memory, on a batch."""
    match node:
        case Port():
            return x
        case Product():
            bias = None if node.bias is None else torch.from_numpy(node.bias)
            return F.linear(x, torch.from_numpy(node.weight), bias)
        case Convolved():
            image = F.pad(x[:, :, None] if node.dimensions == 1 else x, _zeros_around(node))
            weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
            result = F.conv2d(image, weight, bias, node.stride, 0, node.dilation, node.groups)
            return result[:, :, 0] if node.dimensions == 1 else result
        case Scaled():
            return x * torch.from_numpy(node.scale)
        case Pooled():
            (down, right), (height, width) = node.padding, node.kernel
            padded = F.pad(x, (right, right, down, down))
            divisor = height * width if node.mean else 1
            return F.avg_pool2d(padded, node.kernel, node.stride, divisor_override=divisor)
        case Flattened():
            behind_batch = (dim + 1 if dim >= 0 else dim for dim in (node.start_dim, node.end_dim))
            return x.flatten(*behind_batch)
        case Neurons():
            raise AssertionError("neurons have a memory")
        case _:
            assert_never(node)


def _zeros_around(node: Convolved) -> tuple[int, int, int, int]:
    """Zeros left, right, above and below; the word ``same`` keeps the size, as in torch."""
    if node.padding == "valid":
        return 0, 0, 0, 0
    if node.padding != "same":
        rows, columns = node.padding
        return columns, columns, rows, rows
    height, width = (
        step * (size - 1) for step, size in zip(node.dilation, node.weight.shape[2:], strict=True)
    )
    return width // 2, width - width // 2, height // 2, height - height // 2


def batches(num_samples: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` samples."""
    return (slice(start, start + size) for start in range(0, num_samples, max(1, size)))
