"""Networks as readable text: one line per population, array and synapse.

Fields are read from the dataclasses, so a new kind of population or map prints itself. Short arrays are
printed whole, long ones as number type, shape, range and digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from hashlib import sha256
from typing import Any

import numpy as np

MOST_VALUES = 16
"""Arrays of at most this many values are printed whole."""


def network_text(network: Any) -> str:
    """All populations in topological order, each followed by the synapses into it."""
    populations, synapses = network.populations, network.synapses
    lines = [f"{type(network).__name__}: {len(populations)} populations, {len(synapses)} synapses"]
    for population in populations:
        lines += _population_lines(population, network.incoming(population.name))
    return "\n".join(lines)


def _array_text(values: np.ndarray) -> str:
    """Type, shape and values of an array, or its range and digest if there are many."""
    flat = values.reshape(-1)
    text = f"{values.dtype} {_sizes(values.shape)}"
    if len(flat) <= MOST_VALUES:
        return f"{text} [{' '.join(_number(value) for value in flat)}]"
    low, high = flat.min(), flat.max()
    if low == high:
        return f"{text} all {_number(low)}"
    little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    digest = sha256(little_endian.tobytes()).hexdigest()[:8]
    return f"{text} {_number(low)}..{_number(high)} #{digest}"


def _population_lines(population: Any, incoming: tuple[Any, ...]) -> Iterator[str]:
    values = {field.name: getattr(population, field.name) for field in fields(population)}
    values = {key: value for key, value in values.items() if value is not None}
    name, shape = values.pop("name"), values.pop("shape")
    outputs = values.pop("outputs", ())
    arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    scalars = [f"{key} {_value(value)}" for key, value in values.items() if key not in arrays]
    yield ""
    yield f"{name}: " + ", ".join([type(population).__name__, _sizes(shape), *scalars])
    for key, value in arrays.items():
        yield f"  {key}: {_array_text(value)}"
    for output in outputs:
        yield f"  output {output}"
    for synapse in incoming:
        scalars = [
            f"{field.name} {value}"
            for field in fields(synapse)
            if field.name not in ("source", "target")
            and isinstance(value := getattr(synapse, field.name), str | int)
        ]
        yield ", ".join([f"  <- {synapse.source}", *scalars])
        for text in map(_map_text, synapse.maps) if synapse.maps else ("identity",):
            yield f"     {text}"


def _map_text(linear_map: Any) -> str:
    """Kind of a linear map and its fields that differ from their defaults."""
    changed = [
        f"{field.name} {_value(getattr(linear_map, field.name))}"
        for field in fields(linear_map)
        if field.default is MISSING or getattr(linear_map, field.name) != field.default
    ]
    return ", ".join([type(linear_map).__name__, *changed])


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return _array_text(value)
    if isinstance(value, tuple):
        return _sizes(value)
    return _number(value)


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
