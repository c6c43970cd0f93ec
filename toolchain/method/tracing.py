"""Trace a user's network with ``torch.fx`` to a graph of its modules and operations."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import fx, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

import toolchain
from toolchain.errors import UnsupportedNetworkError
from toolchain.method.quantizers import ActivationQuantizer

_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+)', re.MULTILINE)
_NOT_THE_USERS = tuple(f"{Path(package.__path__[0])}/" for package in (torch, toolchain))
_WRAPPERS = {
    "DataParallel": "pass its .module",
    "DistributedDataParallel": "pass its .module",
    "FullyShardedDataParallel": "pass the network that it wraps, with whole parameters",
    "OptimizedModule": "pass the network that was given to torch.compile, its ._orig_mod",
}


class _Tracer(fx.Tracer):
    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ActivationQuantizer) or super().is_leaf_module(
            m, module_qualified_name
        )


def trace(module: nn.Module) -> fx.Graph:
    """Trace a network; PyTorch's own modules and quantizers become one node each.

    Raises:
        UnsupportedNetworkError: it is wrapped or scripted, its forward branches on values, or does not take
            exactly one tensor.
    """
    require_plain_module(module)
    try:
        return _Tracer().trace(module)
    except Exception as error:  # a user's own code runs
        place = source_location("".join(_frames_of(error)))
        raise UnsupportedNetworkError(
            f"{type(module).__name__} cannot be traced{f' at {place}' if place else ''}: {error}; write its "
            f"forward without branches on values and assignments to parts of a tensor, or with quantizers in "
            f"place of its activations"
        ) from error


def _frames_of(error: Exception) -> list[str]:
    frames, frame = [], error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        frames.append(f'  File "{code.co_filename}", line {frame.tb_lineno}, in {code.co_name}\n')
        frame = frame.tb_next
    return frames


def require_plain_module(module: nn.Module) -> None:
    """Require a network whose forward is the user's own Python, with plain parameters.

    Raises:
        UnsupportedNetworkError: it, or a part of it, is wrapped for several devices, compiled, scripted, or
            has weights that a hook recomputes; names the part and what to pass instead.
    """
    if not isinstance(module, nn.Module):
        raise UnsupportedNetworkError(
            f"the network must be a torch.nn.Module, not {type(module).__name__}; build the module, and load "
            f"a state_dict into it"
        )
    for path, part in module.named_modules():
        kind = type(part).__name__
        where = f"{path}: " if path else ""
        if kind in _WRAPPERS and type(part).__module__.startswith("torch."):
            raise UnsupportedNetworkError(
                f"{where}the network is wrapped in {kind}; {_WRAPPERS[kind]}"
            )
        if isinstance(part, torch.jit.ScriptModule):
            raise UnsupportedNetworkError(
                f"{where}the network is a scripted module (torch.jit), whose Python is gone; pass the module "
                f"that it was made from"
            )
        for hook in part._forward_pre_hooks.values():
            if (remedy := _recomputed(hook)) is not None:
                raise UnsupportedNetworkError(f"{path or kind}: {remedy}")


def _recomputed(hook: object) -> str | None:
    """What to do about a hook that computes a weight before each call; None for other hooks."""
    if isinstance(hook, BasePruningMethod):
        name = hook._tensor_name
        return (
            f"'{name}' is pruned by a hook; make it permanent with prune.remove(module, '{name}')"
        )
    if isinstance(hook, WeightNorm | SpectralNorm):
        kind = type(hook).__name__
        return f"{kind} computes '{hook.name}' in a hook; use the function of torch.nn.utils.parametrizations"
    return None


def described(node: fx.Node) -> str:
    """A node for messages: the name of its module or operation, and its place in the user's source."""
    name = str(node.target) if node.op == "call_module" else node.name
    place = source_location(node.stack_trace)
    return f"{name} ({place})" if place else name


def source_location(stack_trace: str | None) -> str | None:
    """File and line of the innermost frame that is the user's own.

    Args:
        stack_trace: frames in the form of Python's tracebacks, innermost last, as ``torch.fx`` and
            ``torch.export`` record them for each node.

    Returns:
        ``file.py:12``, relative to the working directory if it is below it; None if no frame is the user's,
        as for a layer of an ``nn.Sequential``.
    """
    places = [(m["file"], m["line"]) for m in _FRAME.finditer(stack_trace or "")]
    own = [p for p in places if not p[0].startswith((*_NOT_THE_USERS, "<eval_with_key>"))]
    if not own:
        return None
    file, line = own[-1]
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}"
