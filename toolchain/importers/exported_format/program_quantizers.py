"""Put our quantizers in the place of an exported program's quantize and dequantize operations.

A program's quantizers sit on edges: behind a ReLU, behind a max pool that follows the ReLU, on the input, on
the logits, and again wherever a tensor is read. What of it fires is decided here, node by node.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from math import ceil, inf
from typing import Any, cast

import torch
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format.known_values import (
    INTEGERS,
    STEP_SLACK,
    KnownValues,
    holds,
    same_grid,
)
from toolchain.importers.exported_format.placed_quantizers import PlacedQuantizer, Placement
from toolchain.importers.exported_format.program_activations import (
    activation_name,
    is_taken,
    numbered,
    put_module,
)
from toolchain.importers.exported_format.program_clips import (
    STEPS,
    absorb_clips,
    bound_behind,
    remove_idle_clips,
)
from toolchain.importers.exported_format.program_values import (
    JOINS,
    MONOTONE,
    ConstantValues,
    clip_of,
    history,
    quantization_at,
    quantize_nodes,
)
from toolchain.importers.exported_format.quantization_operations import (
    Grid,
    Quantization,
    is_quantization,
)
from toolchain.importers.exported_program import module_path, operation_name, place
from toolchain.importers.foreign.imported_quantizers import imported_quantizer
from toolchain.importers.foreign.pixel_quantizers import PixelQuantizer
from toolchain.importers.operations.movements import IDENTITIES, MOVEMENTS

_RESHAPES = (IDENTITIES - {"to", "_to_copy"}) | {
    "flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view", "_unsafe_view",
}  # fmt: skip
SIGNED = (
    "There are two ways out: put a ReLU in front of this quantizer and train again, so that its range starts "
    "at 0, or remove this quantizer (between two populations values stay real; only the populations that "
    "spike need one)"
)


def place_quantizers(module: fx.GraphModule) -> Placement:
    """Replace the quantize and dequantize operations of a module, in place.

    Weights become what their dequantize operation gives. A ReLU in front of a quantizer is part of it.

    Raises:
        UnsupportedNetworkError: naming the operation: its quantizer is signed, its ReLU has none, or it
            computes with integers.
    """
    return _Placing(module).run()


class _Placing:
    def __init__(self, module: fx.GraphModule) -> None:
        self.module, self.graph = module, module.graph
        self.constant = ConstantValues(module)
        self.found = Placement()
        self.known = KnownValues(module=module, constant=self.constant)
        self._made: dict[tuple[Any, ...], tuple[fx.Node, int]] = {}
        self._wanted: dict[str, str] = {}

    def run(self) -> Placement:
        quantized = quantize_nodes(self.graph, self.constant)
        ordinals = {node: index for index, (node, _) in enumerate(quantized)}
        self._fold_constants()
        for node in list(self.graph.nodes):
            if node not in self.constant.dependent:
                continue
            what = quantization_at(node, self.constant)
            if what is None:
                self.known.follow(node)
            elif what.role == "dequantize":
                self._dequantize(node, what.grid)
            else:
                self._quantize(node, what, ordinals[node])
        remove_idle_clips(self.module, self.known)
        absorb_clips(
            self.module,
            {n: p.grid.step if p.per_channel else None for n, p in self.found.placed.items()},
        )
        self.graph.eliminate_dead_code()
        self.module.delete_all_unused_submodules()
        self._use_free_names()
        self.module.recompile()
        return self.found

    def _use_free_names(self) -> None:
        """Give quantizers the names that parameters of the program's own quantizers had."""
        for node in self.graph.nodes:
            name = str(node.target) if node.op == "call_module" else ""
            if name not in self._wanted:
                continue
            free = next(
                n for n in numbered(self._wanted[name]) if n == name or not is_taken(self.module, n)
            )
            if free != name:
                self.module.add_submodule(free, self.module.get_submodule(name))
                self.module.delete_submodule(name)
                self.found.placed[free] = self.found.placed.pop(name)
                node.target = free

    # constants

    def _fold_constants(self) -> None:
        """Store what a dequantize of constants gives, as the weights that the network computes with."""
        dependent = self.constant.dependent
        for node in list(self.graph.nodes):
            if node in dependent or node.op != "call_function":
                continue
            readers = [n for n in node.users if n in dependent]
            if readers and any(is_quantization(n) for n in history(node)):
                name = f"dequantized_{_identifier(node.name)}"
                self.module.register_buffer(name, self.constant(node).clone())
                with self.graph.inserting_before(node):
                    stored = self.graph.get_attr(name)
                stored.meta["val"] = node.meta.get("val")
                node.replace_all_uses_with(stored, delete_user_cb=lambda n: n in dependent)

    # quantizers

    def _quantize(self, node: fx.Node, what: Quantization, ordinal: int) -> None:
        (given,) = node.args[:1]
        if not isinstance(given, fx.Node) or given not in self.constant.dependent:
            raise self._refused(node, "its step, but not its values, depends on the input")
        if given in self.known.codes:
            raise self._refused(node, "it quantizes integers; dequantize them first")
        with self.graph.inserting_before(node):
            result = self._replaced(node, given, what.grid, ordinal)
        node.replace_all_uses_with(result)
        if what.role == "quantize":
            self.known.codes[result] = what.grid
        self.graph.erase_node(node)

    def _replaced(self, node: fx.Node, given: fx.Node, grid: Grid, ordinal: int) -> fx.Node:
        if grid.axis == 0:
            raise self._refused(
                node,
                "its steps belong to the samples of a batch; use one step per tensor, or per channel",
            )
        if given in self.known.of_pixels:
            return self._once(
                ordinal, (given, grid.key), lambda: self._of_input(given, grid, ordinal)
            )
        own = self.known.grids.get(given)
        if own is not None and holds(grid, own):
            return self._same(given)
        bound = bound_behind(node, self.module, self.constant)
        if not self._starts_at_zero(given, grid, bound):
            if _ends_in_output(node):
                self.found.left_out.append(ordinal)
                self.found.notes.append(
                    f"{_name_of(self.module, node, given)}: the quantizer of the logits was left out; where "
                    f"it does not clip, it changes a logit by {float(grid.step.max()) / 2:.3g} at most"
                )
                return self._same(given)
            zero, step = float(grid.zero_point.max()), float(grid.step.max())
            raise self._refused(
                node,
                f"this quantizer is signed: its values go from {(grid.low - zero) * step:.3g} to "
                f"{(grid.high - zero) * step:.3g}, and a spike count is never negative. {SIGNED}",
                _name_of(self.module, node, given),
            )
        path: list[fx.Node] = []
        while grid.axis is None and operation_name(given.target) in _RESHAPES:
            path.insert(0, given)  # the quantizer goes in front of it, next to a max pool
            given = cast(fx.Node, given.args[0])
        result = self._once(
            ordinal,
            (given, grid.key, _limit(grid, bound)),
            lambda: self._quantizer(node, given, grid, ordinal, bound),
        )
        for reshape in path:
            result = self._reshaped(reshape, result)
        return result

    def _once(self, ordinal: int, key: tuple[Any, ...], make: Callable[[], fx.Node]) -> fx.Node:
        """The result of a quantizer, which is made if there is none with this key."""
        if key in self._made:
            self.found.repeated[ordinal] = self._made[key][1]
        else:
            self._made[key] = make(), ordinal
        return self._same(self._made[key][0])

    def _reshaped(self, node: fx.Node, given: fx.Node) -> fx.Node:
        """A reshape of another value."""
        original = node.args[0]
        result = self.graph.node_copy(node, lambda n: given if n is original else n)
        self.known.same(result, given)
        return result

    def _starts_at_zero(self, given: fx.Node, grid: Grid, bound: float | None) -> bool:
        above = grid.zero_point - grid.low  # levels below 0
        clipped = given in self.known.positive or bound is not None
        return bool((above == 0).all() or ((above >= 0).all() and clipped))

    def _quantizer(
        self, node: fx.Node, given: fx.Node, grid: Grid, ordinal: int, bound: float | None
    ) -> fx.Node:
        """A quantizer of ours that reads a value; between a division and a product if it has many steps."""
        name = _name_of(self.module, node, given)
        levels = {grid.high - float(z) for z in grid.zero_point}
        timesteps = levels.pop()
        if levels or timesteps != int(timesteps) or timesteps < 1:
            raise self._refused(
                node,
                f"its range above 0 must have the same whole number of levels in each channel, at least 1, "
                f"not {sorted({timesteps, *levels})[:4]}",
                name,
            )
        values, step, steps = given, float(grid.step[0]), None
        timesteps = min(timesteps, _limit(grid, bound))
        if grid.axis is not None:
            step, steps = (
                1.0,
                self._stored(
                    f"{STEPS}{_identifier(node.name)}",
                    grid.broadcast(grid.step, given.meta["val"].ndim),
                ),
            )
            values = self._added(torch.ops.aten.div.Tensor, given, steps)
        quantized = self._added(torch.ops.aten.relu.default, values)
        quantizer = imported_quantizer(step, int(timesteps))
        wanted = _safe_path(name)
        unique = put_module(self.module, quantized, wanted, quantizer)
        self._wanted[unique] = wanted
        self.found.placed[unique] = PlacedQuantizer(
            ordinal=ordinal,
            grid=grid,
            per_channel=steps is not None,
            shape=tuple(quantized.meta["val"].shape[1:]),
            clipped_to=None if bound is None else int(timesteps),
        )
        result = (
            quantized if steps is None else self._added(torch.ops.aten.mul.Tensor, quantized, steps)
        )
        self.known.positive.add(result)
        zero = torch.zeros_like(grid.zero_point)
        self.known.grids[result] = replace(grid, low=0, high=int(timesteps), zero_point=zero)
        return result

    def _added(self, target: Any, given: fx.Node, *constants: fx.Node) -> fx.Node:
        """An operation on a value, which keeps its shape, at the current place of the graph."""
        result = self.graph.call_function(target, (given, *constants))
        result.meta = dict(given.meta)
        self.constant.dependent.add(result)
        return result

    def _stored(self, name: str, values: Tensor) -> fx.Node:
        self.module.register_buffer(name, values)
        node = self.graph.get_attr(name)
        node.meta["val"] = values
        return node

    def _of_input(self, given: fx.Node, grid: Grid, ordinal: int) -> fx.Node:
        value = given.meta["val"]
        step, zero = (grid.broadcast(v, value.ndim) for v in (grid.step, grid.zero_point))
        result = self._added(torch.ops.aten.relu.default, given)
        quantizer = PixelQuantizer(step, zero, grid.low, grid.high)
        name = put_module(self.module, result, "input_quantizer", quantizer)
        self.found.placed[name] = PlacedQuantizer(
            ordinal=ordinal, grid=grid, per_channel=False, shape=tuple(value.shape[1:])
        )
        return result

    def _same(self, given: fx.Node) -> fx.Node:
        """The same value under a node of its own, which may stand for the integers of a program."""
        result = self._added(torch.ops.aten.alias.default, given)
        self.known.same(result, given)
        return result

    def _dequantize(self, node: fx.Node, grid: Grid) -> None:
        (given,) = node.args[:1]
        if not isinstance(given, fx.Node) or given not in self.known.codes:
            raise self._refused(
                node, f"it dequantizes what no quantize operation gives; {INTEGERS}"
            )
        own = self.known.codes[given]
        if not same_grid(own, grid):
            raise self._refused(
                node, "its step or zero point is not that of its quantize operation; use the same"
            )
        with self.graph.inserting_before(node):
            value = self._same(given)
        node.replace_all_uses_with(value)
        self.graph.erase_node(node)

    def _refused(self, node: fx.Node, reason: str, name: str = "") -> UnsupportedNetworkError:
        where = place(node)
        return UnsupportedNetworkError(f"{name or where}: {reason}")


def _limit(grid: Grid, bound: float | None) -> float:
    """Largest count that is left by clips at a bound; that of the quantizer where it is lower."""
    levels = float((grid.high - grid.zero_point).max())
    if bound is None or bound == inf or grid.axis is not None:
        return levels
    return min(levels, max(1, ceil(bound / float(grid.step) * (1 - STEP_SLACK))))


def _ends_in_output(node: fx.Node) -> bool:
    """Whether nothing but the output of the network reads a value, through operations that keep it."""
    waiting = list(node.users)
    while waiting:
        reader = waiting.pop()
        if reader.op == "output":
            continue
        name = operation_name(reader.target)
        if name.startswith("dequantize") or name in MOVEMENTS - JOINS:
            waiting.extend(reader.users)
        else:
            return False
    return True


def _name_of(module: fx.GraphModule, node: fx.Node, given: fx.Node) -> str:
    """Name of a quantizer: of the activation in front of it, or of the module whose result it quantizes."""
    current = given
    while current.op == "call_function":
        name = operation_name(current.target)
        if clip_of(current, module) is not None:
            return activation_name(current)
        if name not in MONOTONE or not current.all_input_nodes:
            break
        current = current.all_input_nodes[0]
    own, of_class = module_path(node)
    if of_class == "BrevitasQuantizer":
        return own.removesuffix(".act_quant")
    if operation_name(node.target) == "quantize":
        return str(node.args[3] or own or node.name)
    path, _ = module_path(current)
    return f"{path}.{_identifier(node.name)}" if path else node.name


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)[:60]


def _safe_path(path: str) -> str:
    """A path of modules that can be written in Python: names of a file may be anything."""
    parts = [_identifier(part) for part in path.split(".")[:16] if part]
    return ".".join(parts) or "quantizer"
