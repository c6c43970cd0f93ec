"""Running the RTL: sources without lint, memories read as they were written, and what goes wrong."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from rtl_kernels import convolution_nest, random_data, random_rtl_case, rtl_array

from hw_models.pe_array.loop_nest import Dataflow
from hw_models.pe_array.rtl.driver import run
from hw_models.pe_array.rtl.driver.memories import load_words, save_words, word_lines
from hw_models.pe_array.rtl.driver.run import run_kernel
from hw_models.pe_array.rtl.driver.simulator import (
    DESIGN_FILES,
    SOURCE_FOLDER,
    TESTBENCH,
    compile_rtl,
    preferred_simulator,
)
from toolchain.errors import RtlError

pytestmark = pytest.mark.rtl

ARRAY = rtl_array(3, 2, 2, 3, operand_bits=3)


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
    simulator = compiled(ARRAY, "verilator")

    def save_without_last_newline(path, words, bits):
        save_words(path, words, bits)
        path.write_text(path.read_text()[:-1])

    nest, dataflow, data = random_rtl_case(simulator.array, seed=0)
    run_kernel(simulator, nest, dataflow, data)
    monkeypatch.setattr(run, "save_words", save_without_last_newline)
    with pytest.raises(RtlError) as refusal:
        run_kernel(simulator, nest, dataflow, data)
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
        compile_rtl(ARRAY, "icarus", cache=tmp_path)


def test_sources_that_do_not_compile_are_reported(tmp_path):
    shutil.copytree(SOURCE_FOLDER, tmp_path / "rtl")
    (tmp_path / "rtl" / "node.sv").write_text("module node\n")
    with pytest.raises(RtlError, match=r"^icarus cannot compile the RTL\n(.|\n)*syntax error"):
        compile_rtl(ARRAY, "icarus", cache=tmp_path, sources=tmp_path / "rtl")


def test_values_that_the_array_cannot_hold_are_refused(compiled):
    simulator = compiled(ARRAY, "icarus")
    nest, dataflow = convolution_nest(4, 3, 5, 2), Dataflow()
    data = random_data(nest, simulator.array, seed=0)
    with pytest.raises(RtlError) as refusal:
        run_kernel(
            simulator, nest, dataflow, replace(data, operands=np.full_like(data.operands, 8))
        )
    assert str(refusal.value) == (
        "operand 8 does not fit the array's 3 bits (0 to 7); use an array with wider words"
    )
    small = replace(simulator, array=replace(simulator.array, memory_words=1))
    with pytest.raises(RtlError) as refusal:
        run_kernel(small, nest, dataflow, data)
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
