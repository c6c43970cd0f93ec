"""What is checked before the first epoch, so that nothing is trained in vain."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from toolchain.datasets import Dataset
from toolchain.errors import DataError, UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.networks.layer_graph import verify_layer_graph
from toolchain.passes.pipeline import lowering_passes

_PROBABILITY_TOLERANCE = 1e-3


def require_convertible(module: nn.Module, dataset: Dataset) -> None:
    """Convert an untrained quantized network for a data set, and prepare it for lowering as ``compile`` does.

    Integer widths are not checked, since they depend on the trained weights.

    Raises:
        UnsupportedNetworkError: conversion or a pass refuses the network.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the conversion of the trained network gives them
        graph = convert(module, dataset.input_shape, dataset.max_value)
    for run in lowering_passes():
        graph = verify_layer_graph(run(graph))


def require_trainable_data(dataset: Dataset) -> None:
    """Require at least two training images, as batch norm does.

    Raises:
        DataError: there are fewer.
    """
    if len(dataset.train_labels) < 2:
        raise DataError(
            f"{dataset.name}: has {len(dataset.train_labels)} training images; training needs at least 2"
        )


@torch.no_grad()
def require_logits(module: nn.Module, images: Tensor) -> None:
    """Require that a network returns logits, which the cross entropy takes.

    Args:
        images: float ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: it returns probabilities.
    """
    outputs = module.eval()(images)
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        return
    sums = outputs.sum(1)
    if bool((outputs >= 0).all()) and bool(((sums - 1).abs() < _PROBABILITY_TOLERANCE).all()):
        raise UnsupportedNetworkError(
            f"{type(module).__name__} returns probabilities, but the loss takes logits; leave the softmax at "
            f"its end out (the largest logit is the same)"
        )


@torch.no_grad()
def fastest_memory_format(module: nn.Module, images: Tensor) -> torch.memory_format:
    """Channels last, unless the network depends on the order in memory, as ``x.view(-1, n)`` does.

    Args:
        images: some input of the network.
    """
    try:
        module.eval()(images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last
