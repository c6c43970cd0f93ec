"""Residual networks of spiking neurons for direct training, built of SpikingJelly's layers.

They have the layers of ``toolchain.model_zoo.resnet``. A block joins its branches in one of two ways, where
SN is a spiking neuron and BN a batch norm: ``SN(BN(W s) + shortcut)`` before the neuron, as in an ANN (Zheng
et al., 2021), or ``SN(BN(W s)) + shortcut`` after it, the form ADD of SEW-ResNet (Fang et al., 2021), whose
blocks without a change of shape pass on spike counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import assert_never

from toolchain.model_zoo.resnet import BasicBlock, ResNet
from toolchain.optional_packages import optional_packages

LEAK = 0.25
THRESHOLD = 0.5
"""Of the LIF neurons, as in STBP-tdBN (Zheng et al., 2021)."""


@optional_packages()
def spikingjelly() -> Any:
    """The modules of SpikingJelly that train networks.

    Raises:
        MissingPackageError: it is not installed; the message names the extra that brings it.
    """
    remarks = logging.getLogger("torch._library.triton")
    remarks.setLevel(logging.ERROR)  # it says with each import that Triton is missing, as on CPUs
    from spikingjelly import activation_based
    from spikingjelly.activation_based import functional, layer, neuron, surrogate  # noqa: F401

    return activation_based


def lif(channels: int, timesteps: int) -> nn.Module:
    """LIF neurons with a reset to 0: ``u[t] = leak u[t-1] (1 - s[t-1]) + x[t]``, ``s[t] = [u[t] >= 1/2]``.

    The surrogate gradient is a rectangle of width 1.

    Source: Zheng et al. (2021), "Going Deeper With Directly-Trained Larger Spiking Neural Networks".
    """
    sj = spikingjelly()
    return sj.neuron.LIFNode(
        tau=1 / (1 - LEAK),
        decay_input=False,
        v_threshold=THRESHOLD,
        v_reset=0.0,
        surrogate_function=sj.surrogate.Rect(),
        step_mode="m",
    )


def integrate_and_fire(channels: int, timesteps: int) -> nn.Module:
    """IF neurons with a reset to 0 that gradients do not pass, as in SEW-ResNet (Fang et al., 2021)."""
    sj = spikingjelly()
    return sj.neuron.IFNode(
        v_threshold=1.0,
        v_reset=0.0,
        surrogate_function=sj.surrogate.ATan(),
        detach_reset=True,
        step_mode="m",
    )


def gated_lif(channels: int, timesteps: int) -> nn.Module:
    """Neurons that learn how they leak, integrate and reset, with parameters per channel.

    Source: Yao et al. (2022), "GLIF: A Unified Gated Leaky Integrate-and-Fire Neuron for Spiking Neural
    Networks".
    """
    sj = spikingjelly()
    node = sj.neuron.GatedLIFNode(
        timesteps, inplane=channels, surrogate_function=sj.surrogate.Rect(), step_mode="m"
    )
    for gate in (node.alpha, node.beta, node.gamma):
        nn.init.uniform_(gate, -0.1, 0.1)  # again: SpikingJelly's are of NumPy's random state
    return node


def parallel_spiking(channels: int, timesteps: int) -> nn.Module:
    """Neurons without reset: ``s = [W x >= b]`` with a learned matrix W over the T steps.

    Source: Fang et al. (2023), "Parallel Spiking Neurons with High Efficiency and Ability to Learn Long-term
    Dependencies".
    """
    return spikingjelly().neuron.PSN(timesteps)


@dataclass(frozen=True, kw_only=True)
class SpikingForm:
    """What the layers of a directly trained network consist of.

    Attributes:
        neuron: makes the neurons of a layer from its channels and T.
        norm: tdBN scales to ``alpha V_th``, BN to 1; both over batch and timesteps.
        join: whether the branches of a block meet before its last neuron or after it.
    """

    neuron: Callable[[int, int], nn.Module]
    norm: Literal["tdBN", "BN"]
    join: Literal["before", "after"]
    timesteps: int = 4

    def synapse(
        self, in_channels: int, channels: int, size: int, stride: int = 1, summands: int = 1
    ) -> nn.Sequential:
        """A convolution and its batch norm.

        tdBN starts at the standard deviation ``alpha V_th`` with ``alpha = 1 / sqrt(summands)``, so that the
        sum of the branches of a block has ``V_th`` (Zheng et al., 2021).

        Args:
            summands: number of branches that are added before a neuron.
        """
        layer = spikingjelly().layer
        convolution = layer.Conv2d(
            in_channels, channels, size, stride, padding=size // 2, bias=False, step_mode="m"
        )
        match self.norm:
            case "tdBN":
                norm = layer.ThresholdDependentBatchNorm2d(1 / sqrt(summands), THRESHOLD, channels)
            case "BN":
                norm = layer.BatchNorm2d(channels, step_mode="m")
            case _:
                assert_never(self.norm)
        return nn.Sequential(convolution, norm)

    def firing(self, in_channels: int, channels: int, size: int, stride: int = 1) -> nn.Sequential:
        """A convolution, its batch norm and neurons."""
        synapse = self.synapse(in_channels, channels, size, stride)
        return synapse.append(self.neuron(channels, self.timesteps))


class SpikingBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, joined before or after the second neuron."""

    def __init__(self, form: SpikingForm, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.inner = form.firing(in_channels, channels, 3, stride)
        self.shortcut: nn.Module = nn.Identity()
        changes = stride != 1 or in_channels != channels
        match form.join:
            case "before":
                self.outer = form.synapse(channels, channels, 3, summands=2)
                if changes:
                    self.shortcut = form.synapse(in_channels, channels, 1, stride, summands=2)
                self.join = form.neuron(channels, form.timesteps)
            case "after":
                self.outer = form.firing(channels, channels, 3)
                if changes:
                    self.shortcut = form.firing(in_channels, channels, 1, stride)
                self.join = nn.Identity()
            case _:
                assert_never(form.join)

    def forward(self, spikes: Tensor) -> Tensor:
        return self.join(self.outer(self.inner(spikes)) + self.shortcut(spikes))


class SpikingResNet(nn.Module):
    """A ResNet with spiking neurons for T steps, with random weights.

    Coding is direct: the current of the stem is the convolved image in every step. The logits are the mean
    of the head's outputs over the steps.

    Args:
        ann: the network whose layers it has, without hidden units in front of the head.
    """

    def __init__(self, ann: ResNet, form: SpikingForm) -> None:
        super().__init__()
        layer = spikingjelly().layer
        self.timesteps = form.timesteps
        stem = ann.stem_conv
        current = stem.out_channels
        self.stem = form.synapse(stem.in_channels, current, stem.kernel_size[0], stem.stride[0])
        self.stem_neuron = form.neuron(current, form.timesteps)
        self.stem_pool = layer.SeqToANNContainer(ann.stem_pool)
        self.blocks = nn.Sequential()
        for inner in (m.inner_conv for m in ann.modules() if isinstance(m, BasicBlock)):
            self.blocks.append(SpikingBlock(form, current, inner.out_channels, inner.stride[0]))
            current = inner.out_channels
        self.pool = layer.AdaptiveAvgPool2d(1, step_mode="m")
        self.head = layer.Linear(current, ann.head.out_features, step_mode="m")

    def forward(self, images: Tensor, *, by_step: bool = False) -> Tensor:
        """Logits ``(B, classes)``, or those of each step, ``(T, B, classes)``.

        Args:
            images: ``(B, C, H, W)``.
        """
        current = self.stem(images[None]).expand(self.timesteps, -1, -1, -1, -1)
        features = self.pool(self.blocks(self.stem_pool(self.stem_neuron(current))))
        logits = self.head(features.flatten(2))
        spikingjelly().functional.reset_net(
            self
        )  # potentials end with the images, and so do their gradients
        return logits if by_step else logits.mean(0)


@contextmanager
def recorded_potentials(network: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect potentials before the reset, and spikes, of each layer of LIF neurons that runs in the block.

    SpikingJelly keeps potentials after the reset alone, so they are computed from what a layer receives and
    emits. Both have the shape ``(T, B, C, H, W)``.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def record(node: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
        potentials = [inputs[0][0]]
        for current, fired in zip(inputs[0][1:], spikes[:-1], strict=True):
            potentials.append(LEAK * potentials[-1] * (1 - fired) + current)
        found.append((torch.stack(potentials), spikes))

    lif_node = spikingjelly().neuron.LIFNode
    nodes = [node for node in network.modules() if isinstance(node, lif_node)]
    hooks = [node.register_forward_hook(record) for node in nodes]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
