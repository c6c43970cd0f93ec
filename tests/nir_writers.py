"""Networks of snnTorch, SpikingJelly and sinabs, as NIR graphs and in their writers' own simulators.

They compute in float64, so that rounding does not decide whether a neuron fires.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import nir
import numpy as np
import torch
from torch import nn

from toolchain.method.float_snn import input_current, neuron_states, propagate


@dataclass(frozen=True)
class WrittenNetwork:
    """A graph, and the simulator of its writer.

    Attributes:
        simulate: takes inputs ``(B, ...)`` and T, returns spikes ``(B, T, ...)`` by the name of each node.
    """

    graph: nir.NIRGraph
    simulate: Callable[[torch.Tensor, int], dict[str, torch.Tensor]]


class Dense(nn.Module):
    """Two dense layers; a framework gives its own layers."""

    input_shape = (16,)

    def __init__(self, linear, neurons, **others):
        super().__init__()
        self.l1, self.n1 = linear(16, 12), neurons(12)
        self.l2, self.n2 = linear(12, 5, bias=False), neurons(5)

    def forward(self, x):
        return self.n2(self.l2(self.n1(self.l1(x))))


class Convolutional(nn.Module):
    """Two convolutions, a pool and a dense layer."""

    input_shape = (2, 8, 8)

    def __init__(self, linear, neurons, conv, pool, flatten):
        super().__init__()
        self.c1, self.n1 = conv(2, 4, 3, padding=1), neurons(4, 8, 8)
        self.p, self.c2, self.n2 = pool(2), conv(4, 3, 3, stride=2, padding=1), neurons(3, 2, 2)
        self.f, self.l, self.n3 = flatten(), linear(12, 5), neurons(5)

    def forward(self, x):
        return self.n3(self.l(self.f(self.n2(self.c2(self.p(self.n1(self.c1(x))))))))


class Residual(nn.Module):
    """A residual join in front of neurons."""

    input_shape = (1, 6, 6)

    def __init__(self, linear, neurons, conv, flatten, **others):
        super().__init__()
        self.c1, self.n1 = conv(1, 3, 3, padding=1), neurons(3, 6, 6)
        self.c2, self.n2 = conv(3, 3, 3, padding=1), neurons(3, 6, 6)
        self.f, self.l, self.n3 = flatten(), linear(108, 5), neurons(5)

    def forward(self, x):
        a = self.n1(self.c1(x))
        return self.n3(self.l(self.f(self.n2(self.c2(a) + a))))


def _built(kind, **layers):
    torch.manual_seed(0)
    network = kind(**layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data *= 3  # so that neurons of all layers fire
    return network


def _recorded(network, neurons, run):
    """Spikes of all neuron modules while a function runs, by their names."""
    spikes = {name: [] for name, module in network.named_modules() if isinstance(module, neurons)}

    def record(name):
        def hook(module, given, output):
            fired = output[0] if isinstance(output, tuple) else output
            spikes[name].append(fired.clone())
            return fired.double()

        return hook

    handles = [network.get_submodule(name).register_forward_hook(record(name)) for name in spikes]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return spikes


def snntorch(kind):
    """A network of Leaky neurons with beta = 1, which subtract the threshold."""
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    def neurons(*shape):
        threshold = torch.full(shape, 1.25)
        return snn.Leaky(beta=torch.ones(shape), threshold=threshold, init_hidden=True)

    network = _built(
        kind,
        linear=nn.Linear,
        neurons=neurons,
        conv=nn.Conv2d,
        pool=nn.AvgPool2d,
        flatten=nn.Flatten,
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it calls what nirtorch deprecates, and divides by 1 - beta
        graph = export_to_nir(network, torch.rand(1, *kind.input_shape), ignore_dims=[0])

    def simulate(inputs, timesteps):
        network.double()
        for module in network.modules():
            if isinstance(module, snn.Leaky):
                module.mem = module.reset_mem()
        spikes = _recorded(network, snn.Leaky, lambda: [network(inputs) for _ in range(timesteps)])
        return {name: torch.stack(steps, 1) for name, steps in spikes.items()}

    return WrittenNetwork(graph, simulate)


def spikingjelly(kind):
    """A network of IF neurons. The exporter refuses v_reset=None, so it is set behind the export."""
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    network = _built(
        kind,
        linear=layer.Linear,
        neurons=lambda *shape: neuron.IFNode(v_threshold=0.75, v_reset=0.0),
        conv=layer.Conv2d,
        pool=layer.AvgPool2d,
        flatten=layer.Flatten,
    )
    graph = export_to_nir(network, torch.rand(1, *kind.input_shape))

    def simulate(inputs, timesteps):
        network.double()
        for module in network.modules():
            if isinstance(module, neuron.IFNode):
                module.v_reset = None
        functional.reset_net(network)
        spikes = _recorded(
            network, neuron.IFNode, lambda: [network(inputs) for _ in range(timesteps)]
        )
        return {name: torch.stack(steps, 1) for name, steps in spikes.items()}

    return WrittenNetwork(graph, simulate)


def sinabs(kind):
    """A network of IAF neurons that fire once in a step."""
    import sinabs.layers as sl
    from sinabs.activation import SingleSpike
    from sinabs.nir import to_nir

    def neurons(*shape):
        threshold = torch.tensor(1.5)
        return sl.IAFSqueeze(batch_size=1, spike_fn=SingleSpike, spike_threshold=threshold)

    network = _built(
        kind,
        linear=nn.Linear,
        neurons=neurons,
        conv=nn.Conv2d,
        pool=sl.SumPool2d,
        flatten=nn.Flatten,
    )
    example = torch.rand(1, *kind.input_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls what nirtorch deprecates
        network(example)
        graph = to_nir(network, example)

    def simulate(inputs, timesteps):
        network.double()
        for module in network.modules():
            if isinstance(module, sl.IAFSqueeze):
                module.batch_size = len(inputs)
                module.reset_states()
        steps = inputs.repeat_interleave(timesteps, 0)
        spikes = _recorded(network, sl.IAFSqueeze, lambda: network(steps))
        return {
            name: result.unflatten(0, (len(inputs), timesteps))
            for name, (result,) in spikes.items()
        }

    return WrittenNetwork(graph, simulate)


def images(shape, count, seed=0):
    """Random pixels, all 0 and all 255, int64 ``(count, *shape)``."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape))
    pixels[0], pixels[1] = 0, 255
    return pixels


def own_spikes(graph, pixels):
    """Spikes of every population of a layer graph in every step."""
    spikes = {}
    propagate(
        graph,
        input_current(graph, pixels, torch.float64),
        neuron_states(graph, torch.float64),
        on_spikes=spikes.__setitem__,
    )
    return spikes
