"""Integer types of a target: how wide weights, thresholds, biases and membrane potentials are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LARGEST_VALUE = 2.0**53  # beyond every target, and an integer that int64 and doubles hold


@dataclass(frozen=True, kw_only=True)
class IntegerWidths:
    """Widths a target gives to each integer; all signed except the threshold.

    Attributes:
        weight_bits: width of a synaptic weight, sign included.
        max_exponent: largest per-synapse exponent x_e.
        state_bits: width of membrane potential and accumulator.
        threshold_mantissa_bits: a threshold is ``mantissa * 2**threshold_shift``.
        bias_mantissa_bits: a bias is ``mantissa * 2**exponent``, sign included in the mantissa.
        bias_exponent_bits: the exponent's width; it is unsigned.
        distinct_thresholds: most different thresholds per population, if the neurons of a core share
            them; None if each neuron has its own.
    """

    weight_bits: int
    max_exponent: int
    state_bits: int
    threshold_mantissa_bits: int
    threshold_shift: int
    bias_mantissa_bits: int
    bias_exponent_bits: int
    distinct_thresholds: int | None = None

    @property
    def max_weight(self) -> int:
        """Largest weight magnitude (the range is symmetric)."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def max_state(self) -> int:
        return (1 << (self.state_bits - 1)) - 1

    @property
    def max_threshold(self) -> int:
        return ((1 << self.threshold_mantissa_bits) - 1) << self.threshold_shift

    @property
    def max_bias(self) -> int:
        return self._max_bias_mantissa << ((1 << self.bias_exponent_bits) - 1)

    @property
    def _max_bias_mantissa(self) -> int:
        return (1 << (self.bias_mantissa_bits - 1)) - 1

    def nearest_threshold(self, values: np.ndarray) -> np.ndarray:
        """Nearest positive thresholds of that form, int64; they may exceed ``max_threshold``."""
        step = 1 << self.threshold_shift
        values = np.minimum(values, _LARGEST_VALUE)
        return np.maximum(np.floor(values / step + 0.5), 1).astype(np.int64) * step

    def nearest_bias(self, values: np.ndarray) -> np.ndarray:
        """Nearest biases of that form, int64; they may exceed ``max_bias``."""
        values = np.clip(values, -_LARGEST_VALUE, _LARGEST_VALUE)
        magnitude = np.floor(np.abs(values) + 0.5)
        exponent = np.ceil(np.log2(np.maximum(magnitude / self._max_bias_mantissa, 1)))
        step = 2.0**exponent
        return (np.sign(values) * np.floor(np.abs(values) / step + 0.5) * step).astype(np.int64)

    def allows_threshold(self, values: np.ndarray) -> np.ndarray:
        return (values <= self.max_threshold) & (self.nearest_threshold(values) == values)

    def allows_bias(self, values: np.ndarray) -> np.ndarray:
        return (np.abs(values) <= self.max_bias) & (self.nearest_bias(values) == values)
