"""Max pooling in front of a quantizer: keep it, or replace it by average pooling.

A quantizer is monotone, so ``Q(max(a, b)) = max(Q(a), Q(b))``: max pooling in front of an activation changes
places with it, and then pools the spike counts of one population.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.activations import operation
from toolchain.method.quantizers import ActivationQuantizer
from toolchain.method.tracing import described

MaxPool = Literal["exact", "average"]
MAX_POOLS: tuple[MaxPool, ...] = ("exact", "average")

_POOLS: dict[str, type[nn.Module]] = {
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "adaptive_max_pool1d": nn.AdaptiveMaxPool1d,
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
}
_ORDER = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_ADAPTIVE_ORDER = ("output_size", "return_indices")
_WITH_INDICES = {f"{name}_with_indices" for name in _POOLS}
_AVERAGES: dict[str, type[nn.Module]] = {
    "MaxPool1d": nn.AvgPool1d,
    "MaxPool2d": nn.AvgPool2d,
    "AdaptiveMaxPool1d": nn.AdaptiveAvgPool1d,
    "AdaptiveMaxPool2d": nn.AdaptiveAvgPool2d,
}
_MAXIMA = {"amax"}  # of whole axes, always exact
_REARRANGEMENTS = {
    "Identity", "Flatten", "Unflatten", "Dropout", "Dropout1d", "Dropout2d", "dropout", "dropout1d",
    "dropout2d", "flatten", "reshape", "view", "contiguous", "clone", "squeeze", "unsqueeze", "permute",
    "transpose",
}  # fmt: skip
_READ_SHAPES_ALONE = {"size", "dim", "ndimension", "numel", "nelement"}


def max_pool_of(node: fx.Node, network: nn.Module) -> nn.Module | None:
    """The max pooling of a node as a module; None if it is something else.

    Raises:
        UnsupportedNetworkError: it returns indices.
    """
    name = operation(node, network)
    if (child := _child(node, network)) is not None:
        pool: Any = child if isinstance(child, tuple(_POOLS.values())) else None
    elif name in _WITH_INDICES:
        raise UnsupportedNetworkError(f"{described(node)}: {_INDICES}")
    else:
        pool = _POOLS[name](**_settings(node)) if name in _POOLS else None
    if pool is not None and pool.return_indices:
        raise UnsupportedNetworkError(f"{described(node)}: {_INDICES}")
    return pool


_INDICES = "max pooling with indices has no spiking form; use return_indices=False"


def _settings(node: fx.Node) -> dict[str, Any]:
    """Settings of a pooling function by name, given by position or keyword."""
    positional = node.args if "input" in node.kwargs else node.args[1:]
    order = _ADAPTIVE_ORDER if "adaptive" in str(getattr(node.target, "__name__", "")) else _ORDER
    by_name = {name: value for name, value in node.kwargs.items() if name != "input"}
    return {**dict(zip(order, positional, strict=False)), **by_name}


def average_pool(node: fx.Node, pool: nn.Module) -> nn.Module:
    """Average pooling over the windows of max pooling (Algorithm 1).

    Raises:
        UnsupportedNetworkError: its windows have gaps, or a size that is computed in the forward.
    """
    if len(node.all_input_nodes) > 1:
        raise UnsupportedNetworkError(
            f"{described(node)}: the window of this max pooling is computed from a shape; use "
            f"nn.AdaptiveMaxPool2d(1) for the whole map, or numbers"
        )
    average: Any = _AVERAGES[type(pool).__name__]
    if isinstance(pool, nn.AdaptiveMaxPool1d | nn.AdaptiveMaxPool2d):
        return average(pool.output_size)
    assert isinstance(pool, nn.MaxPool1d | nn.MaxPool2d)
    if any(d != 1 for d in _sizes(pool.dilation)):
        raise UnsupportedNetworkError(
            f"{described(node)}: max pooling with dilation cannot become average pooling; keep it "
            f"(max_pool='exact'), or use nn.AvgPool2d"
        )
    return average(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def _sizes(setting: int | tuple[int, ...]) -> tuple[int, ...]:
    return (setting,) if isinstance(setting, int) else tuple(setting)


def pools_before(node: fx.Node, network: nn.Module) -> list[fx.Node]:
    """Operations in front of an activation that it can change places with, from the first max pooling on.

    Besides max pooling these are operations that move values or drop them out. Nothing else may read what
    they give. The list is empty if there is no max pooling among them, or if it pools what a quantizer gives,
    which are spike counts where they are.
    """
    path: list[fx.Node] = []
    length = 0
    (current,) = node.all_input_nodes[:1] or (node,)
    while _read_once(current) and (
        (pools := _takes_maxima(current, network)) or operation(current, network) in _REARRANGEMENTS
    ):
        path.insert(0, current)
        length = len(path) if pools else length
        (current,) = current.all_input_nodes[:1]
    if isinstance(_child(current, network), ActivationQuantizer):
        return []
    return path[len(path) - length :]


def _child(node: fx.Node, network: nn.Module) -> nn.Module | None:
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _takes_maxima(node: fx.Node, network: nn.Module) -> bool:
    return operation(node, network) in _MAXIMA or max_pool_of(node, network) is not None


def _read_once(node: fx.Node) -> bool:
    """Whether one operation reads the values of a node; others may read its shape."""
    readers = [reader for reader in node.users if not _reads_shape(reader)]
    return len(readers) == 1


def _reads_shape(node: fx.Node) -> bool:
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("shape", "ndim", "device", "dtype")
    return node.op == "call_method" and node.target in _READ_SHAPES_ALONE
