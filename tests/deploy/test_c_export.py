"""The C export compiles without a warning and prints the counts and logits of the stepped engine."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from installed_command import run_command
from integer_maximum_networks import max_pool_network
from map_networks import map_and_class_network
from small_networks import residual_network
from strategies import integer_networks, random_pixels

from deploy.backends.c_network.emit import SOURCES, identifier, string_literal, to_c, write_c
from deploy.build.folder import C_EXPORT, changes_of
from sim.stepped import run_stepped
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.integer_network.serialize import load_integer_network
from toolchain.networks.layer_graph import split_outputs
from toolchain.networks.linear_maps import Convolution

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def run_c(folder, pixels, options=()):
    """What the compiled program prints for pixels on its standard input."""
    sources = ("main.c", "reference.c", "network.c")
    command = ["cc", *STRICT, "-O0", *options, "-o", "reference", *sources]
    compiled = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    assert not compiled.stderr
    given = "\n".join(" ".join(map(str, sample.reshape(-1))) for sample in pixels)
    process = subprocess.run(
        ["./reference", "-"], cwd=folder, input=given, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    stored = subprocess.run(["./reference"], cwd=folder, capture_output=True, text=True)
    assert stored.returncode == 0, stored.stderr
    assert "all equal to qac-deploy" in stored.stderr
    return process.stdout


def expected_text(network, pixels):
    """The lines that the program must print, for names of plain characters."""
    run = run_stepped(network, pixels)
    outputs = split_outputs(network.readout, run.logits)
    lines = []
    for sample in range(len(pixels)):
        lines.append(f"sample {sample}")
        lines += [
            f"counts {p.name}: {_numbers(run.counts[p.name][sample])}" for p in network.spiking
        ]
        lines += [f"logits {name}: {_numbers(values[sample])}" for name, values in outputs.items()]
    return "\n".join(lines) + "\n"


def _numbers(values):
    return " ".join(map(str, values.reshape(-1).tolist()))


def check(network, seed, folder, options=()):
    pixels = random_pixels(network, seed)
    write_c(to_c(network, pixels[:1]), folder)
    assert run_c(folder, pixels, options) == expected_text(network, pixels)


def test_several_outputs_and_every_kind_of_map(tmp_path):
    check(map_and_class_network(), 4, tmp_path, SANITIZED)


def test_exact_max_pools_are_their_neurons(tmp_path):
    read = Convolution(weight=np.arange(-9, 9, dtype=np.int8).reshape(1, 2, 3, 3))
    check(max_pool_network(("a", (1, 1, 1), (read,), 0)), 4, tmp_path)


ANY = integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True)


@settings(max_examples=5)
@given(ANY, st.integers(0, 2**32 - 1))
def test_random_networks_compute_the_same(tmp_path_factory, network, seed):
    check(network, seed, tmp_path_factory.mktemp("c"))


@pytest.mark.exhaustive
@settings(max_examples=200)
@given(ANY | integer_networks(max_pools=True), st.integers(0, 2**32 - 1))
def test_many_random_networks_compute_the_same_under_sanitizers(tmp_path_factory, network, seed):
    check(network, seed, tmp_path_factory.mktemp("c"), SANITIZED)


def renamed(network, names):
    return IntegerNetwork.build(
        [replace(p, name=names.get(p.name, p.name)) for p in network.populations],
        [
            replace(s, source=names.get(s.source, s.source), target=names.get(s.target, s.target))
            for s in network.synapses
        ],
    )


def test_hostile_names_are_sanitised_under_sanitizers(tmp_path):
    hostile = {
        "stem": '"); system("ls"); /* int',
        "inner.0": "*/ ??/\n\u202e\x00%s" + "x" * 10_000,
        "join": "3while",
    }
    network = renamed(residual_network(), hostile)
    pixels = random_pixels(network, 1)
    write_c(to_c(network, pixels), tmp_path)
    printed = run_c(tmp_path, pixels, SANITIZED)
    plain = expected_text(network, pixels)
    of_join = [line for line in plain.splitlines() if line.startswith("counts 3while")]
    assert [line for line in printed.splitlines() if line.startswith("counts 3while")] == of_join
    assert printed.count("counts ") == 3 * len(pixels)
    assert r'"\042); system(\042ls\042); /* int"' in (tmp_path / "network.h").read_text()


def test_identifiers_and_strings_of_names():
    assert identifier("conv1.0/relu", 4) == "p4_conv1_0_relu"
    assert identifier("…", 2) == "p2"
    assert string_literal('a"b\\?ü\n') == '"a\\042b\\134\\077\\303\\274\\012"'
    assert len(string_literal("x" * 10_000)) < 300


def test_the_command_writes_a_folder_that_make_runs(compiled, tmp_path):
    process = run_command("export", compiled[1], "--format", "c", "--json", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    folder = tmp_path / "c_network"
    document = json.loads(process.stdout)
    assert document["samples"] == 4
    assert document["losses"] == [
        "cores, buffers and ticks: the C code runs one population after the other"
    ]
    assert not str(changes_of(folder, C_EXPORT))
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = run_command("export", compiled[1], "--format", "c", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    made = subprocess.run(["make", "run"], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "4 samples, all equal to qac-deploy" in made.stderr
    network = load_integer_network(compiled[1])
    pixels = random_pixels(network, 5)
    assert run_c(folder, pixels) == expected_text(network, pixels)


def test_a_sample_that_differs_and_pixels_that_are_wrong_are_errors(tmp_path):
    network = residual_network()
    write_c(to_c(network, random_pixels(network, 1)), tmp_path)
    run_c(tmp_path, random_pixels(network, 1))
    for text, message in (
        ("1 2 x", "sample 0, pixel 2: must be an integer from 0 to 15"),
        ("16 0", "sample 0, pixel 0: must be"),
        ("3", "sample 0, pixel 1: must be"),
    ):
        process = subprocess.run(
            ["./reference", "-"], cwd=tmp_path, input=text, capture_output=True, text=True
        )
        assert process.returncode == 2
        assert message in process.stderr
    samples = tmp_path / "samples.h"
    samples.write_text(
        samples.read_text().replace(
            "sample_count_sums[3] = {\n    ", "sample_count_sums[3] = {\n    9"
        )
    )
    subprocess.run(
        ["cc", "-o", "reference", "main.c", "reference.c", "network.c"], cwd=tmp_path, check=True
    )
    process = subprocess.run(["./reference"], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 1
    assert "sample 0: counts or logits differ from those of qac-deploy" in process.stderr


def test_the_reference_loop_is_short():
    assert len((SOURCES / "reference.c").read_text().splitlines()) < 200


def test_an_integer_beyond_32_bits_is_refused_by_name():
    network = residual_network()
    wide = [
        replace(p, bias=np.full((2, 1, 1), 2**31)) if p.name == "join" else p
        for p in network.populations
    ]
    network = IntegerNetwork.build(wide, network.synapses)
    with pytest.raises(UnsupportedNetworkError) as refusal:
        to_c(network, random_pixels(network, 0))
    assert str(refusal.value) == (
        "join: bias up to 2,147,483,648 exceeds the 32 bits of the C tables (2,147,483,647); compile the "
        "model for a target with narrower integers"
    )
