"""Make each ReLU of a quantized program a part of the quantizers that read it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_program import operation_name, place
from toolchain.importers.imported_quantizers import imported_quantizer
from toolchain.importers.program_values import JOINS, MONOTONE, clip_of
from toolchain.method.quantizers import ActivationQuantizer


def absorb_clips(module: fx.GraphModule, steps_by_quantizer: Mapping[str, Tensor | None]) -> None:
    """Remove each ReLU, with or without an upper clip, whose readers are all quantizers.

    A quantizer clips at 0 itself, and changes places with what only moves values or takes their maximum. Its
    clipping level is lowered to an upper clip that is below it.

    Args:
        steps_by_quantizer: steps per channel of what the quantizer reads, where it is divided by these.

    Raises:
        UnsupportedNetworkError: naming a ReLU that something else reads.
    """
    for node in list(module.graph.nodes):
        if clip_of(node, module) is not None:
            _absorb(module, node, steps_by_quantizer)


def _absorb(
    module: fx.GraphModule, node: fx.Node, steps_by_quantizer: Mapping[str, Tensor | None]
) -> None:
    activation = clip_of(node, module)
    assert activation is not None
    for reader, joined in _readers(module, node):
        name = str(reader.target)
        quantizer = module.get_submodule(name) if reader.op == "call_module" else None
        if not isinstance(quantizer, ActivationQuantizer):
            by = f"read by '{operation_name(reader.target)}' ({place(reader)})"
            what = "returned by the network" if reader.op == "output" else by
            raise UnsupportedNetworkError(
                f"{place(node)}: this activation is {what} without a quantizer between them; quantize that "
                f"edge as well (annotate the operation that reads it), or leave out all quantizers for "
                f"post-training conversion"
            )
        if activation.clip is not None:
            step, levels = (float(v.detach()) for v in quantizer.step_and_levels())
            steps = steps_by_quantizer[name]
            limits = {
                round(activation.clip / float(s))  # half to even, as PyTorch rounds
                for s in (torch.tensor([step]) if steps is None else steps)
            }
            if min(limits) >= levels:
                continue
            if joined or len(limits) > 1 or min(limits) < 1:
                raise UnsupportedNetworkError(
                    f"{place(node)}: this activation is clipped at {activation.clip:g}, below the largest "
                    f"value of its quantizer '{name}' ({step * levels:.4g}), for a part of what the "
                    f"quantizer reads; use the same clip for all of it"
                )
            parent, _, last = name.rpartition(".")
            lower = imported_quantizer(step, limits.pop())
            module.get_submodule(parent).register_module(last, lower)
    (given,) = node.all_input_nodes[:1]
    node.replace_all_uses_with(given)
    module.graph.erase_node(node)


def _readers(module: fx.GraphModule, node: fx.Node) -> list[tuple[fx.Node, bool]]:
    """Operations that a value reaches through monotone ones, and whether others join it before."""
    found: dict[fx.Node, bool] = {}
    waiting = [(reader, False) for reader in node.users]
    while waiting:
        reader, joined = waiting.pop()
        name = operation_name(reader.target)
        if name == "sym_size":
            continue
        passes = name in MONOTONE or _divides_by_steps(reader) or clip_of(reader, module)
        if reader.op == "call_function" and passes:
            waiting.extend((n, joined or name in JOINS) for n in reader.users)
        else:
            found[reader] = found.get(reader, False) or joined
    return list(found.items())


def _divides_by_steps(node: fx.Node) -> bool:
    """Whether a node is the division by positive steps in front of a quantizer."""
    readers = list(node.users)
    return (
        operation_name(node.target) == "div"
        and len(readers) == 1
        and readers[0].op == "call_module"
        and STEPS in str(node.args[1])
    )


STEPS = "steps_of_"
"""Prefix of the buffers that hold the steps of a quantizer with one per channel."""
