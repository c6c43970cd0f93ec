"""Which operations of a traced network are activations that a quantizer can replace, and which are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.tracing import described

_OTHER_ACTIVATIONS = (
    "CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "LeakyReLU", "LogSigmoid", "Mish",
    "PReLU", "RReLU", "SELU", "Sigmoid", "SiLU", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink",
)  # fmt: skip
_FUNCTIONS = {"LeakyReLU": "leaky_relu"}  # others are the module's name in lower case
_OTHER_BY_FUNCTION = {_FUNCTIONS.get(name, name.lower()): name for name in _OTHER_ACTIVATIONS}
_OTHER_BY_FUNCTION["expit"] = "Sigmoid"
_COMPARISONS = {
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "where",
    "gt",
    "ge",
    "lt",
    "le",
    "heaviside",
    "sign",
}
_SOFTMAX = {"Softmax": "softmax", "Softmax2d": "softmax", "LogSoftmax": "log_softmax"}
_REMEDY = "replace it by ReLU and train again"


@dataclass(frozen=True, kw_only=True)
class Activation:
    """``clip(x, 0, clip)``: ReLU, or a ReLU with an upper clip.

    Attributes:
        clip: largest output; None for ReLU.
    """

    clip: float | None

    def module(self) -> nn.Module:
        """A module that computes it."""
        return nn.ReLU() if self.clip is None else nn.Hardtanh(0.0, self.clip)


def operation(node: fx.Node, network: nn.Module) -> str:
    """Name of the operation of a node: the class of a module, or a function without ``_`` at its ends."""
    if node.op == "call_module":
        return type(network.get_submodule(str(node.target))).__name__
    if node.op not in ("call_function", "call_method"):
        return node.op
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.split(".")[0].strip(
        "_"
    )  # F.threshold is _threshold; relu.default is one of torch.export


def activation_of(node: fx.Node, network: nn.Module) -> Activation | None:
    """The activation that a node computes; None if it computes something else.

    Raises:
        UnsupportedNetworkError: it is an activation without an integrate-and-fire form; names it, its place
            and what to do.
    """
    child = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    name = operation(node, network)
    if isinstance(child, nn.ReLU) or name == "relu":
        return Activation(clip=None)
    if isinstance(child, nn.Hardtanh):
        return _clipped(node, child.min_val, child.max_val)
    if isinstance(child, nn.Threshold):
        return _threshold(node, child.threshold, child.value)
    if child is not None:
        _refuse(node, name if name in _OTHER_ACTIVATIONS or name in _SOFTMAX else None)
        return None
    match name:
        case "relu6":
            return Activation(clip=6.0)
        case "hardtanh":
            return _clipped(node, *_settings(node, min_val=-1.0, max_val=1.0))
        case "clamp" | "clip":
            return _clipped(node, *_settings(node, min=None, max=None))
        case "clamp_min":
            return _clipped(node, _settings(node, min=None)[0], None)
        case "clamp_max":
            return _clipped(node, None, _settings(node, max=None)[0])
        case "threshold":
            return _threshold(node, *_settings(node, threshold=None, value=None))
    if name in _COMPARISONS:
        raise UnsupportedNetworkError(
            f"{described(node)}: '{name}' of feature maps has no integrate-and-fire form; write an "
            f"activation as F.relu(x) or x.clamp(0, c)"
        )
    softmax = name if name in _SOFTMAX.values() else None
    _refuse(node, _OTHER_BY_FUNCTION.get(name, softmax))
    return None


def is_in_place(node: fx.Node, network: nn.Module) -> bool:
    """Whether an activation also changes the tensor that it is given."""
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    # in every signature, a flag by position is the only bool
    return name.endswith("_") or node.kwargs.get("inplace") is True or True in _flags(node)


def _flags(node: fx.Node) -> list[bool]:
    return [value for value in node.args if isinstance(value, bool)]


def _refuse(node: fx.Node, kind: str | None) -> None:
    """Raise if a node is an activation of another kind, other than softmax over the classes at the end."""
    if kind is None:
        return
    final = all(reader.op == "output" for reader in node.users)
    is_softmax = kind in _SOFTMAX or kind in _SOFTMAX.values()
    if final and is_softmax:
        return  # conversion leaves it out: the largest logit is the same
    remedy = _REMEDY
    if final and kind == "Sigmoid":
        remedy = (
            "leave it out at the end: the largest logit is the same, and 0 is a probability of 1/2"
        )
    if is_softmax:
        remedy = "it is supported at the end of a network alone"
    raise UnsupportedNetworkError(
        f"{described(node)}: {kind} has no integrate-and-fire form; {remedy}"
    )


def _settings(node: fx.Node, **defaults: float | None) -> list[Any]:
    """Arguments of a call after its input, by position or keyword."""
    positional = node.args if node.kwargs.keys() & {"input", "self"} else node.args[1:]
    given = {**defaults, **dict(zip(defaults, positional, strict=False)), **node.kwargs}
    return [given[name] for name in defaults]


def _clipped(node: fx.Node, low: Any, high: Any) -> Activation:
    """``clip(x, 0, c)``, or ReLU if there is no upper clip."""
    numbers = all(bound is None or isinstance(bound, int | float) for bound in (low, high))
    if not numbers or low != 0 or (high is not None and not high > 0):
        raise UnsupportedNetworkError(
            f"{described(node)}: a clip from {low} to {high} has no integrate-and-fire form; clip from 0 to "
            f"one positive number, as x.clamp(0, 6) does"
        )
    return Activation(clip=None if high is None or high == float("inf") else float(high))


def _threshold(node: fx.Node, threshold: Any, value: Any) -> Activation:
    if threshold != 0 or value != 0:
        raise UnsupportedNetworkError(
            f"{described(node)}: a threshold of {threshold} with value {value} has no integrate-and-fire "
            f"form; {_REMEDY}"
        )
    return Activation(clip=None)
