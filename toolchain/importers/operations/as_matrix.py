"""Linear operations as matrices, where their values are no whole channels, rows and columns.

PyTorch applies the operation to unit vectors: tokens of patches, and mixtures of them, come in this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from toolchain.importers.linear_expressions import LinearExpression
from toolchain.importers.network_builder import Value
from toolchain.importers.operations.arguments import first_of
from toolchain.importers.tensor_views import BATCH, MAX_MATRIX, NoFeatureMapError, TensorView
from toolchain.networks.linear_maps import Dense


def as_matrix(
    node: fx.Node, args: tuple[Any, ...], kwargs: Mapping[str, Any], reason: NoFeatureMapError
) -> Value:
    """Result of a linear operation, the first of several, as dense maps of all feature maps that it reads.

    Args:
        reason: why its values are no feature map.

    Raises:
        NoFeatureMapError: the matrix would have too many entries.
    """
    target: Any = node.target
    leaves, structure = pytree.tree_flatten((args, dict(kwargs)))
    views = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, TensorView)}
    shape = tuple(_first(node.meta["val"]).shape[1:])
    parts = {id(part): part for view in views.values() for part, _ in view.part_indices()}
    entries = prod(shape) * sum(prod(part.shape) for part in parts.values())
    if entries > MAX_MATRIX:
        raise NoFeatureMapError(
            f"{reason} (as a matrix, it has {entries:,} entries, above the limit of {MAX_MATRIX:,})"
        )

    def apply(inputs: Mapping[int, Tensor]) -> np.ndarray:
        given, named = pytree.tree_unflatten(
            [inputs.get(i, leaf) for i, leaf in enumerate(leaves)], structure
        )
        with torch.no_grad():
            return _first(target(*given, **named)).reshape(BATCH, -1).numpy()

    constant = apply({i: torch.zeros_like(view.numbers) for i, view in views.items()})[0]
    result = LinearExpression.of_constant(constant[:, None, None])
    for part in parts.values():
        columns = [
            apply({i: _unit_vectors(view, part, start) for i, view in views.items()}) - constant
            for start in range(0, prod(part.shape), BATCH)
        ]
        matrix = np.concatenate(columns)[: prod(part.shape)].T
        result = result.plus(part.dense(Dense(weight=np.ascontiguousarray(matrix))))
    return first_of(node, TensorView.of_expression(result, shape))


def _first(results: Any) -> Tensor:
    """What a batch norm gives besides its values are statistics."""
    return results[0] if isinstance(results, tuple | list) else results


def _unit_vectors(view: TensorView, part: LinearExpression, start: int) -> Tensor:
    """A view's tensor with ones where it reads an element of a part: one element per sample."""
    indices = [own for other, own in view.part_indices() if other is part]
    numbers = indices[0] if indices else np.full(view.shape, -1)
    samples = [numbers == start + sample for sample in range(BATCH)]
    return torch.from_numpy(np.stack(samples)).to(torch.float64)
