"""Small ONNX files for tests, built node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

FLOAT = TensorProto.FLOAT


class Builder:
    """Adds nodes one after the other; ``current`` is the tensor that the next one reads first."""

    def __init__(
        self, shape: Sequence[int | str | None] = ("batch", 1, 6, 6), opset: int = 17, seed: int = 0
    ) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.shape, self.opset, self.current = list(shape), opset, "x"
        self.domains: dict[str, int] = {}
        self.random = np.random.default_rng(seed)

    def constant(self, array: Any, dtype: Any = None, name: str | None = None) -> str:
        array = np.asarray(array, dtype)
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def weights(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self.random.standard_normal(shape)).astype(np.float32)

    def node(
        self,
        operation: str,
        *inputs: str,
        name: str | None = None,
        outputs: int = 1,
        domain: str = "",
        reads: str | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node that reads ``reads`` (else the current tensor) first; returns its first result."""
        name = name or f"{operation.lower()}{len(self.nodes)}"
        results = [name if i == 0 else f"{name}_{i}" for i in range(outputs)]
        first = self.current if reads is None else reads
        self.nodes.append(
            helper.make_node(
                operation,
                [first, *inputs],
                results,
                name=f"node_{name}",
                domain=domain,
                **attributes,
            )
        )
        self.current = results[0]
        return self.current

    def conv(self, inputs: int, outputs: int, kernel: int = 3, **attributes: Any) -> str:
        weight = self.constant(self.weights(outputs, inputs, kernel, kernel, scale=0.4))
        bias = self.constant(self.weights(outputs, scale=0.1))
        attributes.setdefault("pads", [kernel // 2] * 4)
        return self.node("Conv", weight, bias, **attributes)

    def qcdq(
        self,
        scale: Any,
        clip: int | None = None,
        *,
        dtype: Any = np.uint8,
        zero: int = 0,
        name: str | None = None,
        **attributes: Any,
    ) -> str:
        """Quantize, clip if there is one, and dequantize the current tensor."""
        scale_name = self.constant(scale, np.float32)
        count = np.size(scale)
        zeros = self.constant(zero if count == 1 else [zero] * count, dtype)
        self.node("QuantizeLinear", scale_name, zeros, name=name, **attributes)
        if clip is not None:
            low, high = self.constant(zero, dtype), self.constant(clip, dtype)
            self.node("Clip", low, high)
        return self.node("DequantizeLinear", scale_name, zeros, **attributes)

    def quant(
        self,
        scale: Any,
        bits: float,
        *,
        signed: int = 0,
        narrow: int = 0,
        zero: float = 0.0,
        rounding: str = "ROUND",
        operation: str = "Quant",
        domain: str = "qonnx.custom_op.general",
        name: str | None = None,
    ) -> str:
        """A QONNX quantizer of the current tensor."""
        self.domains[domain] = 1
        given = (self.constant(value, np.float32) for value in (scale, zero, bits))
        return self.node(
            operation,
            *given,
            name=name,
            domain=domain,
            signed=signed,
            narrow=narrow,
            rounding_mode=rounding,
        )

    def head(self, features: int, classes: int = 3) -> str:
        self.node("Flatten", axis=1)
        weight = self.constant(self.weights(classes, features, scale=0.2))
        bias = self.constant(self.weights(classes, scale=0.1))
        return self.node("Gemm", weight, bias, transB=1, name="logits")

    def model(self, *outputs: str, elem_type: int = FLOAT) -> ModelProto:
        outputs = outputs or (self.current,)
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", elem_type, self.shape)],
            [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=8 if self.opset < 20 else 10
        )

    def save(self, folder: Path, *outputs: str) -> Path:
        path = folder / "network.onnx"
        save(self.model(*outputs), path)
        return path


def joined_and_pooled(quantize):
    """A network with a join and a pool; ``quantize(builder, scale, name)`` adds each of its quantizers."""
    n = Builder()
    n.conv(1, 2)
    n.node("Relu")
    first = quantize(n, 0.11, "a")
    n.conv(2, 2)
    quantize(n, 0.07, "b")
    n.node("Add", first)
    quantize(n, 0.13, "c")
    n.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], name="pool")
    n.head(18)
    return n
