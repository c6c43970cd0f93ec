"""A graph of ONNX nodes, written in order, with names that are unique."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

LARGEST_FILE_BYTES = 2**31 - 1
"""Limit of an ONNX file: protobuf takes no more in one message."""


class GraphWriter:
    """Nodes and constants of a graph. Each method returns the name of the tensor that it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.num_bytes = 0
        self._taken: set[str] = set()
        self._known: dict[tuple[bytes, str, tuple[int, ...]], str] = {}

    def unused(self, name: str) -> str:
        """The name, with a number if it is taken; it is taken from then on. ONNX takes no empty name."""
        name = name.encode("utf-8", "replace").decode() or "_"
        numbered = (name if number == 1 else f"{name}_{number}" for number in count(1))
        unused = next(candidate for candidate in numbered if candidate not in self._taken)
        self._taken.add(unused)
        return unused

    def node(
        self,
        operation: str,
        inputs: Sequence[str],
        name: str,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node with one output, which has the name of the node."""
        result = self.unused(name)
        self.nodes.append(
            helper.make_node(operation, inputs, [result], result, domain=domain, **attributes)
        )
        return result

    def rename_last(self, name: str) -> str:
        """Give the last node and its output another name."""
        node = self.nodes[-1]
        node.name = node.output[0] = self.unused(name)
        return node.name

    def constant(self, values: np.ndarray, name: str) -> str:
        """Add an array. Small equal arrays are stored once."""
        key = values.tobytes() if values.size <= 16 else b"", str(values.dtype), values.shape
        if key[0] and key in self._known:
            return self._known[key]
        result = self.unused(name)
        self._known[key] = result
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), result))
        self.num_bytes += values.nbytes
        return result

    def scalar(self, value: float, name: str, dtype: Any = np.float32) -> str:
        return self.constant(np.array(value, dtype), name)
