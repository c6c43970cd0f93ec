"""Quantizers, max pooling, and functions of the logits."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.utils import _pytree as pytree

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers import exported_program
from toolchain.importers.linear_expressions import Levels, LinearExpression
from toolchain.importers.network_builder import (
    NetworkBuilder,
    OutputFunction,
    PendingMaximum,
    Value,
)
from toolchain.importers.operations.arguments import (
    Arguments,
    constant_of,
    extended,
    first_of,
    is_torchs_own,
    operation_name,
    pair_of,
    unpooled,
    view_of,
)
from toolchain.importers.tensor_views import BATCH, TensorView, concatenated, feature_map_shape
from toolchain.method.quantizer_calls import MaxWindow
from toolchain.networks.layer_graph.structure import MAX_TIMESTEPS


def quantize(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    timesteps = float(constant_of(a["levels"]))
    if not timesteps <= MAX_TIMESTEPS:  # also when it is not a number
        raise UnsupportedNetworkError(
            f"the quantizer has T = {timesteps:g} levels, above the limit of {MAX_TIMESTEPS:,}; train it "
            f"with max_timesteps (in Case 3, T = alpha / d grows as the step size d shrinks)"
        )
    levels = Levels(threshold=float(constant_of(a["threshold"])), timesteps=int(timesteps))
    name = a["name"] or exported_program.module_path(node)[0] or node.name
    return network.quantize(name, a["values"], levels, tuple(node.meta["val"].shape[1:]))


def max_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    is_1d = operation_name(node) == "max_pool1d"
    window = MaxWindow(
        kernel=pair_of(a["kernel_size"], is_1d, 1),
        stride=pair_of(a["stride"] or a["kernel_size"], is_1d, 1),
        padding=pair_of(a["padding"], is_1d, 0),
        dilation=pair_of(a["dilation"], is_1d, 1),
    )
    pooled = _max_pooled(network, node, a["self"], window, ceil_mode=a["ceil_mode"])
    return first_of(node, pooled)


def adaptive_max_pool(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    given = a["self"]
    target = [1, 1, *node.meta["val"][0].shape[2:]][-2:]
    source = [1, 1, *view_of(given).shape[1:]][-2:]
    if any(s % t for s, t in zip(source, target, strict=True)):
        raise UnsupportedNetworkError(
            f"adaptive max pooling from {source} to {target} has windows of different sizes; use sizes that "
            f"divide each other"
        )
    size = source[0] // target[0], source[1] // target[1]
    return first_of(node, _max_pooled(network, node, given, MaxWindow(kernel=size, stride=size)))


def largest_over_axes(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    """amax and max over height, width or both: one window along them."""
    view, given = view_of(a["self"]), a.get("dim", [])
    rank = view.numbers.ndim
    axes = {(d + rank) % rank for d in ([given] if isinstance(given, int) else given)}
    if rank not in (3, 4) or not axes or not axes <= set(range(2, rank)):
        raise UnsupportedNetworkError(
            "a maximum over these axes has no spiking form; take it over height and width"
        )
    sizes = [1, *(view.shape[d - 1] if d in axes else 1 for d in range(2, rank))]
    window = MaxWindow(kernel=(sizes[-2], sizes[-1]), stride=(1, 1))
    pooled = _max_pooled(network, node, view, window)
    if isinstance(pooled, PendingMaximum) and not a["keepdim"]:
        raise unpooled()
    return first_of(node, pooled)


def _max_pooled(
    network: NetworkBuilder,
    node: fx.Node,
    given: Any,
    window: MaxWindow,
    *,
    ceil_mode: bool = False,
) -> TensorView | PendingMaximum:
    if isinstance(given, PendingMaximum):
        raise UnsupportedNetworkError(
            "two max pools in a row in front of a quantizer; put the quantizer before them"
        )
    view: TensorView = given
    whole = view.natural_order()
    affine = None if whole is None else whole.affine
    if affine is not None and (affine.scale >= 0).all():  # changes places with the pool
        counts = TensorView.of_expression(affine.counts, view.shape)
        pooled = view_of(_max_pooled(network, node, counts, window, ceil_mode=ceil_mode))
        (part,) = pooled.parts
        return TensorView((part.scaled(affine.scale).shifted(affine.shift),), pooled.numbers)
    if whole is not None and _covers(window, view, whole):  # in whatever shape the map is read
        view = TensorView.of_expression(whole)
        window = MaxWindow(kernel=whole.shape[1:], stride=whole.shape[1:])
    path, _ = exported_program.module_path(node)
    name = path if path and is_torchs_own(node) else node.name
    shape = tuple(pytree.tree_leaves(node.meta["val"])[0].shape[1:])
    rank = len(shape)
    missing = [0, 0]
    if ceil_mode:
        ends = feature_map_shape(view.shape), feature_map_shape(shape)
        missing = _missing_at_the_end(*ends, window)
    split = _by_levels(view)
    if split is None:
        if any(missing):
            raise UnsupportedNetworkError(
                "a max pool with ceil_mode must follow its quantizer; put it there, or pad in place of it"
            )
        return PendingMaximum(view.feature_map(), window, name)
    parts = [
        (channels, network.max_pooled(extended(part, missing), window, name))
        for channels, part in split
    ]
    pooled = TensorView.of_expression(parts[0][1])
    if len(parts) > 1:
        place = np.concatenate([channels for channels, _ in parts])
        together, numbers = concatenated([TensorView.of_expression(part) for _, part in parts])
        joined = torch.cat(numbers, 1)[:, torch.from_numpy(np.argsort(place))]
        pooled = TensorView(together, joined)
    return pooled.moved(pooled.numbers.reshape(BATCH, *shape)) if rank != 3 else pooled


def _covers(window: MaxWindow, view: TensorView, whole: LinearExpression) -> bool:
    """Whether one window takes all of a map of spike counts, channel by channel."""
    channels, *size = feature_map_shape(view.shape)
    same = whole.levels is not None and whole.shape[0] == channels
    return same and window.kernel == tuple(size) and not any(window.padding)


def _missing_at_the_end(
    source: tuple[int, int, int], target: tuple[int, int, int], window: MaxWindow
) -> list[int]:
    """Rows and columns that the last window needs beyond the padding, with ceil_mode."""
    missing = []
    for axis in (0, 1):
        reach = (target[1 + axis] - 1) * window.stride[axis]
        reach += window.dilation[axis] * (window.kernel[axis] - 1) + 1
        missing.append(max(0, reach - source[1 + axis] - 2 * window.padding[axis]))
    return missing


def _by_levels(view: TensorView) -> list[tuple[np.ndarray, LinearExpression]] | None:
    """Channels of a view by the feature map that they are counts of; None if they are no counts."""
    shape = feature_map_shape(view.shape)
    result = []
    for part, indices in view.part_indices():
        if part.levels is None:
            return None
        own = indices.reshape(shape)
        channels = np.flatnonzero((own >= 0).any(axis=(1, 2)))
        numbers = np.where(own[channels] >= 0, own[channels] + 1, 0).astype(np.float64)
        offset = np.where(numbers > 0, prod(part.shape), 0)
        alone = TensorView((part,), torch.from_numpy(np.stack([numbers, numbers + offset])))
        result.append((channels, alone.feature_map()))
    covered = np.sort(np.concatenate([channels for channels, _ in result]))
    if not np.array_equal(covered, np.arange(shape[0])):  # a channel of two parts, or of zeros
        return None
    return result


def softmax(network: NetworkBuilder, node: fx.Node, a: Arguments) -> Value:
    view = view_of(a["self"])
    if a["dim"] % view.numbers.ndim != 1:
        raise UnsupportedNetworkError(
            f"'{operation_name(node)}' over another axis than the classes has no spiking form; leave it out"
        )
    return OutputFunction(view, operation_name(node))
