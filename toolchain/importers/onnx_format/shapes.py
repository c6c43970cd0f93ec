"""Shapes of what a module computes, found without its values and so without memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep back the traceback that torch logs of shapes that do not fit, which become one error of ours."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def shapes_of(module: nn.Module, inputs: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Shape of each result of a module for inputs of these shapes, in float64."""
    with _quiet_torch(), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        results: Any = module(*[torch.empty(shape, dtype=torch.float64) for shape in inputs])
    listed = results if isinstance(results, list | tuple) else [results]
    return [tuple(int(size) for size in result.shape) for result in listed]
