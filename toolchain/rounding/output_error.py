"""Rounding of weights by the error of the layer's output, one input after the other (GPTQ).

Nearest rounding takes each weight for itself. But inputs of a layer are correlated, so that the error of one
rounded weight can be compensated by those that are not rounded yet. The optimal compensation follows from the
second moments of the inputs.

Source: Frantar et al., 2023, "GPTQ: Accurate post-training quantization for generative pre-trained
transformers", algorithm 1, with inputs in the order of their size ("act-order"); the compensation is that of
Frantar & Alistarh, 2022, "Optimal brain compression", Eq. 3, and of Hassibi & Stork, 1993.
"""

from __future__ import annotations

import numpy as np

DAMPING = 0.01
"""Added to each second moment, as a share of their mean, as in GPTQ."""

TIES = 1e-9
"""Values so close below a half are rounded up, so that the rounding of sums does not decide on a tie."""

_INPUTS_AT_ONCE = 64
"""Inputs whose compensations are added to later inputs in one product of matrices."""


def nearest(values: np.ndarray, most: int) -> np.ndarray:
    """Nearest integers from ``-most`` to ``most``, in float64."""
    return np.clip(np.floor(values + (0.5 + TIES)), -most, most)


def damped(moments: np.ndarray) -> np.ndarray:
    """Second moments with a share of their mean on the diagonal, and 1 for inputs that are always 0.

    Args:
        moments: ``(groups, inputs, inputs)``.
    """
    diagonal = np.einsum("gii->gi", moments)
    added = DAMPING * diagonal.mean(axis=1, keepdims=True) + (diagonal == 0)
    return moments + added[:, None, :] * np.eye(moments.shape[-1])


def round_by_output_error(weight: np.ndarray, moments: np.ndarray, most: int) -> np.ndarray:
    """Integers near the weights, so that ``(W - Q) H (W - Q)^T`` is small.

    Args:
        weight: in units of the integers, float64 ``(groups, outputs, inputs)``.
        moments: second moments H of the inputs, positive definite, ``(groups, inputs, inputs)``.
        most: largest magnitude of an integer.

    Returns:
        float64 ``(groups, outputs, inputs)``.
    """
    largest_first = np.argsort(-np.einsum("gii->gi", moments), axis=1, kind="stable")
    ordered = np.take_along_axis(weight, largest_first[:, None, :], axis=2)
    rows = np.take_along_axis(moments, largest_first[:, :, None], axis=1)
    factor = _inverse_factor(np.take_along_axis(rows, largest_first[:, None, :], axis=2))
    rounded = np.empty_like(ordered)
    inputs = ordered.shape[2]
    for start in range(0, inputs, _INPUTS_AT_ONCE):
        stop = min(start + _INPUTS_AT_ONCE, inputs)
        errors = np.empty_like(ordered[:, :, start:stop])
        for i in range(start, stop):
            rounded[:, :, i] = nearest(ordered[:, :, i], most)
            error = (ordered[:, :, i] - rounded[:, :, i]) / factor[:, i, i, None]
            ordered[:, :, i:stop] -= error[:, :, None] * factor[:, i, None, i:stop]
            errors[:, :, i - start] = error
        ordered[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    result = np.empty_like(rounded)
    np.put_along_axis(result, np.broadcast_to(largest_first[:, None, :], result.shape), rounded, 2)
    return result


def _inverse_factor(moments: np.ndarray) -> np.ndarray:
    """The upper triangular U with ``U^T U = H^-1``, whose rows are the compensations of each input.

    With the inputs in reverse, ``H = R R^T`` for an upper triangular R, and U is its inverse.
    """
    lower = np.linalg.cholesky(moments[:, ::-1, ::-1])
    return np.linalg.inv(lower[:, ::-1, ::-1])
