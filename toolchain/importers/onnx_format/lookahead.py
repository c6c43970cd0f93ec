"""What becomes of a value further on in a file, where reading it depends on that.

A ReLU in front of a quantizer, or behind one, is part of it: the levels of ours start at 0. A quantizer of
logits may be left out. So a reader must know what reads a value, also after its elements were moved.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np

from toolchain.errors import QacDeployError, UnsupportedNetworkError
from toolchain.importers.onnx_format.model_file import Node, OnnxModel
from toolchain.importers.onnx_format.operations.arithmetic import clip_bounds
from toolchain.importers.onnx_format.operations.table import MOVEMENTS
from toolchain.importers.onnx_format.quantization import (
    codes_of,
    counts_at,
    is_dequantize,
    is_qonnx,
    is_quantize,
)
from toolchain.importers.onnx_format.values import GRID_TOLERANCE, Call, Static

MAX_DEPTH = 100
"""Most operations in a row that are looked through."""

SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})

_KEEP_ORDER = SOFTMAXES | {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"}
"""Operations between a quantizer of logits and the output that keep the order of the logits."""


class Lookahead:
    """Answers about the readers of a value.

    Args:
        call_of: a node with the values that are known so far, constants among them.
    """

    def __init__(self, model: OnnxModel, call_of: Callable[[Node], Call]) -> None:
        self._readers = _readers_of(model.nodes)
        self._outputs = model.outputs
        self._call_of = call_of
        self._known: dict[tuple[object, ...], bool] = {}

    def is_absorbed(self, name: str, high: float) -> bool:
        """Whether quantizers alone read a value, which then clip it at 0 and at a bound themselves.

        Raises:
            UnsupportedNetworkError: the bound is another count in each channel of a quantizer.
        """
        absorbed = self._all_readers(
            name, lambda node, read: self._absorbs(node, read, high), ("absorbed", high)
        )
        if not absorbed:
            self._require_one_count(name, high)
        return absorbed

    def is_clipped(self, name: str) -> bool:
        """Whether nothing but ReLUs reads a value: a signed quantizer of it starts at 0 just as well."""
        return self._all_readers(name, self._clips, ("clipped",))

    def _require_one_count(self, name: str, high: float) -> None:
        """Refuse a bound that is another count in each channel of the quantizer behind it."""
        for node in self._readers.get(name, []):
            if not is_quantize(node) and not is_qonnx(node):
                continue
            try:
                counts = np.unique(counts_at(codes_of(self._call_of(node)), high))
            except QacDeployError:
                continue  # said with the name of that quantizer, when it is read
            if len(counts) > 1:
                raise UnsupportedNetworkError(
                    f"its upper bound of {high:g} is from {counts[0]:g} to {counts[-1]:g} steps of the "
                    f"channels of {node.name}, and a population has one T; use one scale for all channels, "
                    f"or put a ReLU in place of this clip and quantize again"
                )

    def upper_clip(self, name: str) -> float:
        """The bound at which all readers of a value clip it; infinity if there is none."""
        bound = self._first_bound(name)
        if bound < inf and self._all_readers(
            name, lambda node, read: self._clips_at(node, bound), ("clipped at", bound)
        ):
            return bound
        return inf

    def _first_bound(self, name: str) -> float:
        for _ in range(MAX_DEPTH):
            readers = self._readers.get(name, [])
            if not readers or readers[0].domain not in ("", "ai.onnx"):
                break
            if readers[0].operation not in MOVEMENTS:
                bounds = bounds_of_clip(self._call_of(readers[0]))
                return inf if bounds is None else bounds[1]
            name = next((o for o in readers[0].outputs if o in self._readers), "")
        return inf

    def way_out(self, name: str) -> tuple[str, list[Node]] | None:
        """The output that a tensor of logits becomes, and the operations until there, if nothing else does.

        None if something else reads it, or if the order of the logits changes on the way.
        """
        way: list[Node] = []
        while name not in self._outputs:
            readers = self._readers.get(name, [])
            if len(readers) != 1 or not _keeps_order(readers[0]) or len(way) == MAX_DEPTH:
                return None
            way.append(readers[0])
            name = readers[0].outputs[0]
        return None if self._readers.get(name) else (name, way)

    def _all_readers(
        self,
        name: str,
        decides: Callable[[Node, str], bool | None],
        question: tuple[object, ...],
        depth: int = 0,
    ) -> bool:
        """Whether all readers say so; those that say None pass the question on to their own readers."""
        key = (*question, name)
        if key not in self._known:
            readers = self._readers.get(name, [])
            self._known[key] = (
                bool(readers)
                and name not in self._outputs
                and depth < MAX_DEPTH
                and all(
                    all(
                        self._all_readers(output, decides, question, depth + 1)
                        for output in reader.outputs
                        if output in self._readers or output in self._outputs
                    )
                    if answer is None
                    else answer
                    for reader, answer in ((reader, decides(reader, name)) for reader in readers)
                )
            )
        return self._known[key]

    def _absorbs(self, node: Node, read: str, high: float, *, joined: bool = False) -> bool | None:
        """Whether a quantizer clips at the bound, or could be made to.

        Args:
            joined: whether other values, which the bound does not hold for, were joined to this one. A
                quantizer must then clip at or below the bound itself.
        """
        call = self._call_of(node)
        if node.inputs[0] == read and (is_quantize(node) or is_qonnx(node)):
            try:
                codes = codes_of(call)
                most = codes.scale.max() * (codes.high - codes.zero())
                clips_below = high >= most * (1 - GRID_TOLERANCE)
                one_count = not joined and len(np.unique(counts_at(codes, high))) == 1
                return codes.low <= codes.zero() and (clips_below or one_count)
            except QacDeployError:
                return False  # said with the name of that quantizer, when it is read
        if node.operation == "Concat" and node.domain in ("", "ai.onnx"):
            return self._all_readers(
                node.outputs[0],
                lambda later, name: self._absorbs(later, name, high, joined=True),
                ("absorbed with others", high),
            )
        moves = node.operation in MOVEMENTS or bounds_of_clip(call) is not None
        return None if moves and node.domain in ("", "ai.onnx") else False

    def _clips(self, node: Node, read: str) -> bool | None:
        return self._bounds_hold(node, lambda low, high: low >= 0)

    def _clips_at(self, node: Node, bound: float) -> bool | None:
        return self._bounds_hold(node, lambda low, high: low <= 0 and high == bound)

    def _bounds_hold(self, node: Node, holds: Callable[[float, float], bool]) -> bool | None:
        """Whether a node is a clip of which something holds; None if it moves values."""
        if node.domain not in ("", "ai.onnx"):
            return False
        if node.operation in MOVEMENTS:
            return None
        bounds = bounds_of_clip(self._call_of(node))
        return bounds is not None and holds(*bounds)


def _keeps_order(node: Node) -> bool:
    if node.domain in ("", "ai.onnx") and node.operation in _KEEP_ORDER:
        return True
    return is_quantize(node) or is_dequantize(node) or is_qonnx(node)


def bounds_of_clip(call: Call) -> tuple[float, float] | None:
    """Bounds of an operation that is a clip, else None."""
    match call.node.operation:
        case "Relu":
            return 0.0, inf
        case "Clip":
            return clip_bounds(call)
        case "Max" | "Min" if len(call.inputs) == 2:
            constants = [v for v in call.inputs if isinstance(v, Static) and v.is_constant]
            if len(constants) == 1 and constants[0].arrays[0].size == 1:
                bound = float(constants[0].arrays[0].reshape(-1)[0])
                return (bound, inf) if call.node.operation == "Max" else (-inf, bound)
    return None


def _readers_of(nodes: tuple[Node, ...]) -> dict[str, list[Node]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in dict.fromkeys(filter(None, node.inputs)):
            readers.setdefault(name, []).append(node)
    return readers
