"""Trace a user's network with ``torch.fx`` to a graph of its modules and operations."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

import toolchain
from toolchain.errors import UnsupportedNetworkError
from toolchain.method.quantizers import ActivationQuantizer
from toolchain.shown_values import shown_text

_FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+)', re.MULTILINE)
_NOT_THE_USERS = tuple(f"{Path(package.__path__[0])}/" for package in (torch, toolchain))
_WRAPPERS = {
    "DataParallel": "pass its .module",
    "DistributedDataParallel": "pass its .module",
    "FullyShardedDataParallel": "pass the network that it wraps, with whole parameters",
    "OptimizedModule": "pass the network that was given to torch.compile, its ._orig_mod",
}


class _Tracer(fx.Tracer):
    """A tracer that records the user's frames of each node.

    ``record_stack_traces`` does the same, but imports PyTorch's compiler, which takes seconds. Buffers stay
    buffers, as parameters do; what is computed from them is no constant of the type that they have now.
    """

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ActivationQuantizer) or super().is_leaf_module(
            m, module_qualified_name
        )

    def create_args_for_root(self, *args: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
        """One input; other arguments of the forward take their defaults, as in a call without them."""
        function, given = super().create_args_for_root(*args, **kwargs)
        for index, value in enumerate(given[2:], start=2):
            if isinstance(value, fx.Proxy) and value.node.args:
                (given[index],) = value.node.args
                self.graph.erase_node(value.node)
        return function, given

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.stack_trace = _users_frames_in_trace()
        return node


def _users_frames_in_trace() -> str:
    """The user's frames between ``trace`` and here, innermost last, as in Python's tracebacks."""
    frames: list[str] = []
    for frame, line in traceback.walk_stack(None):
        if frame.f_code is trace.__code__:
            break
        if _is_users(frame.f_code.co_filename):
            frames.insert(0, _frame_line(frame.f_code, line))
    return "".join(frames)


def _frame_line(code: CodeType, line: int) -> str:
    return f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'


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
        place = place_of_error(error)
        raise UnsupportedNetworkError(
            f"{type(module).__name__} cannot be traced{f' at {place}' if place else ''}: "
            f"{_first_sentence(error)}; write its forward without branches, loops and asserts on values or "
            f"sizes and assignments to parts of a tensor, or with quantizers in place of its activations"
        ) from error


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__


def _frames_of(error: BaseException) -> list[str]:
    frames = traceback.walk_tb(error.__traceback__)
    return [_frame_line(frame.f_code, line) for frame, line in frames]


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
        if not path.isprintable():
            raise UnsupportedNetworkError(
                f"name of module {path!r:.100} must be printable characters; rename it"
            )
        if kind in _WRAPPERS and type(part).__module__.startswith("torch."):
            raise UnsupportedNetworkError(
                f"{where}the network is wrapped in {kind}; {_WRAPPERS[kind]}"
            )
        if isinstance(part, torch.jit.ScriptModule):
            raise UnsupportedNetworkError(
                f"{where}the network is a scripted module (torch.jit), whose Python is gone; pass the module "
                f"that it was made from"
            )
        if any(nn.parameter.is_lazy(tensor) for tensor in vars(part)["_parameters"].values()):
            raise UnsupportedNetworkError(
                f"{path or kind}: {kind} has no weights yet; call the network once on an input"
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


def _is_users(file: str) -> bool:
    return not file.startswith((*_NOT_THE_USERS, "<eval_with_key>"))


def source_location(stack_trace: str | None) -> str | None:
    """File and line of the innermost frame that is the user's own.

    Args:
        stack_trace: frames in the form of Python's tracebacks, innermost last, as ``torch.fx`` and
            ``torch.export`` record them for each node.

    Returns:
        ``file.py:12``, relative to the working directory or to the installed packages if it is below one;
        None if no frame is the user's, as for a layer of an ``nn.Sequential``.
    """
    places = [(m["file"], m["line"]) for m in _FRAME.finditer(stack_trace or "")]
    own = [place for place in places if _is_users(place[0])]
    if not own:
        return None
    file, line = own[-1]
    path = Path(file)
    if "site-packages" in path.parts:
        path = Path(*path.parts[path.parts.index("site-packages") + 1 :])
    elif path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{line}"


def place_of_error(error: BaseException) -> str | None:
    """``source_location`` of where an error was raised."""
    return source_location("".join(_frames_of(error)))


def reason_of(error: BaseException) -> str:
    """What went wrong in one line; torch puts its own reason at the end of a long text."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_NOT_TELLING)]
    if not telling:
        return type(error).__name__
    text = telling[0] if isinstance(error, ValueError) else telling[-1]
    return shown_text(text, 300)


_NOT_TELLING = ("Use tlparse", "While executing", "GraphModule:", "Original traceback", "File ")
