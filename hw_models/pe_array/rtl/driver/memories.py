"""Arrays as the words that the RTL's ports read and write, and the text files that hold them.

Lanes beyond a tail are filled with ones, so that a lane that is not masked shows in the results.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hw_models.pe_array.loop_nest import Tiling
from toolchain.errors import RtlError

_WORDS_AT_ONCE = 4096  # bounds memory: every bit of a word takes a byte for a moment


def weight_words(weight: np.ndarray, tiling: Tiling) -> np.ndarray:
    """Weights ``(groups, C_o, C_i, K_h, K_w)`` as words ``(n, M * V)``, in loop order."""
    m, v = tiling.output_channels, tiling.input_channels
    padded = _pad_axis(_pad_axis(weight, 1, m), 2, v)
    groups, _, _, *kernel = padded.shape
    tiled = padded.reshape(groups, -1, m, padded.shape[2] // v, v, *kernel)
    return tiled.transpose(0, 1, 5, 6, 3, 2, 4).reshape(-1, m * v)


def operand_words(operands: np.ndarray, tiling: Tiling) -> np.ndarray:
    """Operands ``(frames, groups * C_i, H_i, W_i)`` as words ``(n, V)``."""
    tiled = _in_tiles(operands, tiling.nest.groups, tiling.input_channels)
    return tiled.transpose(0, 1, 4, 5, 2, 3).reshape(-1, tiling.input_channels)


def neuron_words(values: np.ndarray, tiling: Tiling) -> np.ndarray:
    """Values ``(frames, groups * C_o, H_o, W_o)`` of neurons as words ``(n, M)``."""
    tiled = _in_tiles(values, tiling.nest.groups, tiling.output_channels)
    return tiled.transpose(0, 4, 5, 1, 2, 3).reshape(-1, tiling.output_channels)


def neuron_values(words: np.ndarray, tiling: Tiling, frames: int) -> np.ndarray:
    """The inverse of ``neuron_words``, without the lanes beyond a tail."""
    nest, m = tiling.nest, tiling.output_channels
    tiled = words.reshape(
        frames, nest.rows, nest.columns, nest.groups, tiling.num_channel_tiles, m
    ).transpose(0, 3, 4, 5, 1, 2)
    padded = tiled.reshape(frames, nest.groups, -1, nest.rows, nest.columns)
    shape = (frames, nest.groups * nest.output_channels, nest.rows, nest.columns)
    return padded[:, :, : nest.output_channels].reshape(shape)


def save_words(path: Path, words: np.ndarray, bits: int) -> None:
    """Write words ``(n, lanes)``, one per line in hexadecimal, lane 0 in the lowest bits.

    The file ends with a newline, as Verilator 5.006 would otherwise drop the last word.

    Args:
        bits: width of one lane.
    """
    num_bits = words.shape[1] * bits
    num_digits = -(-num_bits // 4)
    places = np.arange(bits)
    with path.open("w") as file:
        for start in range(0, len(words), _WORDS_AT_ONCE):
            chunk = words[start : start + _WORDS_AT_ONCE].astype(np.int64)
            lowest_first = (chunk[..., None] >> places & 1).astype(np.uint8).reshape(len(chunk), -1)
            padded = np.zeros((len(chunk), -(-num_digits // 2) * 8), np.uint8)
            padded[:, padded.shape[1] - num_bits :] = lowest_first[:, ::-1]
            for packed in np.packbits(padded, axis=1):
                file.write(packed.tobytes().hex()[-num_digits:] + "\n")


def load_words(path: Path, lanes: int, bits: int) -> np.ndarray:
    """Read signed integers ``(n, lanes)`` from a file that a simulator wrote.

    Raises:
        RtlError: a word was never written, or is damaged.
    """
    lines = word_lines(path)
    num_digits = -(-lanes * bits // 4)
    text = "".join(line.zfill(-(-num_digits // 2) * 2) for line in lines)
    try:
        packed = np.frombuffer(bytes.fromhex(text), np.uint8).reshape(len(lines), -1)
    except ValueError as error:
        raise RtlError(
            f"{path.name}: the simulation has left a word undefined ({error})"
        ) from error
    highest_first = np.unpackbits(packed, axis=1)[:, -lanes * bits :]
    by_lane = highest_first[:, ::-1].reshape(len(lines), lanes, bits).astype(np.int64)
    values = by_lane @ (1 << np.arange(bits))
    return values - (by_lane[..., -1] << bits)


def word_lines(path: Path) -> list[str]:
    """Lines of a memory file, without the comments that some simulators write."""
    return [line for line in path.read_text().split("\n") if line and not line.startswith("//")]


def require_width(what: str, values: np.ndarray, bits: int, *, signed: bool) -> None:
    """Check that values fit a width.

    Raises:
        RtlError: a value does not fit; names the value, the limit and the remedy.
    """
    if values.size == 0:
        return
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    smallest, largest = int(values.min()), int(values.max())
    if smallest < low or largest > high:
        wrong = smallest if smallest < low else largest
        raise RtlError(
            f"{what} {wrong:,} does not fit the array's {bits} bits ({low:,} to {high:,}); use an array "
            "with wider words"
        )


def _in_tiles(values: np.ndarray, groups: int, lanes: int) -> np.ndarray:
    """From ``(frames, channels, H, W)`` to ``(frames, groups, channel tiles, lanes, H, W)``."""
    frames, _, *size = values.shape
    padded = _pad_axis(values.reshape(frames, groups, -1, *size), 2, lanes)
    return padded.reshape(frames, groups, -1, lanes, *size)


def _pad_axis(values: np.ndarray, axis: int, multiple: int) -> np.ndarray:
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, -values.shape[axis] % multiple)
    return np.pad(values, widths, constant_values=-1)
