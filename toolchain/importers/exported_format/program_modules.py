"""Exported programs as modules that take batches of any size and can be changed and trained."""

from __future__ import annotations

import copy
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format.quantization_operations import QUANTIZATIONS
from toolchain.importers.exported_program import (
    check_stateless,
    constants,
    functional,
    operation_name,
    place,
    silenced,
)
from toolchain.importers.operations.table import KNOWN
from toolchain.networks.linear_maps import Shape
from toolchain.shown_values import first_line

_RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "expand"})
_EVALUATED = {"batch_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2}
"""Operations that training changes, and the place of the argument that says whether it is on."""


def module_of(program: ExportedProgram) -> fx.GraphModule:
    """Make a module of a program: the same operations, functional, with the same names of weights.

    It takes one tensor, with a batch of any size if ``check_batch`` accepts it, also if the program was
    exported for one size. It can be switched between training and evaluation, which changes nothing in it.
    Its weights are copies.

    Raises:
        UnsupportedNetworkError: the program takes several inputs, or was exported in training mode.
    """
    input_of(program)
    _check_evaluated(program)
    check_stateless(program)
    with silenced():
        program = functional(program, KNOWN | QUANTIZATIONS)
        unlifted: Any = program.module(check_guards=False)
    graph = fx.Graph()
    copied: dict[fx.Node, Any] = {}
    returned: Any = graph.graph_copy(unlifted.graph, copied)
    structure = program.call_spec.out_spec
    assert structure is not None
    graph.output(pytree.tree_unflatten(list(returned), structure))
    for node in graph.nodes:
        if node.op == "placeholder":
            node.meta.setdefault("val", input_of(program).meta["val"])
    _release_batch(graph, batch_size(program))
    _drop_casts(graph)
    graph.eliminate_dead_code()
    return fx.GraphModule(_copied_attributes(unlifted, graph), graph, "Program")


def _copied_attributes(module: nn.Module, graph: fx.Graph) -> dict[str, Any]:
    """Parameters, buffers and constants that a graph reads; shared ones stay shared."""
    memo: dict[int, Any] = {}
    paths = dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "get_attr")
    return {path: copy.deepcopy(attrgetter(path)(module), memo) for path in paths}


def input_of(program: ExportedProgram) -> fx.Node:
    """The one input of a program.

    Raises:
        UnsupportedNetworkError: it takes several, or none.
    """
    stored = constants(program)
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and stored[n.name] is None]
    if len(nodes) != 1 or not isinstance(nodes[0].meta.get("val"), Tensor):
        raise UnsupportedNetworkError(
            f"the network must take exactly one input, a tensor of images, not {len(nodes)} inputs; remove "
            f"the others from its forward"
        )
    return nodes[0]


def batch_size(program: ExportedProgram) -> int | None:
    """The only batch size that a program takes; None if it takes any."""
    shape = input_of(program).meta["val"].shape
    return int(shape[0]) if len(shape) and isinstance(shape[0], int) else None


def image_shape(program: ExportedProgram) -> Shape | None:
    """(channels, height, width) of a program's input; None if it has other axes, or sizes that are free."""
    sizes = input_of(program).meta["val"].shape[1:]
    if len(sizes) != 3 or not all(isinstance(size, int) for size in sizes):
        return None
    channels, height, width = (int(size) for size in sizes)
    return channels, height, width


def _check_evaluated(program: ExportedProgram) -> None:
    for node in program.graph.nodes:
        position = _EVALUATED.get(operation_name(node.target).rstrip("_"))
        if position is not None and len(node.args) > position and node.args[position] is True:
            raise UnsupportedNetworkError(
                f"{place(node)}: '{operation_name(node.target)}' is in training mode; export the network "
                f"after module.eval()"
            )


def _release_batch(graph: fx.Graph, size: int | None) -> None:
    """Take the batch size, a number or a symbol, out of the shapes that reshapes are given."""

    def is_batch(length: Any) -> bool:
        if not isinstance(length, int):
            return True  # a symbol
        return size is not None and length != -1 and length % size == 0

    for node in graph.nodes:
        name = operation_name(node.target)
        if node.op != "call_function" or name not in _RESHAPES:
            continue
        given, result = node.args[0].meta.get("val"), node.meta.get("val")
        if not isinstance(given, Tensor) or not isinstance(result, Tensor):
            continue
        shape, sizes = list(node.args[1]), list(result.shape[1:])
        if not shape or not given.ndim or not is_batch(shape[0]) or not is_batch(given.shape[0]):
            continue
        if name == "expand":
            if len(shape) == given.ndim and given.shape[0] == result.shape[0]:
                node.args = (node.args[0], [-1, *shape[1:]], *node.args[2:])
        elif all(isinstance(length, int) for length in sizes):
            node.args = (node.args[0], [-1, *sizes], *node.args[2:])


def _drop_casts(graph: fx.Graph) -> None:
    """Remove what holds for one type of numbers alone, such as casts to the type that a tensor has.

    Constants that are cast to float32 get the type of a weight instead, so that the network can be brought to
    float64.
    """
    weights = [
        node
        for node in graph.nodes
        if node.op == "get_attr" and getattr(node.meta.get("val"), "dtype", None) == torch.float32
    ]
    for node in list(graph.nodes):
        name = operation_name(node.target)
        if name == "_assert_tensor_metadata":
            graph.erase_node(node)
        elif name in ("to", "_to_copy") and isinstance(node.args[0], fx.Node):
            given, result = node.args[0].meta.get("val"), node.meta.get("val")
            if not isinstance(given, Tensor) or not isinstance(result, Tensor):
                continue
            if given.dtype == result.dtype:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
            elif result.dtype == torch.float32 and weights:
                node.target = torch.ops.aten.to.other
                node.args, node.kwargs = (node.args[0], weights[0]), {}
                weights[0].meta.setdefault("val", result)
                if weights[0] > node:
                    node.prepend(weights[0])


def check_batch(program: ExportedProgram, module: fx.GraphModule) -> None:
    """Require that a module that was made of a program for one batch size runs with another.

    Raises:
        UnsupportedNetworkError: naming the operation that does not.
    """
    size = batch_size(program)
    if size is None:
        return
    example = input_of(program).meta["val"]
    weights = next((p for p in module.parameters() if p.is_floating_point()), None)
    dtype = example.dtype if weights is None else weights.dtype
    inputs = torch.zeros(size + 1, *example.shape[1:], dtype=dtype)
    try:
        with torch.no_grad():
            results = pytree.tree_leaves(_Locating(module).run(inputs))
        fits = all(len(result) == size + 1 for result in results)
    except UnsupportedNetworkError as error:
        reason = str(error).splitlines()[0]  # fx adds its own notes
    else:
        reason = "" if fits else "its results do not have the batch as their first axis"
    if reason:
        raise UnsupportedNetworkError(
            f"the program was exported for batches of {size} and does not take others ({reason}); export "
            f"it with a free batch size: torch.export.export(module, (images,), dynamic_shapes=({{0: "
            f"torch.export.Dim('batch')}},))"
        )


class _Locating(fx.Interpreter):
    """Executes a module, and names the operation that fails."""

    def run_node(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except Exception as error:  # kernels raise many types
            raise UnsupportedNetworkError(
                f"{place(n)}: '{operation_name(n.target)}': {first_line(error)}"
            ) from None
