"""The nodes of a NIR graph as typed, checked records.

Names of fields are those of the format (Pedersen et al., 2024, "Neuromorphic intermediate representation").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.nir_format.fields import Fields
from toolchain.networks.linear_maps import Pair
from toolchain.shown_values import shown_text


@dataclass(frozen=True, kw_only=True, eq=False)
class Port:
    """An ``Input`` or ``Output``, also of a nested graph, which passes its values on.

    Args:
        shape: None if the file leaves it out.
    """

    kind: Literal["Input", "Output"]
    shape: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Neurons:
    """``IF``, ``LIF`` or ``CubaLIF``; every array has the shape of the population, or one value for all.

    Args:
        tau_mem, v_leak: None for ``IF``.
        tau_syn, w_in: None unless ``CubaLIF``.
    """

    kind: Literal["IF", "LIF", "CubaLIF"]
    r: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray
    tau_mem: np.ndarray | None = None
    v_leak: np.ndarray | None = None
    tau_syn: np.ndarray | None = None
    w_in: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """``Affine``, or ``Linear`` without a bias: ``weight @ x + bias`` with a weight ``(out, in)``."""

    weight: np.ndarray
    bias: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolved:
    """``Conv1d`` and ``Conv2d``; in one dimension, a kernel with one row.

    Args:
        dimensions: 1 or 2.
        weight: ``(out, in / groups, rows, columns)``.
        padding: zeros before and after rows and columns, or a word.
        input_shape: (rows, columns) that the file says; None if it does not.
    """

    dimensions: Literal[1, 2]
    weight: np.ndarray
    bias: np.ndarray
    stride: Pair
    padding: Pair | Literal["same", "valid"]
    dilation: Pair
    groups: int
    input_shape: Pair | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaled:
    """``Scale``: a factor for each value."""

    scale: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """``SumPool2d``, or ``AvgPool2d``, in whose mean padded zeros count."""

    kernel: Pair
    stride: Pair
    padding: Pair
    mean: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Flattened:
    """``Flatten``: the axes from the first to the last become one; samples and time are no axes."""

    start_dim: int
    end_dim: int


Node: TypeAlias = Port | Neurons | Product | Convolved | Scaled | Pooled | Flattened

_REFUSED = {
    "LI": "leaky integrators keep an analogue value; end the network in the layer in front of it, whose mean "
    "over all steps is then the logit",
    "CubaLI": "leaky integrators keep an analogue value; end the network in the layer in front of it, whose "
    "mean over all steps is then the logit",
    "I": "an integrator keeps an analogue value; leave it out: the mean over all steps of what it adds up is "
    "then the logit",
    "Delay": "spikes arrive in the step in which they are sent, and a delay has no place; train without "
    "delays",
    "Threshold": "it has no membrane potential; use IF neurons in its place",
}
"""Nodes of the format without an exact form, and what to do."""


def read_node(fields: Fields, kind: str) -> Node:
    """One node of the format."""
    match kind:
        case "Input" | "Output":
            return Port(kind=kind, shape=fields.optional_shape("shape"))
        case "IF" | "LIF" | "CubaLIF":
            return _read_neurons(fields, kind)
        case "Linear" | "Affine":
            weight = fields.finite("weight", (2,))
            bias = fields.finite("bias", (1,)) if kind == "Affine" else None
            if bias is not None and len(bias) != len(weight):
                raise fields.refuse("bias", f"of shape ({len(weight)},)", bias)
            return Product(weight=weight, bias=bias)
        case "Conv1d" | "Conv2d":
            return _read_convolution(fields, 1 if kind == "Conv1d" else 2)
        case "Scale":
            return Scaled(scale=fields.finite("scale"))
        case "SumPool2d" | "AvgPool2d":
            return Pooled(
                kernel=fields.pair("kernel_size", 1),
                stride=fields.pair("stride", 1),
                padding=fields.pair("padding", 0),
                mean=kind == "AvgPool2d",
            )
        case "Flatten":
            return Flattened(
                start_dim=fields.integer("start_dim", -8), end_dim=fields.integer("end_dim", -8)
            )
    if kind in _REFUSED:
        raise UnsupportedNetworkError(f"{fields.place}: {kind} is not read: {_REFUSED[kind]}")
    raise UnsupportedNetworkError(
        f"{fields.place}: '{shown_text(kind, 40)}' is no node of NIR that is read"
    )


def _read_neurons(fields: Fields, kind: Literal["IF", "LIF", "CubaLIF"]) -> Neurons:
    threshold = fields.finite("v_threshold")
    if not (threshold > 0).all():
        raise fields.refuse("v_threshold", "positive", threshold.min())
    neurons = Neurons(
        kind=kind,
        r=fields.numbers("r"),
        v_threshold=threshold,
        v_reset=fields.finite("v_reset") if fields.has("v_reset") else np.zeros(()),
    )
    if kind != "IF":
        tau = "tau" if kind == "LIF" else "tau_mem"
        neurons = replace(neurons, tau_mem=fields.numbers(tau), v_leak=fields.finite("v_leak"))
    if kind == "CubaLIF":
        w_in = fields.numbers("w_in") if fields.has("w_in") else np.ones(())
        neurons = replace(neurons, tau_syn=fields.numbers("tau_syn"), w_in=w_in)
    for name in ("r", "tau_mem", "tau_syn"):
        values = getattr(neurons, name)
        if values is not None and not (values > 0).all():  # also refuses NaN
            raise fields.refuse("tau" if name == "tau_mem" else name, "positive", values.min())
    return neurons


def _read_convolution(fields: Fields, dimensions: Literal[1, 2]) -> Convolved:
    weight = fields.finite("weight", (2 + dimensions,))
    bias = fields.finite("bias", (1,))
    if len(bias) != len(weight):
        raise fields.refuse("bias", f"of shape ({len(weight)},)", bias)
    groups = fields.integer("groups", 1)
    if len(weight) % groups:
        raise fields.refuse("groups", f"a divisor of {len(weight)} channels", groups)
    read = fields.pair if dimensions == 2 else fields.pair_of_columns
    padding: Pair | Literal["same", "valid"]
    if fields.is_text("padding"):
        word = fields.text("padding")
        if word not in ("same", "valid"):
            raise fields.refuse("padding", "same, valid or a number", word)
        padding = "same" if word == "same" else "valid"
    else:
        padding = read("padding", 0)
    convolved = Convolved(
        dimensions=dimensions,
        weight=weight if dimensions == 2 else weight[:, :, None],
        bias=bias,
        stride=read("stride", 1),
        padding=padding,
        dilation=read("dilation", 1),
        groups=groups,
        input_shape=read("input_shape", 1) if fields.has("input_shape") else None,
    )
    if padding == "same" and convolved.stride != (1, 1):
        raise fields.refuse("stride", "1 where padding is same", convolved.stride)
    return convolved
