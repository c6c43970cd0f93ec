"""Make each ReLU of a quantized program a part of the quantizers that read it, or that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import torch
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_format.known_values import KnownValues
from toolchain.importers.exported_format.program_values import (
    JOINS,
    MAX_POOLS,
    MONOTONE,
    ConstantValues,
    clip_of,
    keeps_values,
    quantization_at,
)
from toolchain.importers.exported_program import operation_name, place
from toolchain.importers.foreign.imported_quantizers import imported_quantizer
from toolchain.method.quantizers import ActivationQuantizer

_MAX_READERS = 1000
"""Most operations behind a quantizer that are looked at."""


def bound_behind(node: fx.Node, module: fx.GraphModule, constant: ConstantValues) -> float | None:
    """Upper bound of what reads a quantizer, if all of that clips it at 0; infinite for ReLUs.

    A signed quantizer then starts at 0 just as well. A later quantizer keeps 0 and the order of values, so it
    changes places with a ReLU behind it, and clips at 0 itself if its range starts there.

    Returns:
        None if something reads negative values, if nothing reads it, or if too much is behind it.
    """
    bound = None
    waiting, seen = list(node.users), {node}
    while waiting:
        reader = waiting.pop()
        if reader in seen or operation_name(reader.target) == "sym_size":
            continue
        seen.add(reader)
        if len(seen) > _MAX_READERS:
            return None
        if (clip := clip_of(reader, module)) is not None:
            bound = max(bound or 0.0, inf if clip.clip is None else clip.clip)
            continue
        what = quantization_at(reader, constant)
        if what is not None and what.role != "dequantize":
            grid = what.grid
            if not ((grid.low <= grid.zero_point) & (grid.zero_point <= grid.high)).all():
                return None
            bound = inf
            if (grid.zero_point == grid.low).all():
                continue
        elif what is None and operation_name(reader.target) not in MONOTONE:
            return None
        waiting.extend(reader.users)
    return bound


def remove_idle_clips(module: fx.GraphModule, known: KnownValues) -> None:
    """Remove each ReLU of values that a quantizer keeps between 0 and its bound already."""
    for node in list(module.graph.nodes):
        if clip_of(node, module) is not None and known.is_idle(node):
            (given,) = node.all_input_nodes[:1]
            node.replace_all_uses_with(given)
            module.graph.erase_node(node)


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
                f"{place(node)}: this activation, {node.name[:60]!r}, is {what} without a quantizer "
                f"between them; {_UNQUANTIZED}"
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


_UNQUANTIZED = (
    "quantize that edge as well: X86InductorQuantizer does so in front of nn.MaxPool2d, nn.AvgPool2d and "
    "nn.AdaptiveAvgPool2d where the activation is a module, such as self.relu = nn.ReLU(), and no function; "
    "with other quantizers, annotate the operation that reads it. Or leave out all quantizers for "
    "post-training conversion"
)


def _readers(module: fx.GraphModule, node: fx.Node) -> list[tuple[fx.Node, bool]]:
    """Operations that a value reaches through monotone ones, and whether others join it before.

    A join behind a max pool is one of them: the quantizer behind both cannot be moved in front of the pool.
    """
    found: dict[fx.Node, bool] = {}
    waiting = [(reader, False, False) for reader in node.users]
    while waiting:
        reader, joined, pooled = waiting.pop()
        name = operation_name(reader.target)
        if name == "sym_size":
            continue
        passes = name in MONOTONE or _divides_by_steps(reader) or clip_of(reader, module)
        if reader.op == "call_function" and passes and not (pooled and name in JOINS):
            joined = joined or name in JOINS or not keeps_values(reader)
            pooled = pooled or name in MAX_POOLS
            waiting.extend((n, joined, pooled) for n in reader.users)
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
