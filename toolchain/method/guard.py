"""Execute a user's network as the judge of what is made of it, and compare what it returns."""

from __future__ import annotations

import copy
import io
from contextlib import AbstractContextManager, nullcontext, redirect_stderr

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from toolchain.errors import QacDeployError, UnsupportedNetworkError
from toolchain.shown_values import first_line

TOLERANCE = 1e-9  # share of the range of the compared values
NUM_REPEATED = 2  # samples executed a second time, in another order and batch


def evaluation_copy(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU, in float64 and evaluation mode.

    Raises:
        UnsupportedNetworkError: it cannot be copied, or has weights without values.
    """
    copied = faithful_copy(module)
    try:
        return copied.eval().to("cpu", torch.float64)
    except Exception as error:  # a user's own classes
        raise UnsupportedNetworkError(
            f"{type(module).__name__} cannot be brought to the CPU, float64 and evaluation mode "
            f"({first_line(error)}); load its weights first"
        ) from error


def faithful_copy(module: nn.Module) -> nn.Module:
    """Copy a module with its hooks.

    Raises:
        UnsupportedNetworkError: it cannot be copied.
    """
    try:
        copied = copy.deepcopy(module)
    except Exception as error:  # a user's own classes
        raise UnsupportedNetworkError(
            f"{type(module).__name__} cannot be copied ({first_line(error)}); make pruning permanent with "
            f"prune.remove, and use torch.nn.utils.parametrizations in place of weight_norm"
        ) from error
    for ours, theirs in zip(copied.modules(), module.modules(), strict=True):
        if isinstance(theirs, fx.GraphModule):
            _restore_calls(ours, theirs)
    return copied


def _restore_calls(copied: nn.Module, module: fx.GraphModule) -> None:
    """Restore what copying loses of a traced module: its hooks, and a forward that was replaced."""
    for field in (
        "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
        "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    ):  # fmt: skip
        getattr(copied, field).update(getattr(module, field))
    if "forward" in vars(module):
        vars(copied)["forward"] = vars(module)["forward"]


def execute(judge: nn.Module, images: Tensor) -> Tensor:
    """Logits of a network; the caller's random state stays as it is.

    Several outputs come as one tensor of shape ``(B, values)``, one after the other.

    Raises:
        UnsupportedNetworkError: it fails on this input, or does not return tensors.
    """
    name = type(judge).__name__
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _quiet(judge):
            logits = judge(images.clone())
    except QacDeployError:
        raise
    except Exception as error:  # a user's own code
        raise UnsupportedNetworkError(
            f"{name} fails on an input of shape {tuple(images.shape)} in float64 and evaluation mode: "
            f"{first_line(error)}; check input_shape, store tensors as parameters or buffers, and leave out "
            f"casts such as x.float()"
        ) from error
    leaves = pytree.tree_leaves(logits)
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.ndim > 0 for leaf in leaves):
        raise UnsupportedNetworkError(
            f"{name} must return one tensor of logits, or several, not {type(logits).__name__}"
        )
    for leaf in leaves:
        if len(leaf) != len(images):
            raise UnsupportedNetworkError(
                f"{name} returns {len(leaf)} results for a batch of {len(images)}; keep the batch as the "
                f"first axis, and samples apart"
            )
    return (
        leaves[0]
        if len(leaves) == 1
        else torch.cat([leaf.reshape(len(leaf), -1) for leaf in leaves], dim=1)
    )


def _quiet(judge: nn.Module) -> AbstractContextManager[object]:
    """Keep back the traceback that a traced module prints before it raises."""
    return redirect_stderr(io.StringIO()) if isinstance(judge, fx.GraphModule) else nullcontext()


REMEDY = (
    "conversion cannot follow its forward; remove hooks, in-place operations and stored state from it, and "
    "compute everything with modules and functions that return new tensors"
)


def require_repeatable(judge: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Execute some samples again, in another order and batch, and require the same logits.

    Raises:
        UnsupportedNetworkError: they differ: the network depends on state, chance or other samples.
    """
    again = torch.arange(len(images) - 1, -1, -1)[:NUM_REPEATED]
    if (found := difference_of(logits[again], execute(judge, images[again]), 0.0)) is not None:
        raise UnsupportedNetworkError(
            f"{type(judge).__name__} gives other logits for the same sample in another batch: {found}; "
            f"remove what depends in evaluation mode on chance, on earlier calls or on other samples"
        )


def difference_of(expected: Tensor, found: Tensor, floor: float) -> str | None:
    """Text of the largest difference if it exceeds ``TOLERANCE`` of the range, else None.

    Args:
        floor: least range, for values that are all near zero.
    """
    if expected.numel() != found.numel():
        return f"shape {tuple(found.shape)} where {tuple(expected.shape)} was expected"
    found = found.reshape(expected.shape).to(torch.float64)
    scale = max(_magnitude(expected), _magnitude(found), floor)
    largest = _magnitude(expected - found)
    if largest <= TOLERANCE * scale:  # false for NaN
        return None
    return f"{largest:.3g} at most, in a range of {scale:.3g}"


def _magnitude(values: Tensor) -> float:
    low, high = torch.aminmax(values)
    return max(-float(low), float(high))
