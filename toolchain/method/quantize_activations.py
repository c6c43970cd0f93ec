"""Replace each ReLU by a quantizer and each max pooling by average pooling (Algorithm 1, lines 1 to 8)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from itertools import zip_longest
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.guard import faithful_copy
from toolchain.method.original_comparison import OriginalComparison
from toolchain.method.quantizers import ActivationQuantizer, quantizers
from toolchain.method.tracing import trace

_RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
_MAX_POOLS = (F.max_pool2d, torch.max_pool2d)
_DROPOUTS: dict[object, Callable[[float], nn.Module]] = {
    F.dropout: nn.Dropout, F.dropout2d: nn.Dropout2d,
}  # fmt: skip
_OTHER_ACTIVATIONS = (
    nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish,
    nn.Hardtanh, nn.Softplus, nn.Mish,
)  # fmt: skip


def quantize_activations(
    module: nn.Module, make_quantizer: Callable[[], ActivationQuantizer]
) -> nn.Module:
    """Copy a network with quantizers for its activations and average pooling for its max pooling.

    Both modules and functions (``F.relu``) are replaced, and each *use* of a shared ReLU gets a quantizer of
    its own. The weights are copied under the same names. The first call of the new network compares it with
    ``module``, with ReLU and max pooling still in place: if they compute something else in evaluation mode,
    that call raises UnsupportedNetworkError.

    Args:
        module: any traceable network; quantizers in it are kept.
        make_quantizer: called once per activation.

    Raises:
        UnsupportedNetworkError: it cannot be traced, depends on ``self.training`` other than by dropout
            and batch norm, or has an activation other than ReLU.
    """
    return _rewritten(module, make_quantizer)


def average_pooled(module: nn.Module) -> nn.Module:
    """Copy a network with average pooling for its max pooling: the float ANN of a quantized network."""
    return _rewritten(module, None)


def _rewritten(
    module: nn.Module, make_quantizer: Callable[[], ActivationQuantizer] | None
) -> nn.Module:
    evaluated = faithful_copy(module).eval()
    graph = trace(evaluated)
    dropping = _same_in_training(module, graph)
    result = copy.deepcopy(fx.GraphModule(evaluated, graph, type(module).__name__))
    replaced: dict[str, nn.Module] = {}
    for node in list(result.graph.nodes):
        child = evaluated.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(child, _OTHER_ACTIVATIONS):
            raise UnsupportedNetworkError(
                f"{node.target}: {type(child).__name__} has no integrate-and-fire form; replace it by ReLU "
                f"and train again"
            )
        if make_quantizer and (isinstance(child, nn.ReLU) or _calls(node, _RELUS)):
            replaced[_replace(result, node, make_quantizer(), replaced)] = nn.ReLU()
        elif isinstance(child, nn.MaxPool2d) or _calls(node, _MAX_POOLS):
            name, pool = str(node.target), child
            if not isinstance(pool, nn.MaxPool2d):
                name, pool = node.name, nn.MaxPool2d(*node.args[1:], **node.kwargs)
            replaced[_replace(result, node, _average_pool(name, pool), replaced)] = pool
        elif node.name in dropping:
            dropout = dropping[node.name]
            replaced[_replace(result, node, dropout, replaced)] = dropout
    result.delete_all_unused_submodules()
    result.recompile()
    for name, child in result.named_modules():
        child.training = module.training if name in replaced else _mode(module, name)
    transparent = copy.deepcopy(result)
    for name, operation in replaced.items():
        transparent.add_submodule(name, copy.deepcopy(operation))
    result.register_forward_pre_hook(OriginalComparison(faithful_copy(module), transparent))
    return result


def _mode(module: nn.Module, name: str) -> bool:
    """Whether a part of the network is in training mode; the network's own mode for new parts."""
    try:
        return module.get_submodule(name).training
    except AttributeError:
        return module.training


def _same_in_training(module: nn.Module, evaluated: fx.Graph) -> dict[str, nn.Module]:
    """Dropout modules for the functional dropouts that are active in training only, by node.

    Raises:
        UnsupportedNetworkError: anything else depends on the mode; names the first such operation.
    """
    dropouts: dict[str, nn.Module] = {}
    training = trace(faithful_copy(module).train())
    for ours, theirs in zip_longest(evaluated.nodes, training.nodes):
        pair = [None if n is None else _described(n) for n in (ours, theirs)]
        if pair[0] != pair[1]:
            raise UnsupportedNetworkError(
                f"{type(module).__name__} computes something else in training than in evaluation, from "
                f"'{(ours or theirs).name}' on; remove the branch on self.training from its forward "
                f"(nn.Dropout and batch norm are allowed)"
            )
        if _calls(ours, tuple(_DROPOUTS)):
            (p, drops), (_, drops_in_training) = _dropout_settings(ours), _dropout_settings(theirs)
            if drops_in_training and not drops:
                dropouts[ours.name] = _DROPOUTS[ours.target](p)
    return dropouts


def _described(node: fx.Node) -> tuple[object, ...]:
    if _calls(node, tuple(_DROPOUTS)):
        return node.op, node.target, str(node.args[:1]), _dropout_settings(node)[0]
    return node.op, node.target, str(node.args), str(node.kwargs)


def _dropout_settings(node: fx.Node) -> tuple[Any, Any]:
    """Arguments ``p`` and ``training`` of ``dropout(input, p=0.5, training=True, inplace=False)``."""
    settings = dict(zip(("p", "training", "inplace"), node.args[1:], strict=False)) | node.kwargs
    return settings.get("p", 0.5), settings.get("training", True)


@torch.no_grad()
def balance_thresholds(module: nn.Module, images: Tensor, quantile: float = 0.999) -> None:
    """Set each clipping level to a quantile of its layer's positive inputs, in one forward pass.

    With ``quantile=1`` this is data-based threshold balancing (Diehl et al., 2015); a lower quantile is
    robust to outliers (Rueckauer et al., 2017). Each layer reads unquantized activations.

    Args:
        images: float ``(B, C, H, W)``, as the network takes them.
    """
    hook = _balance(quantile)
    handles = [q.register_forward_hook(hook) for q in quantizers(module).values()]
    training = module.training
    module.eval()(images)
    module.train(training)
    for handle in handles:
        handle.remove()


def _balance(
    quantile: float,
) -> Callable[[ActivationQuantizer, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(quantizer: ActivationQuantizer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        positive = inputs[0][inputs[0] > 0]
        if len(positive):
            rank = max(1, round(quantile * len(positive)))
            quantizer.set_threshold(float(positive.kthvalue(rank).values))
            quantizer.clamp_parameters()
        return torch.relu(inputs[0])

    return hook


def _calls(node: fx.Node, targets: tuple[object, ...]) -> bool:
    """Whether a node is a call of one of these functions or methods."""
    return node.op in ("call_function", "call_method") and node.target in targets


def _replace(
    graph_module: fx.GraphModule, node: fx.Node, module: nn.Module, used: Collection[str]
) -> str:
    """Replace the computation of a node by a module; return the module's name, which no other has."""
    name = unique = str(node.target if node.op == "call_module" else node.name)
    repeat = 1
    while unique in used or (unique != node.target and _has(graph_module, unique)):
        unique, repeat = f"{name}_{repeat}", repeat + 1
    graph_module.add_submodule(unique, module)
    node.op, node.target, node.args, node.kwargs = "call_module", unique, node.args[:1], {}
    return unique


def _has(module: nn.Module, path: str) -> bool:
    """Whether the network has an attribute at this path, which must not be overwritten."""
    try:
        attrgetter(path)(module)
    except AttributeError:
        return False
    return True


def _average_pool(name: str, pool: nn.MaxPool2d) -> nn.AvgPool2d:
    if pool.ceil_mode or pool.dilation not in (1, (1, 1)) or pool.return_indices:
        raise UnsupportedNetworkError(
            f"{name}: max pooling with ceil_mode, dilation or indices cannot become average pooling; "
            f"switch these off and use padding, or use nn.AvgPool2d"
        )
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding)
