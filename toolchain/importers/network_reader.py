"""From an exported program to a layer graph (Algorithm 1, lines 22 to 25).

Every value that depends on the input is a ``TensorView`` of linear expressions; all others are constants,
which PyTorch computes. ``operations.table`` says what each operation does with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import networkx as nx
import numpy as np
from torch import fx
from torch.export import ExportedProgram

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers import exported_program
from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.network_builder import (
    NetworkBuilder,
    OutputFunction,
    PendingMaximum,
    Value,
)
from toolchain.importers.operations.table import apply
from toolchain.importers.tensor_views import BATCH, TensorView
from toolchain.method.quantizer_calls import QuantizerCall
from toolchain.networks.layer_graph import (
    InputPopulation,
    LayerGraph,
    ReadoutPopulation,
    verify_layer_graph,
)
from toolchain.networks.layer_graph.populations import ReadoutOutput


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadNetwork:
    """A layer graph, and how it relates to the program that it was read from.

    Attributes:
        left_out: name of a function of the logits that was left out, or ''.
    """

    graph: LayerGraph
    calls: tuple[QuantizerCall, ...]
    left_out: str = ""


def read_network(
    program: ExportedProgram, image: InputPopulation, first: LinearExpression
) -> ReadNetwork:
    """Read a functional program.

    Args:
        image: the input population.
        first: what the program's input is of its values.

    Raises:
        UnsupportedNetworkError: naming the operation that has no spiking form, its place and the remedy.
    """
    return _Reader(program, image, first).read()


class _Reader:
    def __init__(
        self, program: ExportedProgram, image: InputPopulation, first: LinearExpression
    ) -> None:
        self.program = program
        self.first = first
        self.network = NetworkBuilder(populations=[image])

    def read(self) -> ReadNetwork:
        exported_program.check_stateless(self.program)
        stored = exported_program.constants(self.program)
        values: dict[fx.Node, Value] = {}
        inputs = 0
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                constant = stored[node.name]
                if constant is None:
                    inputs += 1
                    if inputs > 1:
                        raise UnsupportedNetworkError(
                            "the network must take exactly one input; remove the others from its forward"
                        )
                    values[node] = TensorView.of_expression(self.first)
                else:
                    values[node] = constant.detach()
            elif node.op == "call_function":
                given: Any = fx.map_arg(
                    (node.args, dict(node.kwargs)), cast(Any, values.__getitem__)
                )
                try:
                    values[node] = apply(self.network, node, *given)
                except UnsupportedNetworkError as error:
                    raise UnsupportedNetworkError(
                        f"{exported_program.place(node)}: {error}"
                    ) from None
        return self._read_out(
            [(path, values[n]) for path, n in exported_program.outputs(self.program)]
        )

    def _read_out(self, named: list[tuple[str, Value]]) -> ReadNetwork:
        left_out = ""
        views: list[tuple[str, TensorView]] = []
        for path, value in named:
            what = f"output '{path}'" if path else "its output"
            if isinstance(value, OutputFunction):
                left_out, value = value.name, value.view
                if len(named) > 1:
                    raise UnsupportedNetworkError(
                        f"{what} ends in {left_out}; return logits where there are several outputs"
                    )
            if isinstance(value, PendingMaximum):
                raise UnsupportedNetworkError(
                    f"{what} is a max pool of values that are no spike counts; put a quantizer before it"
                )
            if not isinstance(value, TensorView):
                raise UnsupportedNetworkError(
                    f"{what} does not depend on the network's input; return logits alone"
                )
            views.append((path, value))
        if not views:
            raise UnsupportedNetworkError("the network returns no tensor; return its logits")
        expression, outputs = _readout(views)
        if not expression.terms:
            raise UnsupportedNetworkError(
                "the network's output does not depend on its input; return logits that do"
            )
        network = self.network
        network.populations.append(
            ReadoutPopulation(
                name=network.unique("readout"),
                shape=expression.shape,
                bias=expression.bias,
                outputs=outputs,
            )
        )
        network.synapses += expression.synapses_into(network.populations[-1].name)
        graph = _without_unread(network)
        names = {population.name for population in graph.populations}
        calls = tuple(call for call in network.calls if call.population in names)
        return ReadNetwork(graph=verify_layer_graph(graph), calls=calls, left_out=left_out)


def _readout(
    views: list[tuple[str, TensorView]],
) -> tuple[LinearExpression, tuple[ReadoutOutput, ...]]:
    """Outputs as one expression: maps where they are maps that fit together, else rows of elements."""
    try:
        return _on_one_canvas([(path, _map_of(view)) for path, view in views])
    except UnsupportedNetworkError:
        rows = [view.moved(view.numbers.reshape(BATCH, -1)) for _, view in views]
        paths = (path for path, _ in views)
        return _on_one_canvas(
            [(path, row.feature_map()) for path, row in zip(paths, rows, strict=True)]
        )


def _map_of(view: TensorView) -> LinearExpression:
    whole = view.natural_order()
    return whole if whole is not None else view.feature_map()


def _on_one_canvas(
    views: list[tuple[str, LinearExpression]],
) -> tuple[LinearExpression, tuple[ReadoutOutput, ...]]:
    """Several outputs as channels of one readout, each at the upper left of its channels."""
    if len(views) == 1:
        return views[0][1], ()
    height, width = (max(value.shape[axis] for _, value in views) for axis in (1, 2))
    channels = sum(value.shape[0] for _, value in views)
    outputs, placed, start = [], [], 0
    for path, value in views:
        stop = start + value.shape[0]
        own = np.full(channels, -1)
        own[start:stop] = np.arange(value.shape[0])
        sizes = zip((height, width), value.shape[1:], strict=True)
        axes = [
            np.where(np.arange(size) < own_size, np.arange(size), -1) for size, own_size in sizes
        ]
        placed.append(value.selected(own, *axes))
        outputs.append(
            ReadoutOutput(
                name=path, start=start, stop=stop, height=value.shape[1], width=value.shape[2]
            )
        )
        start = stop
    return reduce(LinearExpression.plus, placed), tuple(outputs)


def _without_unread(network: NetworkBuilder) -> LayerGraph:
    """The layer graph of the populations that reach the readout; the image stays."""
    connected: nx.DiGraph = nx.DiGraph((s.source, s.target) for s in network.synapses)
    image, readout = network.populations[0].name, network.populations[-1].name
    kept = {image, readout, *nx.ancestors(connected, readout)}
    return LayerGraph.build(
        [p for p in network.populations if p.name in kept],
        [s for s in network.synapses if s.target in kept],
    )
