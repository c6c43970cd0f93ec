"""Populations as ONNX nodes: a sum of maps, an offset, a division and a quantizer each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from deploy.backends.maximum_windows import MaximumPool, maximum_pools
from deploy.backends.onnx_format.dialects import Dialect
from deploy.backends.onnx_format.graph import GraphWriter
from deploy.backends.onnx_format.maps import FeatureMap, apply_maps, as_flat, as_map
from deploy.backends.onnx_format.rounding import exact_rounding
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.accumulator_bounds import (
    Interval,
    accumulator_interval,
    unit_bounds,
)
from toolchain.networks.integer_network.network import largest_source_value
from toolchain.networks.layer_graph.readout_outputs import readout_outputs
from toolchain.networks.linear_maps import Dense

EXACT_INTEGERS = 2**24
"""float32 holds every integer up to this one."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One input of a population: a synapse, or a max pool and what follows it."""

    synapse: IntegerSynapse
    pool: MaximumPool | None = None


class NetworkWriter:
    """Adds one population after the other to a graph.

    Attributes:
        input: tensor of the pixels.
        counts: tensor of the counts of each population that was added, the input included.
        in_float64, shifted_biases, pools: see ``OnnxExport``.
    """

    def __init__(self, network: IntegerNetwork, dialect: Dialect) -> None:
        self.network, self.dialect = network, dialect
        self.graph = GraphWriter()
        self.pools = maximum_pools(network)
        source = network.input
        self.input = self.graph.unused(source.name)
        self.counts = {source.name: FeatureMap(name=self.input, shape=source.shape)}
        self.in_float64: list[str] = []
        self.shifted_biases: list[str] = []
        self._pooled: dict[tuple[str, object], FeatureMap] = {}

    def add_population(self, population: IntegerSpiking) -> None:
        """Add the nodes that give the counts of a population."""
        name = population.name
        parts = self._parts(name)
        exponent = min(part.synapse.exponent for part in parts)
        sums = self._sums(parts, exponent)
        rounding = None
        if sums is not None:
            rounding = exact_rounding(population, exponent, sums, divides=self.dialect.divides)
        is_flat = self._is_flat(population, parts)
        if rounding is None:
            level = self._level_in_float64(population, parts, is_flat)
            self.in_float64.append(name)
        else:
            level = self._sum(parts, exponent, is_flat, name)
            if rounding.offset.any():
                offset = self._constant(rounding.offset, is_flat, f"{name}_offset")
                level = self.graph.node("Add", [level, offset], f"{name}_shifted")
            if (rounding.scale != 1).any():
                scale = self._constant(rounding.scale, is_flat, f"{name}_scale")
                operation = "Div" if self.dialect.divides else "Mul"
                level = self.graph.node(operation, [level, scale], f"{name}_level")
            if not rounding.keeps_biases:
                self.shifted_biases.append(name)
        level = self.graph.node("Relu", [level], f"{name}_relu")
        counts = self.dialect.quantizer(self.graph, level, population.timesteps, name)
        self.counts[name] = FeatureMap(name=counts, shape=population.shape, is_flat=is_flat)

    def add_readout(self, readout: IntegerReadout) -> list[onnx.ValueInfoProto]:
        """Add the logits; returns the outputs of the graph."""
        parts = self._parts(readout.name)
        steps = readout.timesteps
        bound = max(
            steps * accumulator_interval(self.network, readout.name).magnitude,
            self._largest(parts, 0) + int(np.abs(readout.bias).max()),
        )
        is_flat = self._is_flat(readout, parts) and not readout.outputs
        if self._is_exact(parts, 0) and bound <= EXACT_INTEGERS:
            logits = self._sum(parts, 0, is_flat, readout.name)
            dtype: np.dtype = np.dtype(np.float32)
        else:
            logits = self._sum_in_float64(parts, is_flat, readout.name)
            dtype = np.dtype(np.float64)
            self.in_float64.append(readout.name)
        if readout.bias.any():
            bias = self._constant(readout.bias.astype(dtype), is_flat, f"{readout.name}_bias")
            logits = self.graph.node("Add", [logits, bias], f"{readout.name}_biased")
        if steps > 1:
            times = self.graph.scalar(steps, f"{readout.name}_timesteps", dtype)
            logits = self.graph.node("Mul", [logits, times], f"{readout.name}_sum")
        return self._outputs(readout, logits, is_flat, dtype)

    def _outputs(
        self, readout: IntegerReadout, logits: str, is_flat: bool, dtype: np.dtype
    ) -> list[onnx.ValueInfoProto]:
        tensor_type = helper.np_dtype_to_tensor_dtype(dtype)
        infos = []
        for output in readout_outputs(readout):
            ends = output.stop, output.height, output.width
            shape = (output.stop - output.start, output.height, output.width)
            if (output.start, *ends) != (0, *readout.shape):
                window = {
                    "starts": [output.start, 0, 0],
                    "ends": list(ends),
                    "axes": [1, 2, 3],
                }
                inputs = [
                    self.graph.constant(np.array(v, np.int64), f"{output.name}_{word}")
                    for word, v in window.items()
                ]
                result = self.graph.node("Slice", [logits, *inputs], output.name)
            else:
                result = self.graph.rename_last(output.name)
            sizes: list[str | int | None] = [
                self.dialect.batch,
                *(shape[:1] if is_flat else shape),
            ]
            infos.append(helper.make_tensor_value_info(result, tensor_type, sizes))
        return infos

    def _parts(self, target: str) -> list[_Part]:
        pools = self.pools.by_target.get(target, [])
        pooled = {synapse for pool in pools for synapse in pool.parts}
        parts = [_Part(synapse=s) for s in self.network.incoming(target) if s not in pooled]
        return parts + [_Part(synapse=pool.synapse, pool=pool) for pool in pools]

    def _source(self, part: _Part) -> FeatureMap:
        source = self.counts[part.synapse.source]
        if part.pool is None:
            return source
        key = part.synapse.source, part.pool.window
        if key not in self._pooled:
            window = part.pool.window
            name = self.graph.node(
                "MaxPool",
                [as_map(self.graph, source).name],
                f"{source.name}_maximum",
                kernel_shape=list(window.kernel),
                strides=list(window.stride),
                pads=list(window.padding),
                dilations=list(window.dilation),
            )
            self._pooled[key] = FeatureMap(name=name, shape=part.pool.shape)
        return self._pooled[key]

    def _source_shape(self, part: _Part) -> tuple[int, int, int]:
        return part.pool.shape if part.pool else self.network[part.synapse.source].shape

    def _is_flat(self, population: IntegerSpiking | IntegerReadout, parts: list[_Part]) -> bool:
        """Whether its tensor has one axis behind the batch: it follows a dense map."""
        dense = any(isinstance(part.synapse.maps[-1], Dense) for part in parts)
        return dense and population.shape[1:] == (1, 1)

    def _is_exact(self, parts: list[_Part], exponent: int) -> bool:
        """Whether float32 holds every partial sum of the maps and of their sum."""
        on_the_way = max(self._on_the_way(part, self._most(part)) for part in parts)
        return max(on_the_way, self._largest(parts, exponent)) <= EXACT_INTEGERS

    def _most(self, part: _Part) -> int:
        return largest_source_value(self.network, part.synapse)

    def _on_the_way(self, part: _Part, most: int) -> int:
        """Bound of every partial sum in the maps of a part, for counts from 0 to ``most``."""
        return unit_bounds(part.synapse, self._source_shape(part)).partial * most

    def _largest(self, parts: list[_Part], exponent: int) -> int:
        """Bound of every partial sum over several parts, in units of ``2^exponent``."""
        return sum(
            self._interval(part).magnitude << (part.synapse.exponent - exponent) for part in parts
        )

    def _interval(self, part: _Part) -> Interval:
        """Bounds of the sums of a part, before its exponent."""
        low, high = unit_bounds(part.synapse, self._source_shape(part)).target
        return Interval(low=low * self._most(part), high=high * self._most(part))

    def _sums(self, parts: list[_Part], exponent: int) -> Interval | None:
        """Bounds of the sum in units of ``2^exponent``; None if float32 does not hold it exactly."""
        if not self._is_exact(parts, exponent):
            return None
        shifted = [(self._interval(part), part.synapse.exponent - exponent) for part in parts]
        return Interval(
            low=np.sum([i.low << shift for i, shift in shifted], axis=0),
            high=np.sum([i.high << shift for i, shift in shifted], axis=0),
        )

    def _sum(self, parts: list[_Part], exponent: int, is_flat: bool, name: str) -> str:
        terms = [
            self._maps(part, self._source(part), part.synapse.exponent - exponent, is_flat, name)
            for part in parts
        ]
        return self._added(terms, name)

    def _maps(
        self, part: _Part, source: FeatureMap, exponent: int, is_flat: bool, name: str
    ) -> str:
        maximum = "_maximum" if part.pool else ""
        title = f"{name}_from_{part.synapse.source}{maximum}"
        value = apply_maps(self.graph, self.dialect, part.synapse, source, exponent, title)
        change: Callable[[GraphWriter, FeatureMap], FeatureMap] = as_flat if is_flat else as_map
        return change(self.graph, value).name

    def _added(self, terms: Sequence[str], name: str) -> str:
        total = terms[0]
        for term in terms[1:]:
            total = self.graph.node("Add", [total, term], f"{name}_join")
        return total

    def _constant(self, values: np.ndarray, is_flat: bool, name: str) -> str:
        """An array with one value per channel or neuron, or a scalar if all are equal."""
        if (values == values.flat[0]).all():
            values = values.flat[0].reshape(())
        else:
            values = values.reshape(-1) if is_flat else values[None]
        return self.graph.constant(values, name)

    def _level_in_float64(
        self, population: IntegerSpiking, parts: list[_Part], is_flat: bool
    ) -> str:
        """``floor((V0 + T A) / Theta)``, clipped, in float32."""
        name, graph = population.name, self.graph
        total = self._sum_in_float64(parts, is_flat, name)
        steps = population.timesteps
        at_rest = population.initial_potential + steps * population.bias
        values = {
            "Mul": np.full((1, 1, 1), steps),
            "Add": at_rest,
            "Div": population.threshold,
        }
        for operation, value in values.items():
            operand = self._constant(value.astype(np.float64), is_flat, f"{name}_{operation}")
            total = graph.node(operation, [total, operand], f"{name}_float64")
        total = graph.node("Floor", [total], f"{name}_float64")
        least, most = (graph.scalar(v, "bound", np.float64) for v in (0, steps))
        total = graph.node("Clip", [total, least, most], f"{name}_float64")
        return graph.node("Cast", [total], f"{name}_level", to=TensorProto.FLOAT)

    def _sum_in_float64(self, parts: list[_Part], is_flat: bool, name: str) -> str:
        """``A - B``: counts in digits whose sums float32 holds, which are then added in float64."""
        terms = []
        for part in parts:
            for digit, place in self._digits(part):
                value = self._maps(part, digit, 0, is_flat, name)
                value = self.graph.node("Cast", [value], f"{name}_float64", to=TensorProto.DOUBLE)
                if shift := part.synapse.exponent + place:
                    factor = self.graph.scalar(2.0**shift, f"factor_{shift}", np.float64)
                    value = self.graph.node("Mul", [value, factor], f"{name}_float64")
                terms.append(value)
        return self._added(terms, name)

    def _digits(self, part: _Part) -> list[tuple[FeatureMap, int]]:
        """Digits of the counts that a part reads, and the place of each.

        Raises:
            UnsupportedNetworkError: float32 does not even hold the sums of single bits.
        """
        whole, most, graph = self._source(part), self._most(part), self.graph
        if self._on_the_way(part, most) <= EXACT_INTEGERS:
            return [(whole, 0)]
        bits = (EXACT_INTEGERS // self._on_the_way(part, 1) + 1).bit_length() - 1
        if bits < 1:
            raise UnsupportedNetworkError(
                f"{part.synapse}: its weights add up to more than {EXACT_INTEGERS:,}, which the float32 "
                f"operators of ONNX cannot add exactly; split the layer, or export with --format c"
            )
        digits, rest, place = [], whole.name, 0
        while most >> (place + bits):
            title = f"{whole.name}_digits"
            down = graph.scalar(2.0**-bits, f"down_{bits}")
            up = graph.scalar(2.0**bits, f"up_{bits}")
            upper = graph.node("Floor", [graph.node("Mul", [rest, down], title)], title)
            lower = graph.node("Sub", [rest, graph.node("Mul", [upper, up], title)], title)
            digits.append((FeatureMap(name=lower, shape=whole.shape, is_flat=whole.is_flat), place))
            rest, place = upper, place + bits
        digits.append((FeatureMap(name=rest, shape=whole.shape, is_flat=whole.is_flat), place))
        return digits
