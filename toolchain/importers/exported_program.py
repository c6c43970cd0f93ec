"""PyTorch networks as functional graphs with all shapes known, and where each operation was written.

``torch.export`` executes the network's own Python on tensors without values. In-place operations, aliases,
keywords, sizes, hooks and branches are resolved by PyTorch; what depends on values is an error.
"""

from __future__ import annotations

import io
import logging
import operator
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.tensor_views import BATCH
from toolchain.method.quantize_operation import quantize
from toolchain.method.quantizers import ActivationQuantizer, quantizers
from toolchain.method.tracing import place_of_error, source_location
from toolchain.networks.linear_maps import Shape
from toolchain.shown_values import first_line


def exported(module: nn.Module, input_shape: Shape, known: Collection[str]) -> ExportedProgram:
    """Export a network in float64 and evaluation mode, with in-place operations made functional.

    Args:
        known: names of operations that PyTorch need not replace by simpler ones.

    Raises:
        UnsupportedNetworkError: its forward depends on values, or torch cannot export it.
    """
    images = torch.zeros(BATCH, *input_shape, dtype=torch.float64)
    try:
        with torch.no_grad(), silenced(), _quantizers_as_operations(module):
            program = torch.export.export(module, (images,), strict=False)
            program.graph.eliminate_dead_code()  # such as statistics that a hook logs
            return functional(program, known)
    except UnsupportedNetworkError:
        raise
    except Exception as error:  # a user's own code runs
        raise UnsupportedNetworkError(
            f"{place_of_error(error) or type(module).__name__}: torch.export cannot follow this forward: "
            f"{_reason(error)}; write it without branches on values and without code outside PyTorch"
        ) from error


def _reason(error: Exception) -> str:
    if type(error).__name__ == "GuardOnDataDependentSymNode":
        return "a branch, a loop or a size depends on the values of a tensor"
    return first_line(error)


@contextmanager
def silenced() -> Iterator[None]:
    """Keep back what torch's exporter prints: a failure becomes one error of ours.

    It is for code of torch alone, or for a network that was executed before, with its own warnings.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _quantizers_as_operations(module: nn.Module) -> Iterator[None]:
    """Make each quantizer one operation that knows its name, whatever its own class computes."""
    found = quantizers(module)
    own = {name: vars(quantizer).get("forward") for name, quantizer in found.items()}
    for name, quantizer in found.items():
        vars(quantizer)["forward"] = partial(_as_operation, quantizer, name)
    try:
        yield
    finally:
        for name, quantizer in found.items():
            vars(quantizer).pop("forward")
            if own[name] is not None:
                vars(quantizer)["forward"] = own[name]


def _as_operation(quantizer: ActivationQuantizer, name: str, x: Tensor) -> Tensor:
    return quantize(x, quantizer.threshold, quantizer.timesteps, name)


def runnable(program: ExportedProgram) -> nn.Module:
    """The network of an exported program, whose quantizers know their names."""
    module: Any = program.module(check_guards=False)
    names: set[str] = set()
    for node in module.graph.nodes:
        if node.target is torch.ops.qac_deploy.quantize.default:
            name = str(node.args[3] or module_path(node)[0] or node.name)
            while name in names:
                name += "_"
            names.add(name)
            node.args = (*node.args[:3], name)
    module.recompile()
    return cast(nn.Module, module)


def functional(program: ExportedProgram, known: Collection[str]) -> ExportedProgram:
    """Replace in-place operations, and those of other names as PyTorch defines them by simpler ones.

    Args:
        known: names of operations that stay whole, such as a convolution.
    """
    of_values, of_constants = _targets(program)
    if all(_stays(target, known) for target in of_values) and not any(map(_mutates, of_constants)):
        return program
    definitions = torch.export.default_decompositions().items()
    return program.run_decompositions(
        {
            target: simpler
            for target, simpler in definitions
            if operation_name(target) not in known
            and target not in of_constants  # which are computed as they are, rounding included
        }
    )


def _targets(program: ExportedProgram) -> tuple[set[object], set[object]]:
    """Operations on values that depend on the network's input, and operations on constants alone."""
    stored = constants(program)
    dependent = {n for n in program.graph.nodes if n.op == "placeholder" and stored[n.name] is None}
    of_values, of_constants = set(), set()
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if any(source in dependent for source in node.all_input_nodes):
            dependent.add(node)
            of_values.add(node.target)
        else:
            of_constants.add(node.target)
    return of_values, of_constants


def _mutates(target: object) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _stays(target: object, known: Collection[str]) -> bool:
    if _mutates(target):
        return False
    return target is operator.getitem or operation_name(target) in known


def operation_name(target: object) -> str:
    """Name of an operation without its namespace and overload, such as ``conv2d``."""
    if not isinstance(target, torch._ops.OpOverload):
        return getattr(target, "__name__", str(target))
    return target.name().split("::")[-1].split(".")[0]


def written_name(node: fx.Node) -> str:
    """Name of the operation that the user wrote, which PyTorch may have replaced by this one."""
    name, sources = operation_name(node.target), node.meta.get("from_node")
    while sources:
        if sources[-1].pass_name == "ExportedProgram.module()":  # before it was decomposed
            name = re.sub(r"_\d+$", "", sources[-1].name)  # names of nodes are numbered
        sources = sources[-1].from_node
    return name.strip("_")


def constants(program: ExportedProgram) -> dict[str, Tensor | None]:
    """Parameters, buffers and constants by the name of their placeholder; None for the user's inputs."""
    stored = {**program.state_dict, **program.constants}
    values: dict[str, Tensor | None] = {}
    for spec in program.graph_signature.input_specs:
        is_input = spec.kind == InputKind.USER_INPUT
        values[spec.arg.name] = None if is_input else stored.get(str(spec.target))
    return values


def check_stateless(program: ExportedProgram) -> None:
    """Refuse a network that changes its own buffers when it is called.

    Raises:
        UnsupportedNetworkError: naming the buffer.
    """
    for spec in program.graph_signature.output_specs:
        if spec.kind == OutputKind.BUFFER_MUTATION:
            raise UnsupportedNetworkError(
                f"the network changes its buffer '{spec.target}' in evaluation mode, so later samples give "
                f"other results; remove it from forward"
            )


def outputs(program: ExportedProgram) -> list[tuple[str, fx.Node]]:
    """What the network returns: (path in the returned structure, node), '' for a single tensor."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    nodes = [
        node
        for spec, node in zip(program.graph_signature.output_specs, output.args[0], strict=True)
        if spec.kind == OutputKind.USER_OUTPUT
    ]
    structure = torch.utils._pytree.tree_unflatten(nodes, program.call_spec.out_spec)
    paths, _ = torch.utils._pytree.tree_flatten_with_path(structure)
    named = []
    for path, node in paths:
        steps = [str(getattr(step, "key", getattr(step, "idx", step))) for step in path]
        named.append((".".join(steps), node))
    return named


def module_path(node: fx.Node) -> tuple[str, str]:
    """Path and class name of the innermost module that an operation belongs to; both may be empty."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "", ""
    path, of_class = stack[-1][:2]
    return path, str(of_class).rsplit(".", 1)[-1]


def place(node: fx.Node) -> str:
    """Where an operation was written: module, file and line of the user's source, as far as known."""
    path, _ = module_path(node)
    where = source_location(node.meta.get("stack_trace"))
    return f"{path} ({where})" if path and where else path or where or node.name
