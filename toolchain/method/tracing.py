"""Trace a user's network with ``torch.fx`` to a graph of its modules and operations."""

from __future__ import annotations

from torch import fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.quantizers import ActivationQuantizer


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ActivationQuantizer) or super().is_leaf_module(
            m, module_qualified_name
        )


def trace(module: nn.Module) -> fx.Graph:
    """Trace a network; PyTorch's own modules and quantizers become one node each.

    Raises:
        UnsupportedNetworkError: its forward branches on values, or does not take exactly one tensor.
    """
    try:
        return _Tracer().trace(module)
    except Exception as error:  # a user's own code runs
        raise UnsupportedNetworkError(
            f"{type(module).__name__} cannot be traced: {error}; write its forward without branches on values"
        ) from error
