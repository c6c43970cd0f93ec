"""Replace each ReLU, clipped or not, by a quantizer (Algorithm 1, lines 1 to 8), and treat max pooling."""

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
from toolchain.method.activations import Activation, activation_of, is_in_place
from toolchain.method.guard import faithful_copy
from toolchain.method.max_pooling import (
    MAX_POOLS,
    MaxPool,
    average_pool,
    max_pool_of,
    pools_before,
)
from toolchain.method.original_comparison import OriginalComparison
from toolchain.method.quantizers import ActivationQuantizer, quantizers
from toolchain.method.tracing import described, require_plain_module, trace

_DROPOUTS: dict[object, Callable[[float], nn.Module]] = {
    F.dropout: nn.Dropout, F.dropout1d: nn.Dropout1d, F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d, F.alpha_dropout: nn.AlphaDropout, torch.dropout: nn.Dropout,
}  # fmt: skip


def quantize_activations(
    module: nn.Module,
    make_quantizer: Callable[[], ActivationQuantizer],
    *,
    max_pool: MaxPool = "exact",
) -> nn.Module:
    """Copy a network with quantizers for its activations.

    Both modules and functions are replaced, and each *use* of a shared ReLU gets a quantizer of its own. The
    clipping level of a ReLU6, ``Hardtanh(0, c)`` or ``clamp(0, c)`` starts at its clip. The weights are
    copied under the same names. The first call of the new network compares it with ``module``, with its own
    activations and max pooling in place: if they compute something else in evaluation mode, that call raises
    UnsupportedNetworkError.

    Args:
        module: any traceable network; quantizers in it are kept.
        make_quantizer: called once per activation.
        max_pool: ``exact`` keeps max pooling, behind the quantizer if it was in front of its activation.
            ``average`` replaces it by average pooling (Algorithm 1), which computes something else but needs
            no additional neurons.

    Raises:
        UnsupportedNetworkError: it cannot be traced, depends on ``self.training`` other than by dropout
            and batch norm, has an activation other than a ReLU with or without a clip, or has none.
        ValueError: ``max_pool`` is neither.
    """
    if max_pool not in MAX_POOLS:
        raise ValueError(f"max_pool must be one of {', '.join(MAX_POOLS)}, not {max_pool!r}")
    result = _rewritten(module, make_quantizer, max_pool)
    if not quantizers(result):
        raise UnsupportedNetworkError(
            f"{type(module).__name__} has no activation (ReLU, or a clip from 0 to c), so that no population "
            f"would spike; add ReLUs between its layers"
        )
    return result


def average_pooled(module: nn.Module) -> nn.Module:
    """Copy a network with average pooling for its max pooling: the float ANN of a quantized network."""
    return _rewritten(module, None, "average")


def _rewritten(
    module: nn.Module, make_quantizer: Callable[[], ActivationQuantizer] | None, max_pool: MaxPool
) -> nn.Module:
    require_plain_module(module)
    evaluated = faithful_copy(module).eval()
    graph = trace(evaluated)
    for node in graph.nodes:
        activation_of(node, evaluated)  # an activation without spiking form is named first
    dropping = _same_in_training(module, graph)
    result = copy.deepcopy(fx.GraphModule(evaluated, graph))
    type(result).__name__ = type(module).__name__  # each traced module has a class of its own
    replaced: dict[str, nn.Module] = {}
    moved: set[str] = set()
    for node in list(result.graph.nodes):
        if (activation := activation_of(node, evaluated)) is not None:
            if make_quantizer is None:
                continue
            if is_in_place(node, result):
                _pass_on(node)
            path = pools_before(node, result) if max_pool == "exact" else []
            name = _replace(result, node, quantizer_for(make_quantizer, activation), replaced)
            replaced[name] = activation.module()
            if path:
                moved |= {name, *(str(n.target) for n in path if n.op == "call_module")}
                _move_before(node, path)
        elif (pool := max_pool_of(node, evaluated)) is not None:
            if max_pool == "average":
                replaced[_replace(result, node, average_pool(node, pool), replaced)] = pool
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
    comparison = OriginalComparison(faithful_copy(module), transparent, moved)
    result.register_forward_pre_hook(comparison)
    return result


def quantizer_for(
    make_quantizer: Callable[[], ActivationQuantizer], activation: Activation
) -> ActivationQuantizer:
    """A quantizer for an activation; it clips first where the activation does."""
    quantizer = make_quantizer()
    if activation.clip is not None:
        quantizer.clip = activation.clip
        quantizer.set_threshold(activation.clip)
    return quantizer


def _pass_on(node: fx.Node) -> None:
    """Let everything after an operation that works in place read its result, as it does in the user's own."""
    (source,) = node.all_input_nodes[:1]
    source.replace_all_uses_with(node, delete_user_cb=lambda reader: reader > node)


def _move_before(node: fx.Node, path: list[fx.Node]) -> None:
    """Move an operation in front of the path of operations that ends at it."""
    first, last = path[0], path[-1]
    (source,) = first.all_input_nodes[:1]
    node.replace_all_uses_with(last)
    first.prepend(node)
    node.args = (source,)
    first.replace_input_with(source, node)


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
                f"'{described(ours or theirs)}' on; remove the branch on self.training from its forward "
                f"(nn.Dropout and batch norm are allowed)"
            )
        if _calls(ours, tuple(_DROPOUTS)):
            (p, drops), (_, drops_in_training) = _dropout_settings(ours), _dropout_settings(theirs)
            if drops:
                raise UnsupportedNetworkError(
                    f"{described(ours)}: this dropout is active in evaluation mode as well; pass "
                    f"training=self.training, or use nn.Dropout"
                )
            if drops_in_training:
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
    robust to outliers (Rueckauer et al., 2017). Each layer reads unquantized activations. The clip of a
    ReLU6 or ``clamp(0, c)`` that a quantizer replaced bounds its clipping level.

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
            level = float(positive.kthvalue(rank).values)
            quantizer.set_threshold(level if quantizer.clip is None else min(level, quantizer.clip))
            quantizer.clamp_parameters()
        return inputs[0].clamp(0, quantizer.clip)

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
    (given,) = node.all_input_nodes[:1]
    node.op, node.target, node.args, node.kwargs = "call_module", unique, (given,), {}
    return unique


def _has(module: nn.Module, path: str) -> bool:
    """Whether the network has an attribute at this path, which must not be overwritten."""
    try:
        attrgetter(path)(module)
    except AttributeError:
        return False
    return True
