"""The integer network as a C header, beside a reference implementation in C99."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from typing_extensions import assert_never

from sim.engines import simulate
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerPopulation,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
)
from toolchain.networks.integer_network.accumulator_bounds import (
    accumulator_interval,
    potential_interval,
)
from toolchain.networks.integer_network.network import step_frames
from toolchain.networks.layer_graph.readout_outputs import readout_outputs
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    IntegerMap,
    Resample,
    Scale,
    SelectChannels,
    Shape,
    SumPool,
)

SOURCES = Path(__file__).parent / "sources"
LARGEST_INTEGER = 2**31 - 1
MOST_PLACES = 2**31 - 1
"""Largest index of an array: the reference implementation counts in int."""

_LINE = 100  # columns of a line of numbers
_NAME_CHARACTERS = 200  # of a name as text
_IDENTIFIER_CHARACTERS = 30  # of a name in an identifier


@dataclass(frozen=True, eq=False)
class CExport:
    """Texts of the two headers; the other files are the same for every network.

    Attributes:
        figures: sizes, for machines.
        losses: what the files do not say.
    """

    network: str
    samples: str
    figures: dict[str, object]
    losses: list[str]


def to_c(network: IntegerNetwork, pixels: np.ndarray) -> CExport:
    """The tables of a network, and samples with what the fastest engine computes from them.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.

    Raises:
        UnsupportedNetworkError: an integer or a size exceeds 32 bits; the message names the population.
    """
    _require_32_bits(network)
    text = "\n".join(_network_lines(network)) + "\n"
    return CExport(
        network=text,
        samples="\n".join(_sample_lines(network, pixels)) + "\n",
        figures={"populations": len(network.populations), "header_bytes": len(text)},
        losses=["cores, buffers and ticks: the C code runs one population after the other"],
    )


def write_c(export: CExport, folder: Path) -> None:
    """Write all files into an existing folder; the same network gives the same bytes."""
    for name in ("reference.h", "reference.c", "network.c", "main.c", "Makefile", "README.md"):
        shutil.copyfile(SOURCES / name, folder / name)
    (folder / "network.h").write_text(export.network)
    (folder / "samples.h").write_text(export.samples)


def identifier(name: str, index: int) -> str:
    """A C identifier for a population; the index makes it unique, whatever the name."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name)[:_IDENTIFIER_CHARACTERS].strip("_")
    return f"p{index}_{plain}" if plain else f"p{index}"


def string_literal(name: str) -> str:
    """A name as a C string; all but plain characters are octal, so that no escape or trigraph can end it."""
    shown = name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 3] + "..."
    return '"' + "".join(map(_in_literal, shown.encode("utf-8", "replace"))) + '"'


def _in_literal(byte: int) -> str:
    plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
    return chr(byte) if plain else f"\\{byte:03o}"


def _require_32_bits(network: IntegerNetwork) -> None:
    for population in network.populations:
        arrays = {
            field: getattr(population, field)
            for field in ("bias", "threshold", "initial_potential")
            if hasattr(population, field)
        }
        for field, values in arrays.items():
            largest = int(np.abs(values).max())
            if largest > LARGEST_INTEGER:
                raise UnsupportedNetworkError(
                    f"{population.name}: {field} up to {largest:,} exceeds the 32 bits of the C tables "
                    f"({LARGEST_INTEGER:,}); compile the model for a target with narrower integers"
                )
    if (places := _num_frame_values(network)) > MOST_PLACES:
        raise UnsupportedNetworkError(
            f"the spikes of all steps are {places:,} values, above the {MOST_PLACES:,} that the C code can "
            f"index; compile with fewer timesteps (--max-timesteps)"
        )


def _num_frame_values(network: IntegerNetwork) -> int:
    return sum(prod(p.shape) * p.timesteps for p in _sources(network))


def _sources(network: IntegerNetwork) -> list[IntegerInput | IntegerSpiking]:
    """The populations that have counts: the input is the first."""
    return [network.input, *network.spiking]


def _network_lines(network: IntegerNetwork) -> Iterator[str]:
    readout, outputs = network.readout, readout_outputs(network.readout)
    sizes = {
        "NUM_PIXELS": prod(network.input.shape),
        "MAX_PIXEL": network.input.max_value,
        "NUM_COUNTS": sum(prod(p.shape) for p in _sources(network)),
        "NUM_FRAME_VALUES": _num_frame_values(network),
        "LARGEST_MAP": _largest_map(network),
        "NUM_LOGITS": prod(readout.shape),
        "NUM_OUTPUTS": len(outputs),
    }
    yield "/* An integer network of qac-deploy: every integer that an implementation needs. */"
    yield from ("#ifndef NETWORK_H", "#define NETWORK_H", "", '#include "reference.h"', "")
    yield from (f"#define {name} {value}" for name, value in sizes.items())
    yield f"#define LOGIT_UNIT {readout.unit!r} /* of the float network, for one integer */"
    yield from ("", "extern const output_t outputs[NUM_OUTPUTS];", "", "#ifdef NETWORK_TABLES")
    yield "static const int32_t zero[1] = {0};"
    place = frame = 0
    indices = {p.name: index for index, p in enumerate(network.populations)}
    entries = []
    for index, population in enumerate(network.populations):
        name = identifier(population.name, index)
        yield from _population_tables(network, population, name, indices)
        entries.append(_population_entry(network, population, name, place, frame))
        if not isinstance(population, IntegerReadout):
            place += prod(population.shape)
            frame += prod(population.shape) * population.timesteps
    yield from ("", "const population_t populations[] = {", *entries, "};")
    yield f"const int num_populations = {len(entries)};"
    yield from ("", "const output_t outputs[NUM_OUTPUTS] = {")
    for output in outputs:
        numbers = output.start, output.stop, output.height, output.width
        yield f"    {{{string_literal(output.name)}, {', '.join(map(str, numbers))}}},"
    yield from ("};", "", "#endif", "#endif")


def _largest_map(network: IntegerNetwork) -> int:
    shapes = [p.shape for p in network.populations]
    for synapse in network.synapses:
        shape = network[synapse.source].shape
        for linear_map in synapse.maps:
            shape = linear_map.output_shape(shape)
            shapes.append(shape)
    return max(map(prod, shapes))


def _population_tables(
    network: IntegerNetwork, population: IntegerPopulation, name: str, indices: dict[str, int]
) -> Iterator[str]:
    """Arrays of a population and of its synapses."""
    yield from ("", f"/* {name}: {_summary(network, population)} */")
    for field in ("bias", "threshold", "initial_potential"):
        if hasattr(population, field):
            values = _flat(getattr(population, field), population.shape)
            yield from _array("int32_t", f"{name}_{field}", values)
    synapses = network.incoming(population.name)
    for synapse in synapses:
        source = indices[synapse.source]
        yield from _synapse_tables(network, synapse, f"{name}_from_{source}")
    if synapses:
        yield f"static const synapse_t {name}_synapses[] = {{"
        for synapse in synapses:
            title = f"{name}_from_{indices[synapse.source]}"
            numbers = indices[synapse.source], synapse.exponent, len(synapse.maps)
            frames = "0" if synapse.alignment == "average" else f"{title}_frames"
            yield f"    {{{', '.join(map(str, numbers))}, {title}_maps, {frames}}},"
        yield "};"


def _summary(network: IntegerNetwork, population: IntegerPopulation) -> str:
    channels, rows, columns = population.shape
    size = f"{channels} x {rows} x {columns} neurons"
    if isinstance(population, IntegerInput):
        return f"{channels} x {rows} x {columns} pixels from 0 to {population.max_value}"
    current = accumulator_interval(network, population.name)
    potential = potential_interval(network, population.name)
    bits = max(current.magnitude, potential.magnitude).bit_length() + 1
    return (
        f"{size}, T = {population.timesteps}, current {current.low.min()} to {current.high.max()}, "
        f"potential {potential.low.min()} to {potential.high.max()} ({bits} bits)"
    )


def _flat(values: np.ndarray, shape: Shape) -> np.ndarray:
    """One value for all neurons, one per channel, or one per neuron."""
    whole = np.broadcast_to(values, shape)
    if (values == values.flat[0]).all():
        return whole.flat[:1]
    if (whole == whole[:, :1, :1]).all():
        return whole[:, 0, 0]
    return whole.reshape(-1)


def _synapse_tables(network: IntegerNetwork, synapse: IntegerSynapse, name: str) -> Iterator[str]:
    shape = network[synapse.source].shape
    entries = []
    for index, linear_map in enumerate(synapse.maps):
        arrays = {field: f"{name}_map{index}_{field}" for field in _arrays_of(linear_map)}
        for field, values in _arrays_of(linear_map).items():
            kind = "int8_t" if field == "weight" else "int32_t"
            yield from _array(kind, arrays[field], values.reshape(-1))
        shape = linear_map.output_shape(shape)
        entries.append(_map_entry(linear_map, shape, arrays))
    yield f"static const map_t {name}_maps[] = {{"
    yield from entries
    yield "};"
    if synapse.alignment != "average":
        frames = [-1 if frame is None else frame for frame in step_frames(network, synapse)]
        yield from _array("int32_t", f"{name}_frames", np.array(frames))


def _arrays_of(linear_map: IntegerMap) -> dict[str, np.ndarray]:
    match linear_map:
        case Convolution(weight=weight) | Dense(weight=weight) | Scale(weight=weight):
            return {"weight": weight}
        case Resample(rows=rows, columns=columns):
            return {"rows": rows, "columns": columns}
        case SelectChannels(channels=channels):
            return {"sources": channels}
        case SumPool():
            return {}
        case _:
            assert_never(linear_map)


def _map_entry(linear_map: IntegerMap, shape: Shape, arrays: dict[str, str]) -> str:
    fields = [f".kind = {linear_map.kind.upper()}", f".out = {_braced(shape)}"]
    fields += [f".{field} = {name}" for field, name in arrays.items()]
    if isinstance(linear_map, Convolution | SumPool):
        window = ("kernel", "stride", "padding")
        fields += [f".{field} = {_braced(getattr(linear_map, field))}" for field in window]
    if isinstance(linear_map, Convolution):
        fields.append(f".dilation = {_braced(linear_map.dilation)}")
        fields.append(f".groups = {linear_map.groups}")
    return f"    {{{', '.join(fields)}}},"


def _population_entry(
    network: IntegerNetwork, population: IntegerPopulation, name: str, place: int, frame: int
) -> str:
    fields = [
        f".kind = {population.kind.upper()}",
        f".name = {string_literal(population.name)}",
        f".shape = {_braced(population.shape)}",
        f".timesteps = {population.timesteps}",
    ]
    for field in ("bias", "threshold", "initial_potential"):
        if hasattr(population, field):
            size = len(_flat(getattr(population, field), population.shape))
            member = field.removesuffix("_potential")
            fields.append(f".{member} = {{{size}, {name}_{field}}}")
    if isinstance(population, IntegerReadout):
        fields.append(".initial = {1, zero}")
    else:
        fields += [f".first = {place}", f".first_frame = {frame}"]
    if incoming := network.incoming(population.name):
        fields += [f".num_synapses = {len(incoming)}", f".synapses = {name}_synapses"]
    return "    {" + ",\n     ".join(fields) + "},"


def _sample_lines(network: IntegerNetwork, pixels: np.ndarray) -> Iterator[str]:
    run = simulate(network, pixels)
    sums = np.sum([counts.sum(axis=(1, 2, 3)) for counts in run.counts.values()], axis=0)
    samples = len(pixels)
    yield "/* Samples, and what qac-deploy computes from them. */"
    yield from ("#ifndef SAMPLES_H", "#define SAMPLES_H", "", "#include <stdint.h>", "")
    yield f"#define NUM_SAMPLES {samples}"
    yield from _rows("int32_t", "sample_pixels", "NUM_PIXELS", pixels.reshape(samples, -1))
    yield from _rows("int64_t", "sample_logits", "NUM_LOGITS", run.logits)
    yield from _array("int64_t", "sample_count_sums", np.atleast_1d(sums))
    yield from ("", "#endif")


def _rows(kind: str, name: str, length: str, values: np.ndarray) -> Iterator[str]:
    yield f"static const {kind} {name}[NUM_SAMPLES][{length}] = {{"
    for row in values:
        yield "    {"
        yield from (f"    {line}" for line in _wrapped(row.tolist()))
        yield "    },"
    yield "};"


def _array(kind: str, name: str, values: np.ndarray) -> Iterator[str]:
    yield f"static const {kind} {name}[{len(values)}] = {{"
    yield from _wrapped(values.tolist())
    yield "};"


def _wrapped(numbers: Sequence[int]) -> Iterator[str]:
    """Numbers in lines of equal counts."""
    texts = [str(number) for number in numbers]
    per_line = max(1, (_LINE - 4) // (max(map(len, texts)) + 2))
    for start in range(0, len(texts), per_line):
        yield f"    {', '.join(texts[start : start + per_line])},"


def _braced(values: Iterable[int]) -> str:
    return f"{{{', '.join(map(str, values))}}}"
