"""The linear maps of a synapse on NumPy arrays: convolution, dense, scale, and those without a weight.

Values are feature maps of shape (channels, height, width). Matrix products run in float64, which holds
every integer below 2^53: the sums here stay far below, so results are exact, and BLAS computes them.
"""

import numpy as np


def with_matrices(maps, arrays):
    """The records of a synapse's maps with the matrices and indices that they name, but for the weight."""
    named = ("rows", "columns", "channels")
    return [
        {field: arrays[value] if field in named else value for field, value in record.items()}
        for record in maps
    ]


def apply_maps(maps, weight, values):
    """All maps of a synapse, one after the other.

    Args:
        maps: records of ``with_matrices``; exactly one of them carries the weight.
        weight: int8.
        values: integers of shape (channels, height, width).

    Returns:
        int64, shape (channels, height, width) of the target population.
    """
    for linear_map in maps:
        kind = linear_map["kind"]
        if kind == "convolution":
            values = convolve(values, weight, linear_map)
        elif kind == "dense":
            values = (weight.astype(np.float64) @ values.reshape(-1))[:, None, None]
        elif kind == "scale":
            values = values * weight.astype(np.int64)[:, None, None]
        elif kind == "sum_pool":
            values = windows(values, linear_map["kernel"], linear_map).sum(axis=(3, 4))
        elif kind == "resample":
            values = linear_map["rows"] @ values @ linear_map["columns"].T
        elif kind == "select_channels":
            with_zeros = np.concatenate([values, np.zeros_like(values[:1])])
            values = with_zeros[linear_map["channels"]]  # channel -1 is the last one, of zeros
        else:
            raise ValueError(f"unknown linear map '{kind}'")
    return values.astype(np.int64)


def convolve(values, weight, geometry):
    """Convolution with a weight of shape (out, in / groups, kernel height, kernel width)."""
    groups = geometry["groups"]
    patches = windows(values, weight.shape[2:], geometry)  # (in, rows, columns, kernel h, kernel w)
    rows, columns = patches.shape[1:3]
    patches = patches.transpose(0, 3, 4, 1, 2).reshape(groups, -1, rows * columns)
    kernels = weight.astype(np.float64).reshape(groups, len(weight) // groups, -1)
    return (kernels @ patches.astype(np.float64)).reshape(len(weight), rows, columns)


def windows(values, kernel, geometry):
    """Every window of a zero-padded feature map, shape (channels, rows, columns, *kernel)."""
    (top, left), (down, right) = geometry["padding"], geometry["stride"]
    between_rows, between_columns = geometry.get("dilation", (1, 1))  # of neighbouring taps
    reach = between_rows * (kernel[0] - 1) + 1, between_columns * (kernel[1] - 1) + 1
    padded = np.pad(values, ((0, 0), (top, top), (left, left)))
    every = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(1, 2))
    return every[:, ::down, ::right, ::between_rows, ::between_columns]
