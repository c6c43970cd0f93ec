"""The RTL of the PE array: cycles, accesses and integers of random kernels are those of the Python model."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from rtl_kernels import convolution_nest, hold, random_data, random_rtl_case, rtl_array

from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.loop_nest import Dataflow, tiling_of
from hw_models.pe_array.rtl.driver.memories import operand_words, weight_words
from hw_models.pe_array.rtl.driver.registers import num_operand_words, num_weight_words
from hw_models.pe_array.rtl.driver.run import run_kernel
from hw_models.pe_array.rtl.driver.simulator import SOURCE_FOLDER, RtlSimulator, compile_rtl
from toolchain.errors import RtlError

pytestmark = pytest.mark.rtl

NUM_LAYERS = 100  # of each array, on Verilator
ARRAYS = {
    "counts": rtl_array(3, 2, 2, 3, operand_bits=3),
    "gates": rtl_array(2, 2, 4, 2, operand_bits=1),
    "signed": rtl_array(4, 1, 3, 4, operand_bits=9, signed=True),
}


def hold_random_kernels(simulator: RtlSimulator, seeds: range) -> None:
    for seed in seeds:
        nest, dataflow, data = random_rtl_case(simulator.array, seed)
        hold(run_kernel(simulator, nest, dataflow, data), simulator.array, nest, dataflow, data)


@pytest.mark.parametrize("name", ARRAYS)
def test_the_random_layers_have_every_feature(name):
    array = ARRAYS[name]
    kernels = [random_rtl_case(array, seed) for seed in range(NUM_LAYERS)]
    nests = [nest for nest, _, _ in kernels]
    tilings = [tiling_of(nest, array.unrolling, dataflow) for nest, dataflow, _ in kernels]
    stalls = [count_loops(n, array.unrolling, d).node_stall_cycles for n, d, _ in kernels]
    features = {
        "both schedules": {nest.sum_frames for nest in nests} == {False, True},
        "both loop orders": {d.time_loop for _, d, _ in kernels} == {"innermost", "outermost"},
        "folded lanes": any(t.columns > array.unrolling.output_columns for t in tilings),
        "node stalls": any(stalls),
        "padding": any(any(nest.padding) for nest in nests),
        "dilation": any(max(nest.dilation) > 1 for nest in nests),
        "strides": any(max(nest.stride) > 1 for nest in nests),
        "groups": any(nest.groups > 1 for nest in nests),
        "joins": any(nest.adds_sums and nest.fires for nest in nests),
        "sums for a join": any(nest.adds_sums and not nest.fires for nest in nests),
        "pools": any(nest.unit_weights for nest in nests),
        "several tiles of frames": any(t.num_frame_tiles > 1 for t in tilings),
        "sign planes": any(data.signed and nest.sum_frames for nest, _, data in kernels),
        "parameters of a neuron": any(
            d.parameters and d.parameters.per_neuron for *_, d in kernels
        ),
        "no input at all": any(not data.operands.any() for *_, data in kernels),
    }
    missing = {feature for feature, is_there in features.items() if not is_there}
    assert not missing


@pytest.mark.parametrize("name", ARRAYS)
def test_memories_hold_the_words_that_are_counted(name):
    array = ARRAYS[name]
    for seed in range(NUM_LAYERS):
        nest, dataflow, data = random_rtl_case(array, seed)
        tiling = tiling_of(nest, array.unrolling, dataflow)
        stored = len(operand_words(data.operands, tiling))
        assert stored == num_operand_words(tiling, len(data.operands))
        if not nest.unit_weights:
            assert len(weight_words(data.weight, tiling)) == num_weight_words(tiling)


@pytest.mark.parametrize("name", ARRAYS)
def test_random_layers_on_verilator(compiled, name):
    hold_random_kernels(compiled(ARRAYS[name], "verilator"), range(NUM_LAYERS))


@pytest.mark.parametrize("name", ARRAYS)
def test_random_layers_on_icarus(compiled, name):
    hold_random_kernels(compiled(ARRAYS[name], "icarus"), range(10))


@pytest.mark.slow
@pytest.mark.parametrize("name", ARRAYS)
def test_thousands_of_random_layers(compiled, name):
    hold_random_kernels(compiled(ARRAYS[name], "verilator"), range(NUM_LAYERS, NUM_LAYERS + 2000))


@pytest.mark.parametrize(
    ("layer", "unrolling", "cycles", "share"),
    [
        ((16, 8, 8, 4), (8, 4, 2, 4), 1152, 1.0),
        ((10, 6, 7, 5), (4, 4, 2, 4), 2268, 0.4557),
        pytest.param((32, 16, 6, 3), (16, 8, 4, 16), 108, 0.5625, marks=pytest.mark.slow),
    ],
)
def test_reference_points(compiled, layer, unrolling, cycles, share):
    array = rtl_array(*unrolling, operand_bits=1)
    nest, dataflow = convolution_nest(*layer), Dataflow()
    data = replace(random_data(nest, array, seed=0), signed=False)
    run = run_kernel(compiled(array, "icarus"), nest, dataflow, data)
    hold(run, array, nest, dataflow, data)
    assert run.counters.total_cycles == cycles + 3
    used = count_loops(nest, array.unrolling, dataflow).accumulations
    assert used / (cycles * array.unrolling.num_elements) == pytest.approx(share, abs=5e-5)


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
    "dilation forgotten": ("loop_controller.sv", "address_t'(pass.row_dilation)", "address_t'(1)"),
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
        hold_random_kernels(simulator, range(2 * NUM_LAYERS))  # up to the first that shows it
