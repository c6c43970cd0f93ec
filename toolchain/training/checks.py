"""What is checked before the first epoch, so that nothing is trained in vain."""

from __future__ import annotations

import warnings
from contextlib import redirect_stderr
from io import StringIO

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


def require_trainable_data(dataset: Dataset, batch_size: int, num_processes: int) -> None:
    """Require two training images per process and batch, as batch norm on maps of one pixel does.

    Raises:
        DataError: there are too few images, or too few in a batch that several processes share.
    """
    least = 2 * num_processes
    if len(dataset.train_labels) < least:
        raise DataError(
            f"{dataset.name}: {len(dataset.train_labels)} training image(s) for {num_processes} process(es), "
            f"which need {least} or more; add images"
        )
    if num_processes > 1 and batch_size < least:
        raise DataError(
            f"a batch of {batch_size} images is too small for {num_processes} processes; use {least} or more"
        )


def require_trainable_module(module: nn.Module) -> None:
    """Require weights to train, in the precision of the images.

    Raises:
        UnsupportedNetworkError: no parameter needs a gradient, or one is not of float32.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UnsupportedNetworkError(
            f"{type(module).__name__} has no parameter to train: none requires a gradient; set "
            f"requires_grad_(True) on those that are to be trained"
        )
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32:
            raise UnsupportedNetworkError(
                f"parameter {name} is of {parameter.dtype}, and training takes images of float32; call "
                f"module.float() first"
            )


@torch.no_grad()
def require_logits(module: nn.Module, images: Tensor, num_classes: int) -> None:
    """Require that a network returns logits of all classes, which the cross entropy takes.

    Args:
        images: float ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: it returns several tensors, too few logits, or probabilities.
    """
    outputs = module.eval()(images)
    if not isinstance(outputs, Tensor):
        raise UnsupportedNetworkError(
            f"{type(module).__name__} returns {type(outputs).__name__}, but the loss takes one tensor of "
            f"logits; train it in a loop of your own, or return the logits alone"
        )
    found = outputs.shape[1] if outputs.dim() > 1 else 0
    if found < num_classes:
        raise UnsupportedNetworkError(
            f"{type(module).__name__} returns {found} logits, but the labels have {num_classes} classes; "
            f"give its last layer {num_classes} outputs"
        )
    if found < 2:
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
        with redirect_stderr(StringIO()):  # a traced network prints where it fails
            module.eval()(images.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last
