"""From the nodes of an ONNX file to a module of PyTorch with our quantizers in the place of the file's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from torch import nn

from toolchain.errors import ModelFileError, QacDeployError, UnsupportedNetworkError
from toolchain.importers.onnx_format.lookahead import SOFTMAXES, Lookahead, bounds_of_clip
from toolchain.importers.onnx_format.model_file import Node, OnnxModel
from toolchain.importers.onnx_format.names import shown
from toolchain.importers.onnx_format.network import OnnxNetwork, ReadGraph
from toolchain.importers.onnx_format.operations.arithmetic import clamp_of, facts_after
from toolchain.importers.onnx_format.operations.constants import FOLDS, MAX_ELEMENTS
from toolchain.importers.onnx_format.operations.table import (
    AVERAGES,
    MOVEMENTS,
    OF_PIXELS,
    OPERATIONS,
    refusal,
)
from toolchain.importers.onnx_format.quantization import (
    Codes,
    codes_of,
    dequantized_constant,
    fake_quantized_constant,
    is_dequantize,
    is_qonnx,
    is_quantize,
    quantized_constant,
)
from toolchain.importers.onnx_format.quantizer_steps import (
    Clipped,
    OpenQuantizer,
    QuantizerError,
    QuantizerSteps,
    is_on_grid,
    levels_of,
)
from toolchain.importers.onnx_format.shapes import shapes_of
from toolchain.importers.onnx_format.values import (
    BATCHES,
    GRID_TOLERANCE,
    Call,
    Facts,
    Live,
    Static,
    Value,
)
from toolchain.shown_values import first_line

MAX_VALUES = 2**25
"""Most elements of one value of one sample."""

MAX_ALL_VALUES = 2**29
"""Most elements of all values of one sample together."""

MAX_PRODUCTS = 2**36
"""Most products of weights and values for one sample; the largest networks in use need a quarter of it."""


def read_graph(model: OnnxModel, sample_shape: Sequence[int], facts: Facts) -> ReadGraph:
    """Read all nodes.

    Args:
        sample_shape: of the input, without the batch.
        facts: what is known of the input.

    Raises:
        ModelFileError, UnsupportedNetworkError: naming the node that is damaged or cannot be taken.
    """
    return _Reader(model, tuple(sample_shape), facts).read()


class _Reader:
    def __init__(self, model: OnnxModel, sample_shape: tuple[int, ...], facts: Facts) -> None:
        self.model = model
        self.ahead = Lookahead(model, self._call)
        self.result = ReadGraph(OnnxNetwork())
        self.values: dict[str, Value] = {
            name: Static.constant(array) for name, array in model.initializers.items()
        }
        self.steps = QuantizerSteps(self.result)
        self.elements_left, self.products_left = MAX_ALL_VALUES, MAX_PRODUCTS
        self.constants_left = 2 * MAX_ELEMENTS
        self.logits: dict[str, Live] = {}  # what is returned in place of an output
        self.unquantized: Node | None = None  # first ReLU or clip that is no part of a quantizer
        self.skipped: set[int] = set()  # nodes between these and the outputs
        self.softmaxes = {node.outputs[0] for node in model.nodes if node.operation in SOFTMAXES}
        self.result.network.taken = model.input.name
        shapes = tuple((batch, *sample_shape) for batch in BATCHES)
        self._require_size(shapes[0])
        self.input = Live(name=model.input.name, shapes=(shapes[0], shapes[1]), facts=facts)

    def read(self) -> ReadGraph:
        for node in self.model.nodes:  # constants first: a clip asks what its quantizer is
            if all(name in self.values for name in filter(None, node.inputs)):
                self._guarded(node, self._fold)
        self.values[self.model.input.name] = self.input
        for node in self.model.nodes:
            if id(node) not in self.skipped and any(
                name not in self.values for name in filter(None, node.outputs)
            ):
                self._guarded(node, self._read)
        if self.result.observed and self.unquantized is not None:
            raise UnsupportedNetworkError(
                f"{self.unquantized.name}: '{self.unquantized.operation}' has no quantizer, though others "
                f"have; quantize its result as well, wherever it is read"
            )
        for name in self.model.outputs:
            value = self.logits.get(name, self.values.get(name))
            if not isinstance(value, Live):
                raise UnsupportedNetworkError(
                    f"output '{shown(name)}' does not depend on the network's input; remove it"
                )
            value = self.steps.settled(value)
            path = shown(name).replace(".", "_")
            while path in self.result.network.returned:
                path += "_"
            self.result.network.returned[path] = value.name
            self.result.logits.append(value.name if name in self.logits else name)
        self.result.network.finish()
        return self.result

    def _guarded(self, node: Node, work: Any) -> None:
        """Read one node; whatever is wrong with it is said with its name."""
        try:
            work(self._call(node))
        except QuantizerError as error:
            raise UnsupportedNetworkError(f"{error.node}: {error}") from None
        except QacDeployError as error:
            raise type(error)(f"{node.name}: {error}") from None
        except Exception as error:  # torch and NumPy raise many types on impossible shapes
            reason = first_line(error)
            raise ModelFileError(
                f"{node.name}: '{shown(node.operation)}' cannot be computed ({shown(reason)}); export the "
                f"network again"
            ) from error

    def _call(self, node: Node) -> Call:
        inputs = tuple(self.values.get(name) if name else None for name in node.inputs)
        declared = self.model.input.sizes
        return Call(
            node=node,
            opset=self.model.opset,
            inputs=inputs,
            fixed_batch=declared[0] if declared else None,
        )

    def _fold(self, call: Call) -> None:
        node = call.node
        given = [value for value in call.inputs if isinstance(value, Static)]
        results = []
        for batch, _ in enumerate(BATCHES):
            if batch and all(value.is_constant for value in given):
                break
            results.append(self._folded(call, [value.arrays[batch] for value in given]))
        for name, first, second in zip(node.outputs, results[0], results[-1], strict=False):
            if name:
                self.constants_left -= first.size
                if self.constants_left < 0:
                    raise ModelFileError("all computed constants together are too large")
                self.values[name] = Static(arrays=(first, second))

    def _folded(self, call: Call, given: list[np.ndarray]) -> list[np.ndarray]:
        node = call.node
        if is_quantize(node):
            return [quantized_constant(call, given[0])]
        if is_dequantize(node):
            return [dequantized_constant(call, given[0])]
        if is_qonnx(node):
            return [fake_quantized_constant(call, given[0])]
        if node.domain not in ("", "ai.onnx") or node.operation not in FOLDS:
            if node.operation in OPERATIONS:
                raise UnsupportedNetworkError(
                    f"'{shown(node.operation)}' of constants alone is not read; store its result"
                )
            raise refusal(shown(node.operation), shown(node.domain))
        with np.errstate(all="ignore"):
            result = FOLDS[node.operation](call, given)
        return result if isinstance(result, list) else [result]

    def _read(self, call: Call) -> None:
        node = call.node
        if not any(isinstance(value, Live) for value in call.inputs):
            self._fold(call)
        elif node.operation == "Shape" and node.domain in ("", "ai.onnx"):
            self._shape(call)
        elif is_quantize(node):
            self.values[node.outputs[0]] = self.steps.quantize(call.live(), codes_of(call), node)
        elif is_dequantize(node):
            self._dequantize(call)
        elif is_qonnx(node):
            self._quant(call)
        elif node.domain not in ("", "ai.onnx"):
            raise refusal(shown(node.operation), shown(node.domain))
        elif (bounds := bounds_of_clip(call)) is not None:
            self._clip(call, *bounds)
        elif node.operation in OPERATIONS:
            self._operation(call)
        else:
            raise refusal(shown(node.operation), shown(node.domain))

    def _shape(self, call: Call) -> None:
        start, end = call.integer("start", 0), call.node.attributes.get("end")
        stop = end if isinstance(end, int) else None
        first, second = (np.array(s[start:stop], np.int64) for s in call.live().shapes)
        self.values[call.node.outputs[0]] = Static(arrays=(first, second))

    def _dequantize(self, call: Call) -> None:
        value, codes, name = call.live(), codes_of(call), call.node.outputs[0]
        if value.codes is None:
            raise UnsupportedNetworkError(
                "it dequantizes values that are no integers of a quantizer"
            )
        if not codes.same_as(value.codes):
            raise UnsupportedNetworkError(
                "its scale or zero point is not that of the quantizer that it reads; use one for both"
            )
        clipped = self.ahead.is_clipped(name)
        if (
            isinstance(value, OpenQuantizer)
            and not clipped
            and self._left_out(value.node, value.source, value.codes, name)
        ):
            return
        if isinstance(value, OpenQuantizer):
            value = self._with_clips_behind(value, name)
        settled = self.steps.settled(value, observed=name)
        self.values[name] = replace(settled, codes=None)

    def _quant(self, call: Call) -> None:
        source, codes, name = call.live(), codes_of(call), call.node.outputs[0]
        if not self.ahead.is_clipped(name) and self._left_out(call.node, source, codes, name):
            return
        quantized = self.steps.quantize(source, codes, call.node)
        quantized = self._with_clips_behind(quantized, name)
        self.values[name] = replace(self.steps.settled(quantized, observed=name), codes=None)

    def _with_clips_behind(self, value: OpenQuantizer, name: str) -> OpenQuantizer:
        """A quantizer with the clips of its real values, which are a tensor of the file, as part of it."""
        if self.ahead.is_clipped(name):
            value = self.steps.from_zero(value)
        return self.steps.up_to(value, self.ahead.upper_clip(name))

    def _left_out(self, node: Node, source: Live, codes: Codes, name: str) -> bool:
        """Leave out a quantizer of logits that are signed or had a softmax; only the output reads it."""
        if source.facts.of_pixels:
            return False
        refusal_of_levels = None
        try:
            if not is_on_grid(source.facts.grid, codes):
                levels_of(codes, source.facts)
        except UnsupportedNetworkError as error:
            refusal_of_levels = error
        way = self.ahead.way_out(name)
        if refusal_of_levels is None and (way is None or source.name not in self.softmaxes):
            return False
        if way is None:
            raise QuantizerError(str(refusal_of_levels), node.name)
        output, behind = way
        self.logits[output] = self.steps.settled(source)
        self.skipped.update(id(later) for later in behind)
        left = "quantizes the logits; it was left out"
        if any(later.operation in SOFTMAXES for later in behind):
            left += ", with the softmax behind it"
        self.result.notes.append(f"{node.name}: {left}")
        return True

    def _clip(self, call: Call, low: float, high: float) -> None:
        value, name = call.live(), call.node.outputs[0]
        if value.codes is not None:
            self.values[name] = self.steps.narrowed(value, Clipped(low=low, high=high), name)
            return
        facts = value.facts
        if facts.low >= 0:
            low = max(low, 0.0)
        slack = 0.0 if facts.grid is None else GRID_TOLERANCE  # its step is stored in float32
        if low <= facts.low and facts.high * (1 - slack) <= high:  # it changes nothing
            self.values[name] = value
            return
        bounded = Facts(low=max(low, facts.low), high=min(high, facts.high))
        if low == 0 and self.ahead.is_absorbed(name, high):  # its quantizers clip at 0 themselves
            self.values[name] = replace(value, facts=bounded)
            return
        if self.result.observed and facts.grid is not None and low <= 0 <= facts.low:
            self.values[name] = self.steps.clipped(value, facts.grid, high, call.node)
            return
        self.unquantized = self.unquantized or call.node
        self._add(call, clamp_of(low, high), bounded)

    def _operation(self, call: Call) -> None:
        operation = call.node.operation
        live = [value for value in call.inputs if isinstance(value, Live)]
        kept = operation in MOVEMENTS
        if operation == "Concat":
            kept = len(live) == len(call.inputs) and len({v.facts.grid for v in live}) == 1
        codes = live[0].codes
        if any(value.codes is not None for value in live):
            if not kept or any(
                v.codes is None or codes is None or not codes.same_as(v.codes) for v in live
            ):
                raise UnsupportedNetworkError(
                    "it computes with the integers of a quantizer; put DequantizeLinear in front of it"
                )
            if not codes.is_uniform:
                raise UnsupportedNetworkError(
                    "it moves integers that have one scale per channel; put DequantizeLinear in front of it"
                )
            live = [self.steps.settled(value) for value in live]
            settled = iter(live)
            call = replace(
                call,
                inputs=tuple(next(settled) if isinstance(v, Live) else v for v in call.inputs),
            )
        module = OPERATIONS[operation](call)
        facts = [value.facts for value in live]
        low, high = min(f.low for f in facts), max(f.high for f in facts)
        if kept:
            grids = {f.grid for f in facts}
            result = Facts(low=low, high=high, grid=grids.pop() if len(grids) == 1 else None)
        elif operation == "Concat" and len(live) == len(call.inputs):
            result = Facts(low=low, high=high)
        elif operation in AVERAGES:
            result = Facts(low=min(low, 0.0), high=max(high, 0.0))
        elif operation == "Pad":
            result = _facts_of_padding(module, facts[0])
        else:
            result = facts_after(call, facts)
        alone = len(live) == 1 and facts[0].of_pixels
        result = replace(result, of_pixels=alone and operation in OF_PIXELS)
        if module is None:
            self.values[call.node.outputs[0]] = live[0]
            return
        self._add(call, module, result, codes if kept else None)

    def _add(self, call: Call, module: nn.Module, facts: Facts, codes: Codes | None = None) -> None:
        """Add a module to the network, after its shapes were computed without its values."""
        live = [value for value in call.inputs if isinstance(value, Live)]
        live = live[:1] if _takes_one(call) else live
        outputs = [name for name in call.node.outputs if name]
        shapes = [
            shapes_of(module, [value.shapes[i] for value in live]) for i in range(len(BATCHES))
        ]
        outputs = outputs[: len(shapes[0])]
        if len(shapes[0]) > len(outputs):
            raise ModelFileError(f"it has {len(outputs)} results, not {len(shapes[0])}")
        for first, batch in zip(shapes, BATCHES, strict=True):
            for shape in first:
                self._require_size(shape)
                if not shape or shape[0] != batch:
                    raise UnsupportedNetworkError(
                        "its first axis is not the batch; keep the batch first, and samples apart"
                    )
        self._require_work(module, [live[0].shape, *shapes[0]])
        self.result.network.add(call.node.name, module, [v.name for v in live], outputs)
        for index, name in enumerate(outputs):
            self.values[name] = Live(
                name=name, shapes=(shapes[0][index], shapes[1][index]), facts=facts, codes=codes
            )

    def _require_size(self, shape: tuple[int, ...]) -> None:
        size = prod(shape[1:])
        self.elements_left -= size
        if size < 1:
            raise ModelFileError(f"values of the empty shape {list(shape)[1:]} per sample")
        if size > MAX_VALUES:
            raise UnsupportedNetworkError(
                f"{size:,} values per sample, above the limit of {MAX_VALUES:,}; use smaller images"
            )
        if self.elements_left < 0:
            raise UnsupportedNetworkError(
                f"all values of a sample together are above the limit of {MAX_ALL_VALUES:,}"
            )

    def _require_work(self, module: nn.Module, shapes: list[tuple[int, ...]]) -> None:
        places = max(prod(shape[2:] if len(shape) > 3 else shape[1:-1]) for shape in shapes)
        self.products_left -= places * sum(weight.numel() for weight in module.parameters())
        if self.products_left < 0:
            raise UnsupportedNetworkError(
                f"more than {MAX_PRODUCTS:,} products for one sample; use smaller images"
            )


def _takes_one(call: Call) -> bool:
    return call.node.operation in ("Clip", "Relu", "Max", "Min")


def _facts_of_padding(module: nn.Module | None, facts: Facts) -> Facts:
    """Padding with zeros leaves values on their grid."""
    value = getattr(module, "value", 0.0)
    if value:
        return Facts(low=min(facts.low, value), high=max(facts.high, value))
    return replace(facts, low=min(facts.low, 0.0), high=max(facts.high, 0.0))
