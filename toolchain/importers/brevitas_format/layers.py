"""Layers of Brevitas as PyTorch's own, with quantize and dequantize operations in the place of proxies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers quantize_per_tensor
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError


@dataclass(kw_only=True, eq=False)
class Outputs:
    """What each proxy gave on a few inputs, and the quantizer that was made of it, by its identity."""

    by_proxy: Mapping[int, list[Any]]
    quantizers: dict[int, nn.Module] = field(default_factory=dict)

    def of(self, proxy: Any) -> list[Any]:
        return self.by_proxy.get(id(proxy), [])


_LINEAR = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
_PLAIN = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.UpsamplingNearest2d,
    nn.Upsample,
)  # fmt: skip
_ROUNDING = ("RoundSte", "RoundImpl")


def is_brevitas(module: nn.Module) -> bool:
    return type(module).__module__.startswith("brevitas.")


def _is_proxy(module: nn.Module) -> bool:
    return type(module).__module__.startswith("brevitas.proxy")


def plain_layer(path: str, layer: Any, outputs: Outputs) -> nn.Module:
    """A layer of PyTorch that computes the same on plain tensors.

    Args:
        path: of the layer, for messages.
        layer: a layer of ``brevitas.nn``, whose ``input_quant``, ``output_quant`` and ``act_quant`` are
            proxies.

    Raises:
        UnsupportedNetworkError: naming a layer or quantizer that cannot be taken, and what to do.
    """
    if _is_proxy(layer):
        return _quantizer(path, layer, outputs)
    before = _quantizer(f"{path}.input_quant", getattr(layer, "input_quant", None), outputs)
    after = _quantizer(f"{path}.output_quant", getattr(layer, "output_quant", None), outputs)
    if isinstance(layer, _LINEAR) and hasattr(layer, "weight_quant"):
        core: nn.Module = _weighted(path, layer, outputs)
    elif hasattr(layer, "act_quant"):
        return _activation(path, layer, before, outputs)
    elif type(layer).__name__ == "QuantEltwiseAdd":
        return BrevitasSum(before, after)
    else:
        core = _without_quantizers(path, layer)
    if isinstance(before, nn.Identity) and isinstance(after, nn.Identity):
        return core
    return BrevitasLayer(before, core, after)


class BrevitasQuantizer(nn.Module):
    """A quantizer of activations, as quantize and dequantize operations."""

    step: Tensor
    zero_point: Tensor

    def __init__(
        self, step: Tensor, zero_point: Tensor, low: int, high: int, per_channel: bool
    ) -> None:
        super().__init__()
        self.register_buffer("step", step)
        self.register_buffer("zero_point", zero_point)
        self.low, self.high, self.per_channel = low, high, per_channel

    def forward(self, x: Tensor) -> Tensor:
        operations = torch.ops.quantized_decomposed
        bounds = self.low, self.high, torch.int32
        if self.per_channel:
            settings = self.step, self.zero_point, 1, *bounds
            codes = operations.quantize_per_channel(x, *settings)
            return operations.dequantize_per_channel(codes, *settings)
        codes = operations.quantize_per_tensor.tensor(x, self.step, self.zero_point, *bounds)
        return operations.dequantize_per_tensor.tensor(codes, self.step, self.zero_point, *bounds)


class BrevitasActivation(nn.Module):
    def __init__(self, before: nn.Module, activation: nn.Module, act_quant: nn.Module) -> None:
        super().__init__()
        self.input_quant, self._activation, self.act_quant = before, (activation,), act_quant

    def forward(self, x: Tensor) -> Tensor:
        (activation,) = self._activation  # no module, so that its operation has this module's name
        return self.act_quant(activation(self.input_quant(x)))


class BrevitasLayer(nn.Module):
    def __init__(self, before: nn.Module, layer: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.input_quant, self.layer, self.output_quant = before, layer, after

    def forward(self, x: Tensor) -> Tensor:
        return self.output_quant(self.layer(self.input_quant(x)))


class BrevitasSum(nn.Module):
    """QuantEltwiseAdd."""

    def __init__(self, before: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.input_quant, self.output_quant = before, after

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.output_quant(self.input_quant(first) + self.input_quant(second))


def _activation(path: str, layer: Any, before: nn.Module, outputs: Outputs) -> nn.Module:
    fused = getattr(layer.act_quant, "fused_activation_quant_proxy", None)
    implementation = getattr(fused, "activation_impl", None)
    name = "Identity" if implementation is None else type(implementation).__name__
    if name not in ("Identity", "ReLU", "Hardtanh"):
        raise UnsupportedNetworkError(
            f"{path}: {name} has no integrate-and-fire form; replace it by QuantReLU and train again"
        )
    activation: nn.Module = nn.Identity()
    if isinstance(implementation, nn.ReLU):
        activation = nn.ReLU()
    elif isinstance(implementation, nn.Hardtanh):
        activation = nn.Hardtanh(implementation.min_val, implementation.max_val)
    quantizer = _quantizer(path, layer.act_quant, outputs)
    return BrevitasActivation(before, activation, quantizer)


def _weighted(path: str, layer: Any, outputs: Outputs) -> nn.Module:
    """A convolution or Linear with the weights and biases that Brevitas computes with."""
    kind = next(kind for kind in _LINEAR if isinstance(layer, kind))
    if (
        getattr(layer, "is_same_padded_strided", False)
        or getattr(layer, "padding_type", "") == "same"
    ):
        raise UnsupportedNetworkError(
            f"{path}: its padding is computed from the input ('same'); give it as numbers"
        )
    weight = _constant(path, "weight", outputs.of(layer.weight_quant), layer.weight)
    bias = layer.bias
    if bias is not None:
        bias = _constant(path, "bias", outputs.of(layer.bias_quant), bias)
    if kind is nn.Linear:
        plain: Any = nn.Linear(layer.in_features, layer.out_features, bias is not None)
    else:
        names = [
            "in_channels",
            "out_channels",
            "kernel_size",
            "stride",
            "padding",
            "dilation",
            "groups",
        ]
        settings: dict[str, Any] = {name: getattr(layer, name) for name in names}
        if hasattr(layer, "output_padding") and "Transpose" in kind.__name__:
            settings["output_padding"] = layer.output_padding
        settings |= {"bias": bias is not None, "padding_mode": layer.padding_mode}
        plain = kind(**settings)
    plain.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach().clone())
    return plain


def _constant(path: str, name: str, found: list[Any], unquantized: Tensor) -> Tensor:
    """A weight or bias as it is quantized, the same in each call."""
    if not found:
        return unquantized
    values = [getattr(output, "value", output) for output in found]
    if not all(torch.equal(value, values[0]) for value in values):
        raise UnsupportedNetworkError(
            f"{path}: its quantized {name} differs from call to call; give it a scale that does not depend "
            f"on the input"
        )
    return values[0].reshape(unquantized.shape)


def _without_quantizers(path: str, layer: Any) -> nn.Module:
    proxies = [part for part in layer.children() if _is_proxy(part)]
    for kind in _PLAIN if not proxies else ():
        if isinstance(layer, kind):
            names = kind.__init__.__code__.co_varnames[1 : kind.__init__.__code__.co_argcount]
            return kind(**{name: getattr(layer, name) for name in names if hasattr(layer, name)})
    raise UnsupportedNetworkError(
        f"{path}: {type(layer).__name__} of Brevitas is not read; use QuantConv, QuantLinear, QuantReLU, "
        f"QuantIdentity, QuantEltwiseAdd, torch.cat, and PyTorch's own pooling and batch norm"
    )


def _quantizer(path: str, proxy: Any, outputs: Outputs) -> nn.Module:
    """A quantizer of activations; an identity if there is none."""
    if proxy is None or not getattr(proxy, "is_quant_enabled", False):
        return nn.Identity()
    if not outputs.of(proxy):
        return nn.Identity()  # never called
    if id(proxy) not in outputs.quantizers:  # several layers may share one
        outputs.quantizers[id(proxy)] = _quantizer_of(path, proxy, outputs.of(proxy))
    return outputs.quantizers[id(proxy)]


def _quantizer_of(path: str, proxy: Any, found: list[Any]) -> nn.Module:
    """A quantizer with the levels of what a proxy gave.

    Raises:
        UnsupportedNetworkError: these are not evenly spaced, or not the same in each call.
    """
    if not all(type(output).__name__ == "IntQuantTensor" for output in found):
        kinds = sorted({type(output).__name__ for output in found})
        raise UnsupportedNetworkError(
            f"{path}: {', '.join(kinds)} has no evenly spaced levels of one scale (FloatQuant, groupwise "
            f"quantization). There are two ways out: choose an integer quantizer such as "
            f"Uint8ActPerTensorFloat and train again, or, where no activation is, no quantizer"
        )
    tensor_quant = proxy.fused_activation_quant_proxy.tensor_quant
    rounding = getattr(getattr(tensor_quant, "int_quant", None), "float_to_int_impl", None)
    if type(rounding).__name__ not in _ROUNDING:
        kind = type(tensor_quant if rounding is None else rounding).__name__
        raise UnsupportedNetworkError(
            f"{path}: {kind} does not round to the nearest level, as neurons with v(0) = v_th / 2 do; choose "
            f"the rounding 'ROUND' and train again"
        )
    first = found[0]
    for output in found:
        if not (
            torch.equal(torch.as_tensor(output.scale), torch.as_tensor(first.scale))
            and torch.equal(torch.as_tensor(output.zero_point), torch.as_tensor(first.zero_point))
        ):
            raise UnsupportedNetworkError(
                f"{path}: its scale depends on the input (dynamic quantization); use a scale that is learned "
                f"or calibrated"
            )
    step, zero = (
        torch.as_tensor(v).detach().to(torch.float32) for v in (first.scale, first.zero_point)
    )
    channels = max(step.numel(), zero.numel())
    if channels > 1 and first.value.shape[1] != channels:
        raise UnsupportedNetworkError(
            f"{path}: has scales of shape {tuple(step.shape)}; use one per tensor, or one per channel"
        )
    bits, signed = round(float(first.bit_width)), bool(first.signed)
    narrow = int(bool(getattr(proxy, "is_narrow_range", False)))
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    if channels == 1:
        return BrevitasQuantizer(
            step.reshape(()), zero.reshape(()).to(torch.int64), low, high, per_channel=False
        )
    return BrevitasQuantizer(
        step.reshape(-1).expand(channels).clone(),
        zero.reshape(-1).expand(channels).to(torch.int64).clone(),
        low,
        high,
        per_channel=True,
    )
