"""Replace each activation of an exported program by a quantizer (Algorithm 1, lines 1 to 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

from torch import fx, nn
from torch.export import ExportedProgram

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format.program_modules import check_batch, module_of
from toolchain.importers.exported_program import module_path, operation_name
from toolchain.method.activations import activation_of
from toolchain.method.quantize_activations import quantize_activations, quantizer_for
from toolchain.method.quantizers import ActivationQuantizer, quantizers

_ACTIVATION_MODULES = {"ReLU", "ReLU6", "Hardtanh", "Threshold", "BrevitasActivation"}


def quantize_program(
    program: nn.Module | ExportedProgram, make_quantizer: Callable[[], ActivationQuantizer]
) -> nn.Module:
    """Copy a network with a quantizer in the place of each activation, to train and convert it.

    Each use of a ReLU, ReLU6, ``hardtanh(0, c)`` or ``clamp(0, c)`` gets a quantizer of its own, whose
    clipping level starts at the clip. It is named after the module that the activation was written as, such
    as ``layer1.0.relu``, or after the module that calls the function. Max pooling stays.

    Args:
        program: an exported program, or a module, which goes through ``quantize_activations``.
        make_quantizer: called once per activation.

    Returns:
        A module that takes batches of any size. Batch norms of an exported program keep their statistics in
        training.

    Raises:
        UnsupportedNetworkError: the network has an activation of another kind, or none; or ``module_of`` or
            ``check_batch`` refuses it.
    """
    if not isinstance(program, ExportedProgram):
        return quantize_activations(program, make_quantizer)
    module = module_of(program)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and (found := activation_of(node, module)) is not None:
            put_module(module, node, activation_name(node), quantizer_for(make_quantizer, found))
    if not quantizers(module):
        raise UnsupportedNetworkError(
            "the program has no activation (ReLU, or a clip from 0 to c), so that no population would "
            "spike; add ReLUs between its layers"
        )
    module.graph.eliminate_dead_code()
    module.recompile()
    check_batch(program, module)
    return module


def activation_name(node: fx.Node) -> str:
    """Path of the module that an activation was written as, or of its caller with the operation's name."""
    path, of_class = module_path(node)
    if path and of_class in _ACTIVATION_MODULES:
        return path
    name = operation_name(node.target).strip("_")
    return f"{path}.{name}" if path else name


def put_module(module: fx.GraphModule, node: fx.Node, name: str, child: nn.Module) -> str:
    """Replace the computation of a node by a module with one input; returns its name, which is new."""
    unique = next(free for free in numbered(name) if not is_taken(module, free))
    module.add_submodule(unique, child)  # makes the parents that are missing
    (given,) = node.all_input_nodes[:1]
    node.op, node.target, node.args, node.kwargs = "call_module", unique, (given,), {}
    return unique


def numbered(name: str) -> Iterator[str]:
    """The name, then the name with each number."""
    yield name
    yield from (f"{name}_{number}" for number in count(1))


def is_taken(module: nn.Module, path: str) -> bool:
    """Whether a path, or a part of it, is something else than a module without content."""
    current: object = module
    *parents, last = path.split(".")
    for step in parents:
        current = getattr(current, step, None)
        if current is None:
            return False
        if not isinstance(current, nn.Module):
            return True
    return hasattr(current, last)
