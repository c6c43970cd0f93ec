"""Random NIR graphs of all nodes that are read, with joins, nested graphs and every writer's neurons."""

from __future__ import annotations

import nir
import numpy as np


class RandomGraph:
    """A graph that grows node by node, and the shape of what each node gives."""

    def __init__(self, seed):
        self.chance = np.random.default_rng(seed)
        self.nodes, self.edges, self.shapes = {}, [], {}
        self.style = self.chance.choice(["IF", "SpikingJelly", "snnTorch", "CubaLIF"])

    def add(self, node, shape, *sources):
        name = f"n{len(self.nodes)}"
        self.nodes[name], self.shapes[name] = node, shape
        self.edges += [(source, name) for source in sources]
        return name

    def weights(self, *shape):
        weights = self.chance.normal(size=shape)
        if self.chance.random() < 0.3:
            return np.round(weights * 4) / 4  # on a grid, with ties
        return weights.astype(self.chance.choice(["f4", "f8"]))

    def neurons(self, source):
        """Neurons with one threshold, or one for each channel."""
        shape = self.shapes[source]
        threshold = np.full(shape, self.chance.choice([0.5, 1.0, 2.0, 0.7391]))
        if self.chance.random() < 0.3:
            factors = self.chance.choice([0.5, 1.0, 1.5], shape[:1])
            threshold *= factors.reshape(-1, *[1] * (len(shape) - 1))
        zeros, endless = np.zeros(shape), np.full(shape, np.inf)
        match self.style:
            case "IF":
                node = nir.IF(np.ones(shape), threshold, zeros)
            case "SpikingJelly":
                node = nir.IF(np.full(shape, 1e4), threshold, zeros)
            case "snnTorch":
                node = nir.LIF(
                    tau=endless, r=endless, v_leak=zeros, v_threshold=threshold, v_reset=zeros
                )
            case _:
                node = nir.CubaLIF(
                    tau_syn=np.full(shape, 1e-4), tau_mem=endless, r=endless, v_leak=zeros,
                    v_threshold=threshold, v_reset=zeros, w_in=np.full(shape, self.chance.choice([1.0, 0.3])),
                )  # fmt: skip
        if self.chance.random() < 0.2:
            ends = nir.Input({"input": np.array(shape)}), nir.Output({"output": np.array(shape)})
            nodes = {"in": ends[0], "neurons": node, "out": ends[1]}
            node = nir.NIRGraph(nodes, [("in", "neurons"), ("neurons", "out")])
        return self.add(node, shape, source)

    def linear(self, source):
        """One node without memory."""
        shape = self.shapes[source]
        pair = lambda low, high: self.chance.integers(low, high, 2)  # noqa: E731
        kind = self.chance.integers(6)
        if len(shape) == 1 or kind == 5:
            if len(shape) > 1:
                flat = nir.Flatten({"input": np.array(shape)}, 0, -1)
                source = self.add(flat, (int(np.prod(shape)),), source)
                shape = self.shapes[source]
            outputs = int(self.chance.integers(2, 7))
            weight = self.weights(outputs, shape[0])
            if self.chance.random() < 0.5:
                return self.add(nir.Linear(weight), (outputs,), source)
            return self.add(nir.Affine(weight, self.weights(outputs)), (outputs,), source)
        if kind == 0:
            scale = np.broadcast_to(
                self.weights(shape[0]).reshape(-1, *[1] * (len(shape) - 1)), shape
            ).copy()
            return self.add(nir.Scale(scale), shape, source)
        if len(shape) == 3 and kind in (1, 2):
            kernel, stride = pair(1, 4), pair(1, 3)
            padding = np.minimum(pair(0, 2), kernel // 2)
            size = (np.array(shape[1:]) + 2 * padding - kernel) // stride + 1
            if (size < 1).any():
                return source
            node = (nir.SumPool2d if kind == 1 else nir.AvgPool2d)(kernel, stride, padding)
            return self.add(node, (shape[0], *map(int, size)), source)
        return self.convolution(source)

    def convolution(self, source):
        channels, *size = self.shapes[source]
        groups = int(self.chance.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        outputs = groups * int(self.chance.integers(1, 3))
        dimensions = len(size)
        kernel, dilation = (self.chance.integers(1, 1 + n, dimensions) for n in (4, 2))
        stride, padding = (
            self.chance.integers(1, 3, dimensions),
            self.chance.integers(0, 3, dimensions),
        )
        words = self.chance.random() < 0.2
        if words:
            stride[:], padding = 1, dilation * (kernel - 1) / 2
        out = (np.array(size) + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if (out < 1).any():
            return source
        weight, bias = self.weights(outputs, channels // groups, *kernel), self.weights(outputs)
        plain = [v if dimensions == 2 else int(v[0]) for v in (stride, padding, dilation)]
        if words:
            plain[1] = "same"
        node = (nir.Conv1d if dimensions == 1 else nir.Conv2d)(
            None, weight, plain[0], plain[1], plain[2], groups, bias
        )
        return self.add(node, (outputs, *map(int, out)), source)


def random_graph(seed):
    """A graph of some layers; a layer may read two earlier populations of one shape."""
    graph = RandomGraph(seed)
    chance = graph.chance
    shapes = [(7,), (2, 9), (1, 6, 6), (3, 5, 4), (2, 7, 3)]
    shape = shapes[chance.integers(len(shapes))]
    graph.nodes["input"], graph.shapes["input"] = nir.Input({"input": np.array(shape)}), shape
    last = "input"
    for _ in range(chance.integers(1, 5)):
        before = last
        for _ in range(chance.integers(0 if last == "input" else 1, 4)):
            last = graph.linear(last)
        if graph.shapes[before] == graph.shapes[last] and before != last and chance.random() < 0.7:
            ends = [before, last]
            both = graph.add(nir.Scale(np.ones(graph.shapes[last])), graph.shapes[last], *ends)
            last = both
        last = graph.neurons(last)
    if chance.random() < 0.4:
        last = graph.linear(last)
    graph.nodes["output"] = nir.Output({"output": np.array(graph.shapes[last])})
    graph.edges.append((last, "output"))
    return nir.NIRGraph(graph.nodes, graph.edges, type_check=False)
