"""Values of an exported program: constants, its quantize operations, and operations that keep values."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format.quantization_operations import (
    Quantization,
    quantization_of,
)
from toolchain.importers.exported_program import operation_name, place
from toolchain.importers.operations.movements import MOVEMENTS
from toolchain.importers.operations.table import MAX_CONSTANT
from toolchain.method.activations import Activation, activation_of
from toolchain.shown_values import first_line

MAX_POOLS = frozenset({
    "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "amax",
})  # fmt: skip
MONOTONE = MOVEMENTS | MAX_POOLS | {"getitem"}
"""Operations that commute with a quantizer: what they give is among what they are given, or padding."""

JOINS = frozenset({"cat", "stack", "copy", "select_scatter", "slice_scatter"})


def keeps_values(node: fx.Node) -> bool:
    """Whether what a monotone operation gives is among what it is given, or 0; padding may be with others."""
    if operation_name(node.target) not in ("pad", "constant_pad_nd"):
        return True
    padding = (*node.args[2:], *node.kwargs.values())
    return not any(isinstance(value, int | float) and value != 0 for value in padding)


def clip_of(node: fx.Node, module: fx.GraphModule) -> Activation | None:
    """The ReLU, with or without an upper clip, that an operation is; None for any other."""
    if node.op != "call_function":
        return None
    try:
        return activation_of(node, module)
    except UnsupportedNetworkError:  # another activation, which conversion names
        return None


def quantize_nodes(graph: fx.Graph, constant: ConstantValues) -> list[tuple[fx.Node, Quantization]]:
    """Quantize operations on values that depend on the input, in order."""
    found = []
    for node in graph.nodes:
        what = quantization_at(node, constant) if node in constant.dependent else None
        if what is not None and what.role != "dequantize":
            found.append((node, what))
    return found


def quantization_at(node: fx.Node, constant: ConstantValues) -> Quantization | None:
    given = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
    value = None if given is None else given.meta.get("val")
    rank = value.ndim if isinstance(value, Tensor) else 0
    try:
        return quantization_of(node, constant, rank)
    except UnsupportedNetworkError as error:
        raise UnsupportedNetworkError(f"{place(node)}: {error}") from None


class ConstantValues:
    """Values of a graph's nodes that do not depend on its input, computed when they are needed."""

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._values: dict[fx.Node, Any] = {}
        self.dependent: set[fx.Node] = set()
        for node in module.graph.nodes:
            if node.op == "placeholder" or any(n in self.dependent for n in node.all_input_nodes):
                self.dependent.add(node)

    def __call__(self, argument: Any) -> Any:
        """Value of an argument.

        Raises:
            UnsupportedNetworkError: it depends on the network's input, or is too large.
        """
        if not isinstance(argument, fx.Node):
            return argument
        if argument in self.dependent:
            raise UnsupportedNetworkError(
                "its step is computed from the input (dynamic quantization); use static quantization"
            )
        for node in history(argument, self._values):
            self._values[node] = self._computed(node)
        return self._values[argument]

    def _computed(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            value: Any = self._module
            for step in str(node.target).split("."):
                value = getattr(value, step)
            return value.detach()
        given = node.meta.get("val")
        if isinstance(given, Tensor) and given.numel() > MAX_CONSTANT:
            raise UnsupportedNetworkError(
                f"{place(node)}: makes a constant of {given.numel():,} elements, above the limit of "
                f"{MAX_CONSTANT:,}"
            )
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._values.__getitem__)
        target: Any = node.target
        try:
            with torch.no_grad():
                return target(*args, **kwargs)
        except Exception as error:  # kernels raise many types
            raise UnsupportedNetworkError(
                f"{place(node)}: '{operation_name(target)}' fails: {first_line(error)}"
            ) from None


def history(node: fx.Node, known: Container[fx.Node] = ()) -> list[fx.Node]:
    """A node and what it is computed from, sources first, without those that are known."""
    found: dict[fx.Node, None] = {}
    waiting = [node]
    while waiting:
        current = waiting[-1]
        missing = [n for n in current.all_input_nodes if n not in known and n not in found]
        if missing:
            waiting.extend(missing)
        else:
            found.setdefault(waiting.pop())
    return [n for n in found if n not in known]
