"""Quantize and dequantize operations of PyTorch's exported programs, by what they compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, fx

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.exported_program import operation_name

Role: TypeAlias = Literal["quantize", "dequantize", "both"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """``(clip(round(x / step) + zero_point, low, high) - zero_point) * step``.

    Attributes:
        step: float64; a scalar, or one per channel.
        zero_point: float64, likewise.
        axis: of the channels; None for a scalar.
    """

    step: Tensor
    zero_point: Tensor
    low: int
    high: int
    axis: int | None

    @property
    def key(self) -> tuple[Any, ...]:
        steps, zero_points = self.step.flatten().tolist(), self.zero_point.flatten().tolist()
        return tuple(steps), tuple(zero_points), self.low, self.high, self.axis

    def broadcast(self, values: Tensor, rank: int) -> Tensor:
        """Values per channel, in a shape that broadcasts to tensors of a rank without their batch."""
        if self.axis is None:
            return values.reshape(())
        return values.reshape(-1, *[1] * (rank - 1 - self.axis))


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What one operation does: ``both`` gives real values on the grid, ``quantize`` integers."""

    role: Role
    grid: Grid


def quantization_of(
    node: fx.Node, constant: Callable[[Any], Any], rank: int
) -> Quantization | None:
    """How an operation quantizes or dequantizes; None if it does neither.

    Args:
        constant: value of an argument that does not depend on the network's input.
        rank: number of axes of the tensor that it is given.

    Raises:
        UnsupportedNetworkError: it quantizes in a way that no population can.
    """
    if node.op != "call_function":
        return None
    name = _full_name(node.target)
    if (remedy := _REFUSED.get(name.split(".")[0].split("::")[-1])) is not None:
        raise UnsupportedNetworkError(remedy)
    if name.startswith(("quantized::", "onednn::", "_quantized::")):
        raise UnsupportedNetworkError(f"'{name}' is a packed integer kernel; {PACKED}")
    if (reader := _READERS.get(name)) is None:
        return None
    return reader(_arguments(node), constant, rank)


def is_quantization(node: fx.Node) -> bool:
    """Whether an operation quantizes or dequantizes in a way that is read."""
    return node.op == "call_function" and _full_name(node.target) in _READERS


PACKED = (
    "such networks hide their quantizers in kernels. Quantize the float network with "
    "torchao.quantization.pt2e (prepare_pt2e, convert_pt2e), and export the result"
)


def _full_name(target: object) -> str:
    return target.name() if isinstance(target, torch._ops.OpOverload) else operation_name(target)


def _arguments(node: fx.Node) -> dict[str, Any]:
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    defaults = {a.name: a.default_value for a in schema if a.has_default_value()}
    return defaults | dict(zip((a.name for a in schema), node.args, strict=False)) | node.kwargs


def _per_tensor(role: Role) -> Callable[..., Quantization]:
    def read(a: dict[str, Any], constant: Callable[[Any], Any], rank: int) -> Quantization:
        grid = _grid(constant, a["scale"], a["zero_point"], a["quant_min"], a["quant_max"], None)
        return Quantization(role=role, grid=grid)

    return read


def _per_channel(role: Role) -> Callable[..., Quantization]:
    def read(a: dict[str, Any], constant: Callable[[Any], Any], rank: int) -> Quantization:
        scale = a["scales"] if "scales" in a else a["scale"]
        zero_point = a["zero_points"] if "zero_points" in a else a["zero_point"]
        grid = _grid(constant, scale, zero_point, a["quant_min"], a["quant_max"], a["axis"] % rank)
        return Quantization(role=role, grid=grid)

    return read


def _affine(role: Role) -> Callable[..., Quantization]:
    def read(a: dict[str, Any], constant: Callable[[Any], Any], rank: int) -> Quantization:
        dtype = a["output_dtype"] if role == "quantize" else a["input_dtype"]
        low, high = a["quant_min"], a["quant_max"]
        if low is None or high is None:
            bounds = torch.iinfo(dtype)
            low, high = bounds.min if low is None else low, bounds.max if high is None else high
        scale, zero_point = constant(a["scale"]), constant(a["zero_point"])
        axis = None
        if scale.numel() > 1:
            single = [i for i, size in enumerate(a["block_size"]) if int(size) == 1 and i > 0]
            if len(single) != 1:
                raise UnsupportedNetworkError(
                    f"its steps belong to groups of values, of shape {tuple(a['block_size'])}; use one step "
                    f"per tensor (PerTensor), or per channel (PerAxis)"
                )
            (axis,) = single
        if zero_point is None:
            zero_point = 0
        return Quantization(role=role, grid=_grid(constant, scale, zero_point, low, high, axis))

    return read


def _own(a: dict[str, Any], constant: Callable[[Any], Any], rank: int) -> Quantization:
    threshold, levels = (
        torch.as_tensor(constant(a[k])).to(torch.float64) for k in ("threshold", "levels")
    )
    grid = _grid(constant, threshold / levels, 0, 0, int(levels), None)
    return Quantization(role="both", grid=grid)


def _grid(
    constant: Callable[[Any], Any],
    scale: Any,
    zero_point: Any,
    low: Any,
    high: Any,
    axis: int | None,
) -> Grid:
    step = torch.as_tensor(constant(scale)).detach().to(torch.float64).flatten()
    zero = torch.as_tensor(constant(zero_point)).detach().to(torch.float64).flatten()
    bad = not bool(torch.isfinite(step).all() and (step > 0).all() and torch.isfinite(zero).all())
    if bad or step.numel() == 0 or len({step.numel(), zero.numel(), 1} - {1}) > 1:
        raise UnsupportedNetworkError(
            f"its steps must be positive and finite, with one zero point each, not {step.tolist()[:4]} and "
            f"{zero.tolist()[:4]}; calibrate the network again"
        )
    size = max(step.numel(), zero.numel())
    if axis is None and size > 1:
        raise UnsupportedNetworkError(f"it has {size} steps without an axis for them")
    return Grid(
        step=step.expand(size).clone(),
        zero_point=zero.expand(size).clone(),
        low=int(constant(low)),
        high=int(constant(high)),
        axis=axis,
    )


_DYNAMIC = (
    "dynamic quantization computes its step from each input, so that it is no fixed number of timesteps; use "
    "static quantization (is_dynamic=False)"
)
_PREPARED = (
    "the network is prepared for quantization but not converted; call convert_pt2e, and export what it "
    "returns"
)
_REFUSED = {
    "choose_qparams": _DYNAMIC,
    "choose_qparams_symmetric": _DYNAMIC,
    "choose_qparams_affine": _DYNAMIC,
    "choose_qparams_per_token": _DYNAMIC,
    "choose_qparams_per_token_asymmetric": _DYNAMIC,
    "_choose_qparams_per_token_asymmetric_impl": _DYNAMIC,
    "quantize_per_token": _DYNAMIC,
    "dequantize_per_token": _DYNAMIC,
    "fused_moving_avg_obs_fake_quant": _PREPARED,
    "_fused_moving_avg_obs_fq_helper": _PREPARED,
    "_fused_moving_avg_obs_fq_helper_functional": _PREPARED,
    "quantize_affine_float8_non_decomposed": (
        "float8 values have no evenly spaced levels; use uint8 or int8 activations"
    ),
    "choose_scale_float8": "float8 values have no evenly spaced levels; use uint8 or int8 activations",
}
_READERS: dict[str, Callable[..., Quantization]] = {
    "qac_deploy::quantize": _own,
    "quantized_decomposed::quantize_per_tensor": _per_tensor("quantize"),
    "quantized_decomposed::quantize_per_tensor.tensor": _per_tensor("quantize"),
    "quantized_decomposed::quantize_per_tensor.tensor2": _per_tensor("quantize"),
    "quantized_decomposed::dequantize_per_tensor": _per_tensor("dequantize"),
    "quantized_decomposed::dequantize_per_tensor.tensor": _per_tensor("dequantize"),
    "quantized_decomposed::dequantize_per_tensor.tensor2": _per_tensor("dequantize"),
    "quantized_decomposed::quantize_per_channel": _per_channel("quantize"),
    "quantized_decomposed::dequantize_per_channel": _per_channel("dequantize"),
    "torchao::quantize_affine": _affine("quantize"),
    "torchao::dequantize_affine": _affine("dequantize"),
}


QUANTIZATIONS = frozenset(name.split("::")[1].split(".")[0] for name in _READERS)
"""Names of operations that are read as they are."""
