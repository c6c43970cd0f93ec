"""Algorithm 1, lines 1 to 8: a quantizer for each ReLU, average pooling for each max pooling."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.quantizers import ActivationQuantizer, quantizers
from toolchain.tracing import trace

_RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")
_MAX_POOLS = (F.max_pool2d, torch.max_pool2d)
_OTHER_ACTIVATIONS = (
    nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish,
    nn.Hardtanh, nn.Softplus, nn.Mish,
)  # fmt: skip


def quantize_activations(
    module: nn.Module, make_quantizer: Callable[[], ActivationQuantizer]
) -> nn.Module:
    """A network with the same weights whose activations are quantizers and whose pools average.

    Works on modules and on functions (``F.relu``), and gives each *use* of a shared ReLU a quantizer of
    its own. The new network has its own copies of the weights, under the same names.

    Args:
        module: any traceable network; quantizers it has already are kept.
        make_quantizer: called once per activation.

    Raises:
        UnsupportedNetworkError: it cannot be traced, or holds an activation other than ReLU.
    """
    return _rewritten(module, make_quantizer)


def average_pooled(module: nn.Module) -> nn.Module:
    """The float ANN that a quantized one is compared with: ReLUs as they are, pools that average."""
    return _rewritten(module, None)


def _rewritten(
    module: nn.Module, make_quantizer: Callable[[], ActivationQuantizer] | None
) -> nn.Module:
    result = copy.deepcopy(fx.GraphModule(module, trace(module), type(module).__name__))
    used: set[str] = set()
    for node in list(result.graph.nodes):
        child = module.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(child, _OTHER_ACTIVATIONS):
            raise UnsupportedNetworkError(
                f"{node.target}: {type(child).__name__} has no integrate-and-fire form; use ReLU"
            )
        if make_quantizer and (isinstance(child, nn.ReLU) or _calls(node, _RELUS)):
            _replace(result, node, make_quantizer(), used)
        elif isinstance(child, nn.MaxPool2d):
            _replace(result, node, _average_pool(str(node.target), child), used)
        elif _calls(node, _MAX_POOLS):
            pool = nn.MaxPool2d(*node.args[1:], **node.kwargs)
            _replace(result, node, _average_pool(node.name, pool), used)
    result.delete_all_unused_submodules()
    result.recompile()
    return result


@torch.no_grad()
def balance_thresholds(module: nn.Module, images: Tensor, quantile: float = 0.999) -> None:
    """Set each clipping level to a quantile of its layer's positive inputs, in one forward pass.

    With ``quantile=1`` this is data-based threshold balancing (Diehl et al., 2015); a lower one is
    robust to outliers (Rueckauer et al., 2017). Layers see their unquantized predecessors.

    Args:
        images: float ``(B, C, H, W)``, as the network takes them.
    """
    handles = []
    for quantizer in quantizers(module).values():
        handles.append(quantizer.register_forward_hook(_balance(quantile)))
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
    return node.op in ("call_function", "call_method") and node.target in targets


def _replace(
    graph_module: fx.GraphModule, node: fx.Node, module: nn.Module, used: set[str]
) -> None:
    """Let ``module`` compute a node, under the name of what it replaces."""
    name = unique = str(node.target if node.op == "call_module" else node.name)
    repeat = 1
    while unique in used:
        unique, repeat = f"{name}_{repeat}", repeat + 1
    used.add(unique)
    graph_module.add_submodule(unique, module)
    node.op, node.target, node.args, node.kwargs = "call_module", unique, node.args[:1], {}


def _average_pool(name: str, pool: nn.MaxPool2d) -> nn.AvgPool2d:
    if pool.ceil_mode or pool.dilation not in (1, (1, 1)) or pool.return_indices:
        raise UnsupportedNetworkError(
            f"{name}: max pooling with ceil_mode, dilation or indices has no average form"
        )
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding)
