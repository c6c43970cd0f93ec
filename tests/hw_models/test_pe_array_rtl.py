"""The RTL of the PE array: cycles, accesses and integers of random passes are those of the Python model."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from random_passes import random_dataflow, random_nest

from hw_models.pe_array import rtl_run
from hw_models.pe_array.closed_form import count_loops, utilisation
from hw_models.pe_array.loop_nest import Dataflow, LoopNest, Unrolling, tiling_of
from hw_models.pe_array.rtl_memories import load_words, save_words, word_lines
from hw_models.pe_array.rtl_run import NeuronParameters, PassData, RtlPassRun, run_pass
from hw_models.pe_array.rtl_simulator import (
    DESIGN_FILES,
    SOURCE_FOLDER,
    TESTBENCH,
    RtlArray,
    RtlSimulator,
    compile_rtl,
    preferred_simulator,
)
from toolchain.errors import RtlError

pytestmark = pytest.mark.rtl

NUM_LAYERS = 60  # of each array, on Verilator
PORT_COUNTERS = (
    "weight_reads",
    "input_reads",
    "psum_reads",
    "psum_writes",
    "membrane_reads",
    "membrane_writes",
    "output_writes",
)


def rtl_array(m, n, s, v, *, operand_bits, signed=False):
    return RtlArray(
        unrolling=Unrolling(output_channels=m, output_columns=n, timesteps=s, input_channels=v),
        operand_bits=operand_bits,
        signed_operands=signed,
        weight_bits=8,
        sum_bits=32,
        memory_words=4096,
    )


ARRAYS = {
    "counts": rtl_array(3, 2, 2, 3, operand_bits=3),
    "gates": rtl_array(2, 2, 4, 2, operand_bits=1),
    "signed": rtl_array(4, 1, 3, 4, operand_bits=9, signed=True),
}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory, worker_id):
    """compile(array, simulator); what one test process has compiled serves the others."""
    folder = tmp_path_factory.getbasetemp()
    cache = (folder if worker_id == "master" else folder.parent) / "rtl"
    return lambda array, simulator: compile_rtl(array, simulator, cache=cache)


def random_pass(array: RtlArray, seed: int) -> tuple[LoopNest, Dataflow, PassData]:
    """A third are as short as a pass can be, so that its groups follow each other at once."""
    rng = random.Random(seed)
    nest, dataflow = random_nest(rng), random_dataflow(rng)
    if rng.random() < 0.33:
        nest = replace(
            nest,
            groups=1,
            rows=1,
            columns=rng.randint(1, 3),
            kernel=(1, 1),
            stride=(1, 1),
            padding=(0, 0),
        )
        nest = replace(nest, output_channels=rng.randint(1, 4), input_size=(1, nest.columns))
    return nest, dataflow, random_data(nest, array, seed)


def random_data(nest: LoopNest, array: RtlArray, seed: int) -> PassData:
    """Operands of any sparsity; half of all have small numbers, so that V often equals the threshold."""
    rng = np.random.default_rng(seed)
    small = rng.random() < 0.5
    operands = random_operands(nest, array, rng)
    largest = (
        {"weight": 2, "bias": 1, "sum": 3} if small else {"weight": 127, "bias": 500, "sum": 9999}
    )
    largest_threshold = rng.choice([1, 4]) if small else rng.choice([3, 300, 30_000])

    def numbers(what, shape):
        return rng.integers(-largest[what], largest[what] + 1, shape)

    weight = numbers(
        "weight", (nest.groups, nest.output_channels, nest.input_channels, *nest.kernel)
    )
    channels = nest.groups * nest.output_channels
    neurons = (channels, nest.rows, nest.columns)
    parameters = None
    if nest.fires or rng.random() < 0.3:
        threshold = rng.integers(
            1, largest_threshold + 1, neurons if rng.random() < 0.5 else (channels, 1, 1)
        )
        parameters = NeuronParameters(
            bias=numbers("bias", (channels, 1, 1)),
            threshold=threshold,
            initial_potential=rng.integers(-2 * threshold, 3 * threshold),
        )
    return PassData(
        weight=np.ones_like(weight) if nest.unit_weights else weight,
        operands=operands,
        exponent=0 if small else int(rng.integers(0, 4)),
        signed=bool(rng.random() < 0.3) if nest.sum_frames else array.signed_operands,
        earlier_sums=numbers("sum", (nest.sums_per_neuron, *neurons)) if nest.adds_sums else None,
        parameters=parameters,
    )


def random_operands(nest: LoopNest, array: RtlArray, rng: np.random.Generator) -> np.ndarray:
    low, high = 0, 1 << array.operand_bits
    if nest.sum_frames:
        low, high = 0, 2
    elif array.signed_operands:
        low, high = -(high // 2), high // 2
    stored = nest.frames if nest.sum_frames else rng.choice([1, nest.frames])
    shape = (stored, nest.groups * nest.input_channels, *nest.input_size)
    return rng.integers(low, high, shape) * (rng.random(shape) < rng.choice([0, 0.2, 0.6, 1]))


def currents(nest: LoopNest, data: PassData) -> np.ndarray:
    """Sums with all that is added to them, ``(frames or 1, C_o, H_o, W_o)``: a convolution, no tiles."""
    operands = np.broadcast_to(data.operands, (nest.frames, *data.operands.shape[1:]))
    padding = [(0, 0), (0, 0), *((pad, pad) for pad in nest.padding)]
    padded = np.pad(operands, padding).reshape(
        nest.frames,
        nest.groups,
        nest.input_channels,
        *np.add(nest.input_size, np.multiply(2, nest.padding)),
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, nest.kernel, axis=(3, 4))
    places = windows[:, :, :, :: nest.stride[0], :: nest.stride[1]]
    sums = np.einsum("goikl,fgirckl->fgorc", data.weight, places)
    sums = sums.reshape(nest.frames, -1, nest.rows, nest.columns)
    if nest.sum_frames:
        place_values = 1 << np.arange(nest.frames)
        if data.signed:
            place_values[-1] *= -1
        sums = np.tensordot(place_values, sums, 1)[None]
    sums = sums << data.exponent
    if data.earlier_sums is not None:
        sums = sums + data.earlier_sums
    return sums if data.parameters is None else sums + data.parameters.bias


def fired(nest: LoopNest, data: PassData) -> tuple[np.ndarray, np.ndarray]:
    """Spikes and membrane potentials after every step, neuron by neuron as the contract says."""
    current = np.broadcast_to(
        currents(nest, data),
        (nest.node_steps, nest.groups * nest.output_channels, nest.rows, nest.columns),
    )
    potential = np.broadcast_to(data.parameters.initial_potential, current.shape[1:])
    spikes, potentials = [], []
    for step in range(nest.node_steps):
        potential = potential + current[step]
        spikes.append(potential >= data.parameters.threshold)
        potential = potential - data.parameters.threshold * spikes[-1]
        potentials.append(potential)
    return np.array(spikes), np.array(potentials)


def hold(
    run: RtlPassRun, array: RtlArray, nest: LoopNest, dataflow: Dataflow, data: PassData
) -> None:
    """Everything that a run gives equals the Python model."""
    counters, tiling = (
        count_loops(nest, array.unrolling, dataflow),
        tiling_of(nest, array.unrolling, dataflow),
    )
    last_group = tiling.firing_cycles if nest.fires else 1
    assert run.counters.total_cycles == (
        counters.cycles + counters.node_stall_cycles + rtl_run.PIPELINE_CYCLES + last_group
    )
    for name in PORT_COUNTERS:
        assert getattr(run.counters, name) == getattr(counters, name), name
    groups_a_neuron = 1
    if dataflow.time_loop == "outermost" and not nest.sum_frames:
        groups_a_neuron = tiling.num_frame_tiles
    expected_parameters = nest.num_neurons * groups_a_neuron if data.parameters else 0
    assert run.counters.parameter_reads == expected_parameters
    if nest.fires:
        spikes, potentials = fired(nest, data)
        np.testing.assert_array_equal(run.spikes, spikes)
        np.testing.assert_array_equal(run.potentials, potentials)
    else:
        np.testing.assert_array_equal(run.sums, currents(nest, data))


def hold_random_passes(simulator: RtlSimulator, seeds: range) -> None:
    for seed in seeds:
        nest, dataflow, data = random_pass(simulator.array, seed)
        hold(run_pass(simulator, nest, dataflow, data), simulator.array, nest, dataflow, data)


@pytest.mark.parametrize("name", ARRAYS)
def test_random_layers_on_verilator(compiled, name):
    hold_random_passes(compiled(ARRAYS[name], "verilator"), range(NUM_LAYERS))


@pytest.mark.parametrize("name", ARRAYS)
def test_random_layers_on_icarus(compiled, name):
    hold_random_passes(compiled(ARRAYS[name], "icarus"), range(10))


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAYS)
def test_thousands_of_random_layers(compiled, name):
    hold_random_passes(compiled(ARRAYS[name], "verilator"), range(NUM_LAYERS, NUM_LAYERS + 2000))


def convolution_pass(channels, inputs, size, timesteps) -> LoopNest:
    """A 3x3 convolution that keeps the map's size, and fires."""
    return LoopNest(
        groups=1,
        output_channels=channels,
        input_channels=inputs,
        rows=size,
        columns=size,
        kernel=(3, 3),
        stride=(1, 1),
        padding=(1, 1),
        input_size=(size, size),
        frames=timesteps,
        sum_frames=False,
        node_steps=timesteps,
        adds_sums=False,
        fires=True,
        unit_weights=False,
    )


@pytest.mark.parametrize(
    ("layer", "unrolling", "cycles", "share"),
    [
        ((16, 8, 8, 4), (8, 4, 2, 4), 1152, 1.0),
        ((10, 6, 7, 5), (4, 4, 2, 4), 2268, 0.4557),
        pytest.param((32, 16, 6, 3), (16, 8, 4, 16), 108, 0.5625, marks=pytest.mark.slow),
    ],
)
def test_reference_points(compiled, layer, unrolling, cycles, share):
    array, nest, dataflow = (
        rtl_array(*unrolling, operand_bits=1),
        convolution_pass(*layer),
        Dataflow(),
    )
    data = replace(random_data(nest, array, seed=0), signed=False)
    run = run_pass(compiled(array, "icarus"), nest, dataflow, data)
    hold(run, array, nest, dataflow, data)
    assert run.counters.total_cycles == cycles + 3
    assert utilisation(nest, array.unrolling, dataflow) == pytest.approx(share, abs=5e-5)


FAULTS = {
    "strict threshold": ("firing_steps.sv", "v >= theta", "v > theta"),
    "hard reset": ("firing_steps.sv", "v = v - theta", "v = 0"),
    "no reset": ("firing_steps.sv", "if (spike[s]) v = v - theta;", ""),
    "bias forgotten": ("combine_sums.sv", "(adds_bias ? column_bias : '0)", "'0"),
    "join forgotten": ("combine_sums.sv", "(adds_earlier_sum ? column_earlier_sum : '0)", "'0"),
    "exponent forgotten": ("combine_sums.sv", "<< shift", "<< 0"),
    "sign plane positive": ("processing_element.sv", "negative ? carried", "1'b0 ? carried"),
    "planes of equal weight": ("processing_element.sv", "accumulator <<< S", "accumulator"),
    "sum not cleared": ("processing_element.sv", "if (clear) carried = 0;", "if (0) carried = 0;"),
    "padding read": ("loop_controller.sv", "&& row_inside", ""),
    "tail of C_i": ("loop_controller.sv", "i_index + index_t'(v) < pass.input_channels", "1'b1"),
    "tail of C_o": ("loop_controller.sv", "o_index + index_t'(m) < pass.output_channels", "1'b1"),
    "tail of W_o": (
        "loop_controller.sv",
        "address_t'(w_index) + lane_column[n][s] < address_t'(pass.columns)",
        "1'b1",
    ),
    "tail of F": ("loop_controller.sv", "frame < address_t'(pass.frames)", "1'b1"),
    "weights of a pool read": ("loop_controller.sv", "&& !pass.unit_weights", ""),
    "node unit overrun": (
        "loop_controller.sv",
        "!(group_last && steps_left",
        "!(1'b0 && steps_left",
    ),
    "one wait too many": (
        "loop_controller.sv",
        "steps_left > pass.lanes",
        "steps_left >= pass.lanes",
    ),
    "membrane not forwarded": ("node_unit.sv", "!forwards_membrane)", "1'b1)"),
    "sum not forwarded": ("node.sv", "forwards_sum ? current", "1'b0 ? current"),
    "V0 in every tile": ("node.sv", "starts_window ? v0", "1'b1 ? v0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_rtl_is_caught(compiled, tmp_path, fault):
    file, right, wrong = FAULTS[fault]
    shutil.copytree(SOURCE_FOLDER, tmp_path / "rtl")
    source = tmp_path / "rtl" / file
    assert right in source.read_text()
    source.write_text(source.read_text().replace(right, wrong))
    array = ARRAYS["counts"]
    simulator = compile_rtl(array, "icarus", cache=tmp_path / "cache", sources=tmp_path / "rtl")
    with pytest.raises((AssertionError, RtlError)):
        hold_random_passes(simulator, range(NUM_LAYERS))


def test_the_sources_are_free_of_lint(tmp_path):
    design = [str(SOURCE_FOLDER / file) for file in DESIGN_FILES]
    bench = [*design, str(SOURCE_FOLDER / f"{TESTBENCH}.sv")]
    lint = ["verilator", "--lint-only", "-Wall", "--top-module"]
    commands = [
        [*lint, "pe_array", *design],
        [*lint, TESTBENCH, "--timing", *bench],
        ["iverilog", "-g2012", "-Wall", "-s", TESTBENCH, "-o", str(tmp_path / "out"), *bench],
    ]
    # a generate loop that runs once, and one lane, are where selects go wrong
    commands += [
        [*lint, "pe_array", "-GM=1", "-GN=1", "-GS=1", "-GV=1", f"-GOPERAND_BITS={bits}", *design]
        for bits in (1, 8)
    ]
    for command in commands:
        run = subprocess.run(command, capture_output=True, text=True)
        assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_a_file_without_its_last_newline_is_noticed(compiled, monkeypatch):
    """Verilator 5.006 drops the last word of such a file without a word of warning."""
    simulator = compiled(ARRAYS["counts"], "verilator")

    def save_without_last_newline(path, words, bits):
        save_words(path, words, bits)
        path.write_text(path.read_text()[:-1])

    nest, dataflow, data = random_pass(simulator.array, seed=0)
    run_pass(simulator, nest, dataflow, data)
    monkeypatch.setattr(rtl_run, "save_words", save_without_last_newline)
    with pytest.raises(RtlError) as refusal:
        run_pass(simulator, nest, dataflow, data)
    assert "memory: the simulator has not read the" in str(refusal.value)


def test_a_missing_simulator_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RtlError) as refusal:
        preferred_simulator()
    assert str(refusal.value) == (
        "no simulator of hardware descriptions was found (verilator with make and g++, or iverilog); "
        "run `apt install verilator iverilog`"
    )
    with pytest.raises(
        RtlError, match=r"^iverilog was not found; run `apt install verilator iverilog`$"
    ):
        compile_rtl(ARRAYS["counts"], "icarus", cache=tmp_path)


def test_sources_that_do_not_compile_are_reported(tmp_path):
    shutil.copytree(SOURCE_FOLDER, tmp_path / "rtl")
    (tmp_path / "rtl" / "node.sv").write_text("module node\n")
    with pytest.raises(RtlError, match=r"^icarus cannot compile the RTL\n(.|\n)*syntax error"):
        compile_rtl(ARRAYS["counts"], "icarus", cache=tmp_path, sources=tmp_path / "rtl")


def test_values_that_the_array_cannot_hold_are_refused(compiled):
    simulator = compiled(ARRAYS["counts"], "icarus")
    nest, dataflow = convolution_pass(4, 3, 5, 2), Dataflow()
    data = random_data(nest, simulator.array, seed=0)
    with pytest.raises(RtlError) as refusal:
        run_pass(simulator, nest, dataflow, replace(data, operands=np.full_like(data.operands, 8)))
    assert str(refusal.value) == (
        "operand 8 does not fit the array's 3 bits (0 to 7); use an array with wider words"
    )
    small = replace(simulator, array=replace(simulator.array, memory_words=1))
    with pytest.raises(RtlError) as refusal:
        run_pass(small, nest, dataflow, data)
    assert str(refusal.value) == (
        "input memory: 50 words do not fit the 1 that the simulation was compiled with"
    )


@pytest.mark.parametrize(("lanes", "bits"), [(1, 1), (3, 1), (2, 3), (4, 8), (5, 32), (3, 24)])
def test_memory_files_are_read_as_they_were_written(tmp_path, lanes, bits):
    rng = np.random.default_rng(lanes * bits)
    words = rng.integers(-(1 << bits - 1), 1 << bits - 1, (9, lanes))
    save_words(tmp_path / "words.hex", words, bits)
    np.testing.assert_array_equal(load_words(tmp_path / "words.hex", lanes, bits), words)
    assert word_lines(tmp_path / "words.hex")[0] == by_hand(words[0], bits)


def by_hand(word, bits) -> str:
    """Lane 0 lowest."""
    value = sum((int(lane) % (1 << bits)) << index * bits for index, lane in enumerate(word))
    return f"{value:0{-(-len(word) * bits // 4)}x}"
