"""How ONNX and QONNX write a quantized weight and a quantizer.

An activation has the scale 1: its values are spike counts. The real threshold is an operation in front of the
quantizer, so it may differ between channels, and no weight has to undo it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from deploy.backends.onnx_format.graph import GraphWriter
from toolchain.networks.integer_network import IntegerNetwork

QONNX_DOMAIN = "qonnx.custom_op.general"


class Dialect(Protocol):
    """A way to write what ONNX has no single operator for.

    Attributes:
        divides: whether a real threshold is a division, or else a multiplication by its reciprocal.
        batch: size of the batch, or the name of an open size.
        opsets: version of each domain of operators.
    """

    divides: bool
    batch: int | str
    opsets: dict[str, int]

    def weight(self, writer: GraphWriter, integers: np.ndarray, scale: float, name: str) -> str:
        """Add ``scale * integers``, int8 times a power of two, as a tensor."""

    def dense(
        self, writer: GraphWriter, values: str, integers: np.ndarray, scale: float, name: str
    ) -> str:
        """Add the product of flat values with a weight ``(out, in)``, as of ``weight``."""

    def quantizer(self, writer: GraphWriter, values: str, timesteps: int, name: str) -> str:
        """Add ``clip(round(values), 0, timesteps)``; the node that rounds is named ``name``."""


class Qcdq:
    """QuantizeLinear, Clip and DequantizeLinear of the standard domain.

    onnxruntime fuses such nodes, by default, with the operators between them. MatMul with an int8 weight then
    rounds its inputs to other integers (MatMulNBits), or adds products in 16 bits on some processors
    (QLinearMatMul, QGemm, QLinearConv). It leaves Gemm with a float bias alone, and what is not directly in
    front of a quantizer. So a dense map is such a Gemm, and an addition or division is in front of every
    quantizer.
    """

    divides = True
    batch: int | str = "batch"

    def __init__(self, network: IntegerNetwork) -> None:
        most = max((p.timesteps for p in network.spiking), default=1)
        self.opsets = {"": 17 if most <= 255 else 21}  # opset 21 adds 16-bit quantizers

    def weight(self, writer: GraphWriter, integers: np.ndarray, scale: float, name: str) -> str:
        stored = writer.constant(integers.astype(np.int8), f"{name}_int8")
        factor = writer.scalar(scale, f"{name}_scale")
        zero = writer.scalar(0, "zero_int8", np.int8)
        return writer.node("DequantizeLinear", [stored, factor, zero], name)

    def dense(
        self, writer: GraphWriter, values: str, integers: np.ndarray, scale: float, name: str
    ) -> str:
        weight = self.weight(writer, integers, scale, f"{name}_weight")
        no_bias = writer.constant(np.zeros(len(integers), np.float32), f"{name}_no_bias")
        return writer.node("Gemm", [values, weight, no_bias], f"{name}_dense", transB=1)

    def quantizer(self, writer: GraphWriter, values: str, timesteps: int, name: str) -> str:
        one = writer.scalar(1, "one")
        if timesteps <= 255:
            zero = writer.scalar(0, "zero_uint8", np.uint8)
            most = writer.scalar(timesteps, f"most_{timesteps}", np.uint8)
            counts = writer.node("QuantizeLinear", [values, one, zero], name)
            clipped = writer.node("Clip", [counts, zero, most], f"{name}_clipped")
            return writer.node("DequantizeLinear", [clipped, one, zero], f"{name}_counts")
        # onnxruntime clips no 16-bit integers, and by default quantizes anew what was dequantized from 32
        zero = writer.scalar(0, "zero_uint16", np.uint16)
        counts = writer.node("QuantizeLinear", [values, one, zero], name)
        values = writer.node("DequantizeLinear", [counts, one, zero], f"{name}_values")
        bounds = [writer.scalar(v, f"bound_{v}") for v in (0, timesteps)]
        return writer.node("Clip", [values, *bounds], f"{name}_counts")


class Qonnx:
    """Quant nodes, which FINN and hls4ml read; each T must be ``2^b - 1``.

    FINN needs a fixed batch, a multiplication that it can absorb, a ReLU in front of an unsigned quantizer,
    and MatMul.
    """

    divides = False
    batch: int | str = 1
    opsets = {"": 13, QONNX_DOMAIN: 1}  # noqa: RUF012

    def weight(self, writer: GraphWriter, integers: np.ndarray, scale: float, name: str) -> str:
        largest = int(np.abs(integers.astype(np.int64)).max(initial=1))
        values = integers.astype(np.float32) * np.float32(scale)
        return self._quant(
            writer,
            writer.constant(values, f"{name}_values"),
            scale,
            bits=max(2, largest.bit_length() + 1),
            name=name,
            signed=1,
            narrow=1,
        )

    def dense(
        self, writer: GraphWriter, values: str, integers: np.ndarray, scale: float, name: str
    ) -> str:
        weight = self.weight(writer, integers.T, scale, f"{name}_weight")
        return writer.node("MatMul", [values, weight], f"{name}_dense")

    def quantizer(self, writer: GraphWriter, values: str, timesteps: int, name: str) -> str:
        bits = timesteps.bit_length()
        assert timesteps == 2**bits - 1, name
        return self._quant(writer, values, 1, bits=bits, name=name, signed=0, narrow=0)

    def _quant(
        self,
        writer: GraphWriter,
        values: str,
        scale: float,
        *,
        bits: int,
        name: str,
        signed: int,
        narrow: int,
    ) -> str:
        inputs = [
            values,
            writer.scalar(scale, f"{name}_scale"),
            writer.scalar(0, "zero"),
            writer.scalar(bits, f"bits_{bits}"),
        ]
        return writer.node(
            "Quant",
            inputs,
            name,
            QONNX_DOMAIN,
            signed=signed,
            narrow=narrow,
            rounding_mode="ROUND",
        )
