"""What is known of the values of a program while its quantizers are replaced."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format.program_values import (
    MONOTONE,
    ConstantValues,
    clip_of,
    keeps_values,
)
from toolchain.importers.exported_format.quantization_operations import Grid
from toolchain.importers.exported_program import operation_name, place
from toolchain.importers.operations.movements import IDENTITIES

INTEGERS = (
    "integer arithmetic hides the quantizers. Convert with convert_pt2e(model, "
    "use_reference_representation=False), and export the result"
)
_OF_CODES = (MONOTONE | {"sym_size"}) - {"pad", "constant_pad_nd"}
"""Operations between a quantize and its dequantize that are the same on integers and on values."""

_SCALING = {"mul", "div", "add"}
_KEEP_SIGN = MONOTONE | _SCALING | {
    "mean", "sum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "_adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_linear1d",
}  # fmt: skip
_OF_PIXELS = IDENTITIES | {
    "_unsafe_view", "add", "div", "flatten", "mul", "permute", "reshape", "rsub", "squeeze", "sub",
    "transpose", "unflatten", "unsqueeze", "view",
}  # fmt: skip
STEP_SLACK = 1e-6  # share by which the same step differs where it was stored with fewer bits


@dataclass(kw_only=True, eq=False)
class KnownValues:
    """Properties of values, by node.

    Attributes:
        codes: values whose program has integers there, and the grid of these.
        grids: grids, from 0 on, that values are on.
        positive: values that are never negative.
        of_pixels: values that are computed from the network's input, each element by itself.
    """

    module: fx.GraphModule
    constant: ConstantValues
    codes: dict[fx.Node, Grid] = field(default_factory=dict)
    grids: dict[fx.Node, Grid] = field(default_factory=dict)
    positive: set[fx.Node] = field(default_factory=set)
    of_pixels: set[fx.Node] = field(default_factory=set)

    def same(self, node: fx.Node, given: fx.Node) -> None:
        """Note that a node has the value of another."""
        self.constant.dependent.add(node)
        if given in self.grids:
            self.grids[node] = self.grids[given]
        if given in self.positive:
            self.positive.add(node)

    def follow(self, node: fx.Node) -> None:
        """Note what is known of a value that is not quantized here.

        Raises:
            UnsupportedNetworkError: it computes with integers.
        """
        name = operation_name(node.target)
        given = [n for n in node.all_input_nodes if n in self.constant.dependent]
        constants = [n for n in node.all_input_nodes if n not in self.constant.dependent]
        codes = [n for n in given if n in self.codes]
        if codes and node.op != "output":
            if name not in _OF_CODES:
                raise UnsupportedNetworkError(
                    f"{place(node)}: '{name}' computes with integers; {INTEGERS}"
                )
            first = self.codes[codes[0]]
            if not all(n in self.codes and same_grid(self.codes[n], first) for n in given):
                raise UnsupportedNetworkError(
                    f"{place(node)}: it joins integers of different steps; dequantize them first"
                )
            self.codes[node] = first
        of_pixels = name in _OF_PIXELS and given and all(n in self.of_pixels for n in given)
        if node.op == "placeholder" or of_pixels:
            self.of_pixels.add(node)
        if node.op != "call_function":
            return
        if self.is_idle(node):
            self.grids[node] = self.grids[given[0]]
        elif name in MONOTONE and given and not constants and keeps_values(node):
            grids = [self.grids.get(n) for n in given]
            if grids[0] is not None and len({g and g.key for g in grids}) == 1:
                self.grids[node] = grids[0]
        if clip_of(node, self.module) is not None or self._keeps_sign(node, name, given, constants):
            self.positive.add(node)

    def is_idle(self, node: fx.Node) -> bool:
        """Whether a node is a ReLU, with or without an upper clip, of values on a grid that it holds."""
        activation = clip_of(node, self.module)
        grid = self.grids.get(node.all_input_nodes[0]) if activation is not None else None
        if activation is None or grid is None:
            return False
        largest = grid.high * float(grid.step.max())
        return activation.clip is None or activation.clip >= largest * (1 - STEP_SLACK)

    def _keeps_sign(
        self, node: fx.Node, name: str, given: list[fx.Node], constants: list[fx.Node]
    ) -> bool:
        if name not in _KEEP_SIGN or not all(n in self.positive for n in given):
            return False
        if not keeps_values(node):
            return False
        arguments = (*node.args, *node.kwargs.values()) if name in _SCALING else ()
        numbers = [a for a in arguments if isinstance(a, int | float)]
        return all(number >= 0 for number in numbers) and all(
            bool((torch.as_tensor(self.constant(n)) >= 0).all()) for n in constants
        )


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether integers of both stand for the same values."""
    return _same_steps(one, other) and torch.equal(one.zero_point, other.zero_point)


def holds(grid: Grid, own: Grid) -> bool:
    """Whether a quantizer keeps all values of another grid, whose lowest value is 0, as they are."""
    if not _same_steps(grid, own):
        return False
    above = grid.high - grid.zero_point
    return bool((above >= own.high).all() and (grid.zero_point >= grid.low).all())


def _same_steps(one: Grid, other: Grid) -> bool:
    if one.axis != other.axis or one.step.shape != other.step.shape:
        return False
    return torch.allclose(one.step, other.step, rtol=STEP_SLACK, atol=0)
