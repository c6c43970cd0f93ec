"""Operations that move elements, and resampling."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.operations.geometry import (
    MAX_SIZE,
    Pad,
    axes_of,
    axis_of,
    require_samples_apart,
    torch_pads,
)
from toolchain.importers.onnx_format.operations.layers import FunctionModule
from toolchain.importers.onnx_format.values import Call, Live, Static, as_integers, as_scalar
from toolchain.shown_values import shown_text


def reshape(call: Call) -> nn.Module:
    target = _batched_target(call)
    return FunctionModule(lambda x: x.reshape(target))


def _batched_target(call: Call) -> list[int]:
    """Sizes of a reshape, with -1 for the batch."""
    x, value = call.live(), call.input(1)
    if not isinstance(value, Static):
        raise UnsupportedNetworkError("its shape depends on the network's input; use a constant")
    targets = []
    for array, shape in zip(value.arrays, x.shapes, strict=True):
        target = as_integers(array)
        if not call.integer("allowzero", 0):
            if any(size == 0 and i >= len(shape) for i, size in enumerate(target)):
                raise ModelFileError(
                    f"shape {target} copies a size that {list(shape)} does not have"
                )
            target = [shape[i] if size == 0 else size for i, size in enumerate(target)]
        if target and call.fixed_batch is not None and target[0] == call.fixed_batch != shape[0]:
            target[0] = shape[0]
        open_sizes, rest = target.count(-1), prod(size for size in target if size != -1)
        if open_sizes > 1 or any(size < -1 for size in target):
            raise ModelFileError(f"shape {target} is impossible")
        if open_sizes and rest and prod(shape) % rest == 0:
            target[target.index(-1)] = prod(shape) // rest
        if prod(target) != prod(shape):
            raise ModelFileError(
                f"values of shape {list(shape)[1:]} per sample cannot be reshaped to {as_integers(array)}"
            )
        targets.append(target)
    if len(targets[0]) != len(targets[1]):
        raise ModelFileError("its shape has another number of axes for another batch")
    result = [first if first == second else -1 for first, second in zip(*targets, strict=True)]
    if result.count(-1) != 1:
        raise UnsupportedNetworkError(
            f"it reshapes to {targets[0]}, which mixes samples; keep the batch as the first axis"
        )
    return result


def flatten(call: Call) -> nn.Module:
    rank = len(call.live().shape)
    axis = call.integer("axis", 1)
    if axis % max(rank, 1) != 1:
        raise UnsupportedNetworkError(
            f"it flattens from axis {axis}, which mixes samples or keeps axes apart; flatten from axis 1"
        )
    return nn.Flatten(1)


def transpose(call: Call) -> nn.Module:
    rank = len(call.live().shape)
    order = axes_of(call.integers("perm") or list(range(rank))[::-1], rank)
    if len(order) != rank:
        raise ModelFileError(f"perm {list(order)} does not fit {rank} axes")
    return FunctionModule(lambda x: x.permute(order))


def squeeze(call: Call) -> nn.Module:
    x = call.live()
    given = call.integers_of("axes", 1, 13)
    axes = axes_of(given, len(x.shape)) if given else [i for i, n in enumerate(x.shape) if n == 1]
    if any(x.shape[axis] != 1 for axis in axes):
        raise ModelFileError(
            f"axes {list(axes)} of {list(x.shape)[1:]} per sample are not of size 1"
        )
    return FunctionModule(lambda x: x.squeeze(tuple(axes)))


def unsqueeze(call: Call) -> nn.Module:
    given = call.integers_of("axes", 1, 13)
    if not given:
        raise ModelFileError("it has no axes")
    axes = sorted(axes_of(given, len(call.live().shape) + len(given)))

    def apply(x: Tensor) -> Tensor:
        for axis in axes:
            x = x.unsqueeze(axis)
        return x

    return FunctionModule(apply)


def concat(call: Call) -> nn.Module:
    ranks = [len(v.shape) if isinstance(v, Live) else call.required(i).ndim
             for i, v in enumerate(call.inputs)]  # fmt: skip
    return _Concat(axis_of(call.integer("axis", 1), ranks[0]), [
        None if isinstance(v, Live) else call.required(i) for i, v in enumerate(call.inputs)
    ])  # fmt: skip


class _Concat(nn.Module):
    """Concatenation; constants among the values are the same for all samples."""

    def __init__(self, axis: int, constants: list[np.ndarray | None]) -> None:
        super().__init__()
        self.axis = axis
        self.stored = [constant is not None for constant in constants]
        for index, constant in enumerate(constants):
            if constant is not None:
                values = torch.from_numpy(constant.astype(np.float64))
                self.register_buffer(f"constant{index}", values)

    def forward(self, *live: Tensor) -> Tensor:
        if not any(self.stored):
            return torch.cat(live, self.axis)
        values, parts = iter(live), []
        for index, stored in enumerate(self.stored):
            parts.append(self.get_buffer(f"constant{index}") if stored else next(values))
        size = live[0].shape[0]
        parts = [
            part.expand(size, *part.shape[1:]) if stored and self.axis else part
            for part, stored in zip(parts, self.stored, strict=True)
        ]
        return torch.cat(parts, self.axis)


def split(call: Call) -> nn.Module:
    x = call.live()
    axis = axis_of(call.integer("axis", 0), len(x.shape))
    sizes = call.integers_of("split", 1, 13)
    if sizes is None:
        parts = len(call.node.outputs)
        chunk = -(-x.shape[axis] // parts)
        sizes = [chunk] * (parts - 1) + [x.shape[axis] - chunk * (parts - 1)]
    if any(size < 0 for size in sizes) or sum(sizes) != x.shape[axis]:
        raise ModelFileError(f"parts of {sizes} do not add up to {x.shape[axis]}")
    if len(sizes) != len(call.node.outputs):
        raise ModelFileError(f"{len(sizes)} parts for {len(call.node.outputs)} results")
    return FunctionModule(lambda x: x.split(sizes, axis))


def slice_(call: Call) -> nn.Module:
    x = call.live()
    if call.opset < 10:
        starts, ends, axes = (call.integers(name) for name in ("starts", "ends", "axes"))
        steps = None
    else:
        starts, ends, axes, steps = (call.integers_at(index) for index in (1, 2, 3, 4))
    if starts is None or ends is None:
        raise ModelFileError("it has no starts or no ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ModelFileError("its starts, ends, axes and steps do not fit together")
    chosen = []
    for start, end, axis, step in zip(
        starts, ends, axes_of(axes, len(x.shape)), steps, strict=True
    ):
        size = x.shape[axis]
        if axis == 0 and range(size)[slice(start, end, step)] == range(size):
            continue
        require_samples_apart([axis], "Slice")
        chosen.append((axis, range(*slice(start, end, step).indices(size))))

    def apply(x: Tensor) -> Tensor:
        for axis, places in chosen:
            if places.step > 0:
                index: list[slice] = [slice(None)] * axis
                x = x[(*index, slice(places.start, places.stop, places.step))]
            else:
                last = places[-1] if len(places) else 0
                index = [slice(None)] * axis
                stop = places.start + 1 if len(places) else 0
                x = x.flip(axis)[
                    (*index, slice(x.shape[axis] - stop, x.shape[axis] - last, -places.step))
                ]
        return x

    return FunctionModule(apply)


def gather(call: Call) -> nn.Module:
    x, indices = call.live(), call.required(1)
    axis = axis_of(call.integer("axis", 0), len(x.shape))
    if indices.dtype.kind not in "iu" or indices.ndim > 1:
        raise UnsupportedNetworkError("it takes elements by a table of indices; use a list of them")
    size = x.shape[axis]
    if ((indices < -size) | (indices >= size)).any():
        raise ModelFileError(f"an index is not among the {size:,} elements of axis {axis}")
    places = (indices % size).astype(np.int64)
    if places.ndim == 0:
        return FunctionModule(lambda x: x.select(axis, int(places)))
    return _IndexSelect(axis, places)


class _IndexSelect(nn.Module):
    indices: Tensor

    def __init__(self, axis: int, indices: np.ndarray) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("indices", torch.from_numpy(indices))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.axis, self.indices)


def pad(call: Call) -> nn.Module | None:
    rank = len(call.live().shape)
    mode = call.text("mode", "constant")
    pads = call.integers_of("pads", 1, 11)
    if pads is None:
        pads = call.integers("paddings")
    axes = call.integers_at(3) if call.opset >= 18 else None
    if pads is None or len(pads) != 2 * (rank if axes is None else len(axes)):
        raise ModelFileError(f"its pads {pads} do not fit {rank} axes")
    if any(abs(size) >= MAX_SIZE for size in pads):
        raise ModelFileError("its pads are too large")
    named = list(range(rank)) if axes is None else list(axes_of(axes, rank))
    begin, end = [0] * rank, [0] * rank
    for place, axis in enumerate(named):
        begin[axis], end[axis] = pads[place], pads[place + len(named)]
    padded = [axis for axis in range(rank) if begin[axis] or end[axis]]
    if not padded:
        return None
    require_samples_apart(padded, "Pad")
    first = padded[0]
    filling = call.static(2) if call.opset >= 11 else None
    value = call.number("value", 0.0) if filling is None or not filling.size else as_scalar(filling)
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    if mode not in modes:
        raise ModelFileError(f"mode must be one of {', '.join(modes)}, not '{shown_text(mode)}'")
    if mode != "constant":
        first = 2
    return Pad(torch_pads(begin[first:], end[first:]), value, modes[mode])


def expand(call: Call) -> nn.Module:
    value = call.input(1)
    if not isinstance(value, Static):
        raise UnsupportedNetworkError("its shape depends on the network's input; use a constant")
    shapes = []
    for array, shape in zip(value.arrays, call.live().shapes, strict=True):
        target = as_integers(array)
        if any(not 0 < size < MAX_SIZE for size in target) or len(target) > 8:
            raise ModelFileError(f"shape {target} is impossible")
        shapes.append(np.broadcast_shapes(shape, tuple(target)))
    if shapes[0][0] == shapes[1][0] and len(shapes[0]) > len(call.live().shape):
        return FunctionModule(lambda x: x.expand(shapes[0]))
    return FunctionModule(lambda x: x.expand(-1, *shapes[0][1:]))


def depth_to_space(call: Call) -> nn.Module:
    size = call.integer("blocksize", 0)
    if not 0 < size < MAX_SIZE or len(call.live().shape) != 4:
        raise ModelFileError("it needs a positive blocksize, and four axes")
    if call.text("mode", "DCR") == "CRD":
        return nn.PixelShuffle(size)
    _, channels, height, width = call.live().shape
    depth = channels // size**2
    if depth * size**2 != channels:
        raise ModelFileError(f"{channels} channels are no multiple of {size} squared")

    def apply(x: Tensor) -> Tensor:
        blocks = x.reshape(-1, size, size, depth, height, width).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(-1, depth, height * size, width * size)

    return FunctionModule(apply)


def space_to_depth(call: Call) -> nn.Module:
    size = call.integer("blocksize", 0)
    if not 0 < size < MAX_SIZE or len(call.live().shape) != 4:
        raise ModelFileError("it needs a positive blocksize, and four axes")
    _, channels, height, width = call.live().shape
    if height % size or width % size:
        raise ModelFileError(f"{height}x{width} is no multiple of {size}")

    def apply(x: Tensor) -> Tensor:
        blocks = x.reshape(-1, channels, height // size, size, width // size, size)
        moved = blocks.permute(0, 3, 5, 1, 2, 4)
        return moved.reshape(-1, channels * size**2, height // size, width // size)

    return FunctionModule(apply)


def resize(call: Call) -> nn.Module | None:
    """Resize and Upsample, to the sizes or by the scales in the file."""
    x = call.live()
    spatial = x.shape[2:]
    scales_at, sizes_at = (1, 3) if call.node.operation == "Upsample" or call.opset < 11 else (2, 3)
    given = call.node.attributes.get("scales")
    scales = np.array(given, float) if given is not None else call.static(scales_at)
    sizes = _spatial_sizes(call, sizes_at)
    if (
        call.integers("axes") is not None
        or call.text("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        raise UnsupportedNetworkError("it resizes some axes only; give the size of all axes")
    if scales is not None and scales.size and sizes is None:
        factors = [float(s) for s in scales.reshape(-1)]
        if len(factors) != len(x.shape) or not all(0 < f < MAX_SIZE for f in factors):
            raise ModelFileError(f"scales {factors} do not fit {len(x.shape)} axes")
        if factors[:2] != [1.0, 1.0]:
            raise UnsupportedNetworkError("it resizes channels; resize height and width alone")
        target = [int(n * f) for n, f in zip(spatial, factors[2:], strict=True)]
    elif sizes is not None and len(sizes) == len(spatial):
        target = sizes
    else:
        raise ModelFileError("it has neither scales nor sizes for all axes")
    if not all(0 < n < MAX_SIZE for n in target) or len(target) not in (1, 2):
        raise ModelFileError(f"it resizes to the impossible size {target}")
    if list(spatial) == target:
        return None
    return FunctionModule(_interpolation(call, tuple(target), spatial))


def _spatial_sizes(call: Call, index: int) -> list[int] | None:
    """Sizes of the axes behind batch and channels, which stay as they are."""
    value = call.input(index)
    if not isinstance(value, Static) or not value.arrays[0].size:
        return None
    spatial = []
    for array, shape in zip(value.arrays, call.live().shapes, strict=True):
        batch, channels, *sizes = [*as_integers(array), 0, 0][: max(2, array.size)]
        if batch not in (shape[0], 1, call.fixed_batch) or channels != shape[1]:
            raise UnsupportedNetworkError(
                "it resizes the batch or channels; resize height and width alone"
            )
        spatial.append(sizes)
    if spatial[0] != spatial[1]:
        raise UnsupportedNetworkError("its sizes depend on the size of the batch; use constants")
    return spatial[0]


def _interpolation(
    call: Call, target: tuple[int, ...], spatial: tuple[int, ...]
) -> Callable[[Tensor], Tensor]:
    mode = call.text("mode", "nearest")
    old = call.node.operation == "Upsample" or call.opset < 11
    places = "asymmetric" if old else call.text("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else call.text("nearest_mode", "round_prefer_floor")
    whole = all(t % n == 0 for t, n in zip(target, spatial, strict=True))
    if mode == "nearest" and (
        (places == "asymmetric" and rounding == "floor")
        or (whole and places in ("half_pixel", "pytorch_half_pixel") and "round" in rounding)
    ):
        return lambda x: F.interpolate(x, target, mode="nearest")
    if mode == "linear" and places in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        kind = "bilinear" if len(target) == 2 else "linear"
        corners = places == "align_corners"
        return lambda x: F.interpolate(x, target, mode=kind, align_corners=corners)
    raise UnsupportedNetworkError(
        f"it resizes by {shown_text(mode)} with {shown_text(places)} and {shown_text(rounding)}; use nearest "
        f"with asymmetric places and floor, or linear with half_pixel"
    )


def tile(call: Call) -> nn.Module:
    repeats = call.integers_at(1)
    rank = len(call.live().shape)
    if repeats is None or len(repeats) != rank or not all(0 < r < MAX_SIZE for r in repeats):
        raise ModelFileError(f"repeats {repeats} do not fit {rank} axes")
    if repeats[0] != 1:
        require_samples_apart([0], "Tile")
    return FunctionModule(lambda x: x.repeat(*repeats))
