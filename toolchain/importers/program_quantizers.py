"""Put our quantizers in the place of an exported program's quantize and dequantize operations.

A program's quantizers sit on edges: behind a ReLU, behind a max pool that follows the ReLU, on the input, on
the logits, and again wherever a tensor is read. What of it fires is decided here, node by node.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_program import module_path, operation_name, place
from toolchain.importers.foreign_network import imported_quantizer
from toolchain.importers.operations.movements import IDENTITIES, MOVEMENTS
from toolchain.importers.operations.table import MAX_CONSTANT
from toolchain.importers.pixel_quantizers import PixelQuantizer
from toolchain.importers.program_activations import activation_name, is_taken, put_module
from toolchain.importers.quantization_operations import (
    Grid,
    Quantization,
    is_quantization,
    quantization_of,
)
from toolchain.method.activations import activation_of
from toolchain.method.quantizers import ActivationQuantizer

_MAX_POOLS = frozenset({
    "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d", "amax",
})  # fmt: skip
_MONOTONE = MOVEMENTS | _MAX_POOLS
"""Operations that commute with a quantizer: what they give is among what they are given, or 0."""

_OF_CODES = _MONOTONE - {"pad", "constant_pad_nd"}
"""Operations between a quantize and its dequantize that are the same on integers and on values."""

_JOINS = frozenset({"cat", "stack", "copy", "select_scatter", "slice_scatter"})
_RESHAPES = (IDENTITIES - {"to", "_to_copy"}) | {
    "flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view", "_unsafe_view",
}  # fmt: skip
_KEEP_SIGN = _MONOTONE | {
    "add", "mean", "sum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "_adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_linear1d",
}  # fmt: skip
_OF_PIXELS = IDENTITIES | {
    "add", "div", "mul", "permute", "reshape", "rsub", "sub", "transpose", "unsqueeze", "view",
}  # fmt: skip
_STEP_SLACK = 1e-6  # share by which the same step differs where it was stored with fewer bits

SIGNED = (
    "There are two ways out: put a ReLU in front of this quantizer and train again, so that its range starts "
    "at 0, or remove this quantizer (between two populations values stay real; only the populations that "
    "spike need one)"
)


@dataclass(frozen=True, kw_only=True)
class PlacedQuantizer:
    """A quantizer that was put in a module.

    Attributes:
        ordinal: which of the program's quantize operations on activations it stands for, from 0.
        grid: of that operation.
        per_channel: its values are divided by their channel's step, so that its own step is 1.
        shape: of its values, without the batch.
    """

    ordinal: int
    grid: Grid
    per_channel: bool
    shape: tuple[Any, ...]


@dataclass(kw_only=True, eq=False)
class Placement:
    """What became of the quantize operations of a program.

    Attributes:
        placed: by the name of the quantizer.
        left_out: ordinals of quantize operations of the logits, which were left out.
    """

    placed: dict[str, PlacedQuantizer] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def place_quantizers(module: fx.GraphModule) -> Placement:
    """Replace the quantize and dequantize operations of a module, in place.

    Weights become what their dequantize operation gives. A ReLU in front of a quantizer is part of it.

    Raises:
        UnsupportedNetworkError: naming the operation: its quantizer is signed, its ReLU has none, or it
            computes with integers.
    """
    return _Placing(module).run()


def quantize_nodes(graph: fx.Graph, constant: ConstantValues) -> list[tuple[fx.Node, Quantization]]:
    """Quantize operations on values that depend on the input, in order."""
    found = []
    for node in graph.nodes:
        if node in constant.dependent and (what := quantization_at(node, constant)) is not None:
            if what.role != "dequantize":
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
        for node in _history(argument, self._values):
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
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._values.__getitem__)  # type: ignore[misc]
        target: Any = node.target
        try:
            with torch.no_grad():
                return target(*args, **kwargs)
        except Exception as error:  # kernels raise many types
            raise UnsupportedNetworkError(
                f"{place(node)}: '{operation_name(target)}' fails: {str(error).splitlines()[0][:200]}"
            ) from None


def _history(node: fx.Node, known: Any) -> list[fx.Node]:
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


class _Placing:
    def __init__(self, module: fx.GraphModule) -> None:
        self.module, self.graph = module, module.graph
        self.constant = ConstantValues(module)
        self.found = Placement()
        self._codes: dict[fx.Node, Grid] = {}
        """Values whose program has integers there, and their grid."""
        self._grids: dict[fx.Node, Grid] = {}
        """Grids that values are known to be on."""
        self._positive: set[fx.Node] = set()
        self._of_pixels: set[fx.Node] = set()
        self._made: dict[tuple[Any, ...], fx.Node] = {}
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
                self._follow(node)
            elif what.role == "dequantize":
                self._dequantize(node, what.grid)
            else:
                self._quantize(node, what, ordinals[node])
        for node in list(self.graph.nodes):
            if node.op == "call_function" and node in self.constant.dependent:
                self._absorb(node)
        self.graph.eliminate_dead_code()
        self.module.delete_all_unused_submodules()
        self._use_free_names()
        self.module.recompile()
        return self.found

    def _use_free_names(self) -> None:
        """Give a quantizer the name that parameters of the program's own quantizer had."""
        for node in self.graph.nodes:
            wanted = self._wanted.get(str(node.target)) if node.op == "call_module" else None
            if wanted is not None and not is_taken(self.module, wanted):
                name = str(node.target)
                self.module.add_submodule(wanted, self.module.get_submodule(name))
                self.module.delete_submodule(name)
                self.found.placed[wanted] = self.found.placed.pop(name)
                node.target = wanted

    # constants

    def _fold_constants(self) -> None:
        """Store what a dequantize of constants gives, as the weights that the network computes with."""
        dependent = self.constant.dependent
        for node in list(self.graph.nodes):
            if node in dependent or node.op != "call_function":
                continue
            readers = [n for n in node.users if n in dependent]
            if readers and any(is_quantization(n) for n in _history(node, {})):
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
        if given in self._codes:
            raise self._refused(node, "it quantizes integers; dequantize them first")
        with self.graph.inserting_before(node):
            result = self._replaced(node, given, what.grid, ordinal)
        node.replace_all_uses_with(result)
        if what.role == "quantize":
            self._codes[result] = what.grid
        self.graph.erase_node(node)

    def _replaced(self, node: fx.Node, given: fx.Node, grid: Grid, ordinal: int) -> fx.Node:
        if grid.axis == 0:
            raise self._refused(
                node,
                "its steps belong to the samples of a batch; use one step per tensor, or per channel",
            )
        if given in self._of_pixels:
            return self._of_input(node, given, grid)
        own = self._grids.get(given)
        if own is not None and _holds(grid, own):
            return self._same(given)
        if not self._starts_at_zero(given, grid):
            if _ends_in_output(node):
                self.found.left_out.append(ordinal)
                self.found.notes.append(
                    f"{_name_of(node, given)}: the quantizer of the logits was left out, which changes a "
                    f"logit by half a step ({float(grid.step.max()) / 2:.3g}) at most, or where it is clipped"
                )
                return self._same(given)
            zero, step = float(grid.zero_point.max()), float(grid.step.max())
            raise self._refused(
                node,
                f"this quantizer is signed: its values go from {(grid.low - zero) * step:.3g} to "
                f"{(grid.high - zero) * step:.3g}, and a spike count is never negative. {SIGNED}",
                _name_of(node, given),
            )
        path: list[fx.Node] = []
        while grid.axis is None and operation_name(given.target) in _RESHAPES:
            path.insert(0, given)  # the quantizer goes in front of it, next to a max pool
            given = cast(fx.Node, given.args[0])
        key = (given, grid.key)
        if key not in self._made:
            self._made[key] = self._quantizer(node, given, grid, ordinal)
        result = self._same(self._made[key])
        for reshape in path:
            result = self._reshaped(reshape, result)
        return result

    def _reshaped(self, node: fx.Node, given: fx.Node) -> fx.Node:
        """A reshape of another value."""
        original = node.args[0]
        result = self.graph.node_copy(node, lambda n: given if n is original else n)
        self.constant.dependent.add(result)
        self._grids[result] = self._grids[given]
        self._positive.add(result)
        return result

    def _starts_at_zero(self, given: fx.Node, grid: Grid) -> bool:
        return bool((grid.zero_point == grid.low).all()) or given in self._positive

    def _quantizer(self, node: fx.Node, given: fx.Node, grid: Grid, ordinal: int) -> fx.Node:
        """A quantizer of ours that reads a value; between a division and a product if it has many steps."""
        name = _name_of(node, given)
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
        if grid.axis is not None:
            step, steps = (
                1.0,
                self._stored(
                    f"{_STEPS}{_identifier(node.name)}",
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
        )
        result = (
            quantized if steps is None else self._added(torch.ops.aten.mul.Tensor, quantized, steps)
        )
        self._positive.add(result)
        zero = torch.zeros_like(grid.zero_point)
        self._grids[result] = replace(grid, low=0, high=int(timesteps), zero_point=zero)
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

    def _of_input(self, node: fx.Node, given: fx.Node, grid: Grid) -> fx.Node:
        rank = given.meta["val"].ndim
        step, zero = (grid.broadcast(v, rank) for v in (grid.step, grid.zero_point))
        result = self._added(torch.ops.aten.relu.default, given)
        put_module(
            self.module, result, "input_quantizer", PixelQuantizer(step, zero, grid.low, grid.high)
        )
        return result

    def _same(self, given: fx.Node) -> fx.Node:
        """The same value under a node of its own, which may stand for the integers of a program."""
        result = self._added(torch.ops.aten.alias.default, given)
        if given in self._grids:
            self._grids[result] = self._grids[given]
        if given in self._positive:
            self._positive.add(result)
        return result

    def _dequantize(self, node: fx.Node, grid: Grid) -> None:
        (given,) = node.args[:1]
        if not isinstance(given, fx.Node) or given not in self._codes:
            raise self._refused(
                node, f"it dequantizes what no quantize operation gives; {_INTEGERS}"
            )
        own = self._codes[given]
        if not (_same_grid(own, grid) and own.axis == grid.axis):
            raise self._refused(
                node, "its step or zero point is not that of its quantize operation; use the same"
            )
        with self.graph.inserting_before(node):
            value = self._same(given)
        node.replace_all_uses_with(value)
        self.graph.erase_node(node)

    # values between

    def _follow(self, node: fx.Node) -> None:
        """Note what is known of a value that is not quantized here."""
        name = operation_name(node.target)
        given = [n for n in node.all_input_nodes if n in self.constant.dependent]
        codes = [n for n in given if n in self._codes]
        if codes and node.op != "output":
            if name not in _OF_CODES and name not in ("getitem", "sym_size"):
                raise self._refused(node, f"'{name}' computes with integers; {_INTEGERS}")
            grids = [self._codes.get(n) for n in given]
            if any(g is None or not _same_grid(g, grids[0]) for g in grids):
                raise self._refused(node, "it joins integers of different steps; dequantize first")
            self._codes[node] = self._codes[codes[0]]
        if node.op == "placeholder" or (
            name in _OF_PIXELS and given and all(n in self._of_pixels for n in given)
        ):
            self._of_pixels.add(node)
        if node.op != "call_function":
            return
        monotone = name in _MONOTONE or name == "getitem"
        if monotone and given:
            grids = [self._grids.get(n) for n in given]
            constants = [n for n in node.all_input_nodes if n not in self.constant.dependent]
            first = grids[0]
            if first is not None and not constants and _all_on(grids, first):
                self._grids[node] = first
        if self._clips(node) or self._keeps_sign(node, name, given):
            self._positive.add(node)

    def _clips(self, node: fx.Node) -> bool:
        try:
            return activation_of(node, self.module) is not None
        except UnsupportedNetworkError:
            return False

    def _keeps_sign(self, node: fx.Node, name: str, given: list[fx.Node]) -> bool:
        if name not in _KEEP_SIGN and name not in ("getitem", "mul", "div"):
            return False
        if not all(n in self._positive for n in given):
            return False
        others = [a for a in (*node.args, *node.kwargs.values()) if not isinstance(a, fx.Node)]
        constants = [n for n in node.all_input_nodes if n not in self.constant.dependent]
        numbers = [a for a in others if isinstance(a, int | float)] if name in _SCALING else []
        return all(number >= 0 for number in numbers) and all(
            bool((torch.as_tensor(self.constant(n)) >= 0).all()) for n in constants
        )

    # ReLUs

    def _absorb(self, node: fx.Node) -> None:
        """Remove an activation whose readers are all quantizers, which clip at 0 themselves."""
        activation = activation_of(node, self.module)
        if activation is None:
            return
        (given,) = node.all_input_nodes[:1]
        for reader, joined in self._readers(node):
            quantizer = (
                self.module.get_submodule(str(reader.target))
                if reader.op == "call_module"
                else None
            )
            if not isinstance(quantizer, ActivationQuantizer):
                what = (
                    "returned by the network"
                    if reader.op == "output"
                    else f"read by '{operation_name(reader.target)}' ({place(reader)})"
                )
                raise UnsupportedNetworkError(
                    f"{place(node)}: this activation is {what} without a quantizer between them; quantize "
                    f"that edge as well (annotate the operation that reads it), or leave out all quantizers "
                    f"for post-training conversion"
                )
            if activation.clip is not None:
                self._clip(node, str(reader.target), quantizer, activation.clip, joined)
        node.replace_all_uses_with(given)
        self.graph.erase_node(node)

    def _readers(self, node: fx.Node) -> list[tuple[fx.Node, bool]]:
        """Operations that a value reaches through monotone ones, and whether others join it before."""
        found: dict[fx.Node, bool] = {}
        waiting = [(reader, False) for reader in node.users]
        while waiting:
            reader, joined = waiting.pop()
            name = operation_name(reader.target)
            if name == "sym_size":
                continue
            passes = reader.op == "call_function" and (name in _MONOTONE or name == "getitem")
            per_channel = reader.op == "call_function" and name == "div" and self._is_steps(reader)
            if passes or per_channel or (reader.op == "call_function" and self._clips(reader)):
                joined = joined or name in _JOINS
                waiting.extend((n, joined) for n in reader.users)
            else:
                found[reader] = found.get(reader, False) or joined
        return list(found.items())

    def _is_steps(self, node: fx.Node) -> bool:
        divisor = node.args[1] if len(node.args) > 1 else None
        return isinstance(divisor, fx.Node) and str(divisor.target).startswith(_STEPS)

    def _clip(
        self, node: fx.Node, name: str, quantizer: ActivationQuantizer, clip: float, joined: bool
    ) -> None:
        """Lower the clipping level of a quantizer to that of its ReLU6 or clamp, if it is lower."""
        placed = self.found.placed[name]
        step, levels = (float(v.detach()) for v in quantizer.step_and_levels())
        steps = placed.grid.step if placed.per_channel else torch.tensor([step])
        limits = {round(clip / float(s)) for s in steps}  # half to even, as PyTorch rounds
        if min(limits) >= levels:
            return
        if joined or len(limits) > 1 or min(limits) < 1:
            raise UnsupportedNetworkError(
                f"{place(node)}: this activation is clipped at {clip:g}, below the largest value of its "
                f"quantizer '{name}' ({step * levels:.4g}), for a part of what the quantizer reads; use the "
                f"same clip for all of it"
            )
        self.module.get_submodule(name.rpartition(".")[0]).register_module(
            name.rpartition(".")[2], imported_quantizer(step, limits.pop())
        )

    def _refused(self, node: fx.Node, reason: str, name: str = "") -> UnsupportedNetworkError:
        where = place(node)
        return UnsupportedNetworkError(f"{name or where}: {reason}")


_STEPS = "steps_of_"  # prefix of buffers
_SCALING = {"mul", "div", "add"}
_INTEGERS = (
    "integer arithmetic hides the quantizers. Convert with convert_pt2e(model, "
    "use_reference_representation=False), and export the result"
)


def _same_grid(one: Grid | None, other: Grid | None) -> bool:
    """Whether integers of both stand for the same values."""
    if one is None or other is None or one.step.shape != other.step.shape:
        return False
    close = torch.allclose(one.step, other.step, rtol=_STEP_SLACK, atol=0)
    return close and torch.equal(one.zero_point, other.zero_point)


def _all_on(grids: list[Grid | None], first: Grid) -> bool:
    return all(g is not None and g.key == first.key for g in grids)


def _holds(grid: Grid, own: Grid) -> bool:
    """Whether a quantizer keeps all values of another grid, whose lowest value is 0, as they are."""
    if grid.axis != own.axis or grid.step.shape != own.step.shape:
        return False
    close = torch.allclose(grid.step, own.step, rtol=_STEP_SLACK, atol=0)
    above = grid.high - grid.zero_point
    return close and bool((above >= own.high).all() and (grid.zero_point >= grid.low).all())


def _ends_in_output(node: fx.Node) -> bool:
    """Whether nothing but the output of the network reads a value, through operations that keep it."""
    waiting = list(node.users)
    while waiting:
        reader = waiting.pop()
        if reader.op == "output":
            continue
        name = operation_name(reader.target)
        if name.startswith("dequantize") or name in MOVEMENTS - _JOINS:
            waiting.extend(reader.users)
        else:
            return False
    return True


def _name_of(node: fx.Node, given: fx.Node) -> str:
    """Name of a quantizer: of the activation in front of it, or of the module whose result it quantizes."""
    current = given
    while current.op == "call_function":
        name = operation_name(current.target)
        try:
            if activation_of(current, nn.Module()) is not None:
                return activation_name(current)
        except UnsupportedNetworkError:
            pass
        if (name not in _MONOTONE and name != "getitem") or not current.all_input_nodes:
            break
        current = current.all_input_nodes[0]
    own, of_class = module_path(node)
    if operation_name(node.target) == "quantize":
        return str(node.args[3] or own or node.name)
    path, _ = module_path(current)
    return f"{path}.{_identifier(node.name)}" if path else node.name


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)[:200]


def _safe_path(path: str) -> str:
    """A path of modules that can be written in Python: names of a file may be anything."""
    parts = [_identifier(part) for part in path.split(".")[:32] if part]
    return ".".join(parts) or "quantizer"
