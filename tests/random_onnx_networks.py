"""Small ONNX networks of random layers and quantizers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from onnx_networks import Builder


def random_network(seed: int) -> Builder:
    """A network with one to four layers, each with a quantizer, and a dense layer at the end."""
    return _Random(seed).network


class _Random:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.of_qonnx = self.chance.random() < 0.4
        opset = self.chance.choice([13, 17, 20] if self.of_qonnx else [10, 11, 13, 17, 18, 21])
        self.channels, self.size = self.chance.choice([1, 3]), 8
        self.network = Builder(("batch", self.channels, 8, 8), opset, seed)
        self.earlier: list[tuple[str, int, int]] = []  # quantized values, their channels and size
        layers = (self._conv, self._conv, self._depthwise, self._max_pool, self._average_pool, self._sum,
                  self._joined, self._batch_norm, self._turned)  # fmt: skip
        for index in range(self.chance.randint(1, 4)):
            (self._conv if index == 0 else self.chance.choice(layers))()
            if self.chance.random() < 0.3:
                self.network.node("Relu")
            self._quantize()
            self.earlier.append((self.network.current, self.channels, self.size))
        self.network.head(self.channels * self.size**2)

    def _conv(self) -> None:
        outputs = self.chance.choice([2, 4])
        self.network.conv(self.channels, outputs, self.chance.choice([1, 3]))
        self.channels = outputs

    def _depthwise(self) -> None:
        self.network.conv(1, self.channels, group=self.channels)

    def _max_pool(self) -> None:
        self._halved("MaxPool")

    def _average_pool(self) -> None:
        self._halved("AveragePool")

    def _halved(self, operation: str) -> None:
        if self.size >= 4:
            self.network.node(operation, kernel_shape=[2, 2], strides=[2, 2])
            self.size //= 2

    def _sum(self) -> None:
        fitting = [name for name, *shape in self.earlier if shape == [self.channels, self.size]]
        if fitting:
            self.network.node("Add", self.chance.choice(fitting))

    def _joined(self) -> None:
        fitting = [(name, channels) for name, channels, size in self.earlier if size == self.size]
        if fitting:
            name, channels = self.chance.choice(fitting)
            self.network.node("Concat", name, axis=1)
            self.channels += channels

    def _batch_norm(self) -> None:
        n, count = self.network, self.channels
        arrays = [
            n.weights(count),
            n.weights(count),
            n.weights(count),
            np.abs(n.weights(count)) + 0.1,
        ]
        n.node("BatchNormalization", *(n.constant(array, np.float32) for array in arrays))

    def _turned(self) -> None:
        self.network.node("Transpose", perm=[0, 2, 3, 1])
        self.network.node("Transpose", perm=[0, 3, 1, 2])

    def _quantize(self) -> None:
        n, scale = self.network, self.chance.choice([0.05, 0.1, 0.2, 0.37])
        if self.of_qonnx:
            rounding = self.chance.choice(["ROUND", "ROUND", "FLOOR", "HALF_UP"])
            n.quant(scale, self.chance.choice([1, 2, 3, 4, 8]), rounding=rounding)
            return
        options: dict[str, Any] = {}
        scales: Any = scale
        zero = self.chance.choice([0, 0, 0, 128])
        if zero:
            n.node("Relu")
        if n.opset >= 13 and self.chance.random() < 0.2:
            scales = [self.chance.choice([0.05, 0.1, 0.3]) for _ in range(self.channels)]
            options["axis"] = 1
        elif n.opset >= 11 and self.chance.random() < 0.2:
            bound = self.chance.choice([0.5, 1.0, 3.3])
            n.node("Clip", n.constant(0, np.float32), n.constant(bound, np.float32))
        clip = self.chance.choice([None, 1, 3, 7, 20]) if n.opset >= 12 else None
        n.qcdq(scales, None if clip is None else zero + clip, zero=zero, **options)
