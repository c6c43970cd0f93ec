"""``qac-deploy verify``: every rung equal on a good build; a fault in any file named by population."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from installed_command import run_command
from safetensors.numpy import load_file, save_file

import hw_models
from toolchain.networks.integer_network.serialize import array_titles

RUNGS = [
    "files of the build",
    "quantized ANN -> integer network",
    "stepped engine -> exact engine",
    "integer network -> cores",
    "integer network -> Lava bundle",
    "Lava bundle -> Lava on the CPU",
    "integer network -> PE array",
    "build -> report",
]


@pytest.fixture
def build(compiled, tmp_path):
    """A copy of the trained build, to break."""
    return shutil.copytree(compiled[1], tmp_path / "build")


def rungs_of(process):
    return {rung["name"]: rung for rung in json.loads(process.stdout)["rungs"]}


@pytest.mark.lava
def test_a_good_build_is_equal_on_every_rung(qac_deploy, compiled):
    process = qac_deploy("verify", compiled[1], "--samples", 2, "--json")
    assert process.returncode == 0, process.stderr
    assert {n: r["status"] for n, r in rungs_of(process).items()} == dict.fromkeys(RUNGS, "equal")


def test_without_lava_its_rung_is_skipped_and_says_why(qac_deploy, build, tmp_path):
    process = qac_deploy(
        "verify", build, "--samples", 1, "--json", "--lava-python", tmp_path / "no"
    )
    assert process.returncode == 0, process.stderr
    skipped = rungs_of(process)["Lava bundle -> Lava on the CPU"]
    assert skipped["status"] == "skipped"
    assert "--lava-python" in skipped["detail"]


def array_name(document, title):
    (name,) = (n for n, t in array_titles(document).items() if t == title)
    return name


def flip(build, title, at, bit):
    arrays = load_file(build / "network.safetensors")
    name = array_name(json.loads((build / "network.json").read_text()), title)
    arrays[name].reshape(-1)[at] ^= 1 << bit
    save_file(arrays, build / "network.safetensors")


def change_bundle_array(build, title, at, change):
    name = array_name(json.loads((build / "lava" / "network.json").read_text()), title)
    with np.load(build / "lava" / "weights.npz") as archive:
        arrays = {n: archive[n] for n in archive.files}
    arrays[name].reshape(-1)[at] += change
    np.savez(build / "lava" / "weights.npz", **arrays)


def change_json(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_flipped_bit_of_the_network_is_found_against_the_model(qac_deploy, build):
    flip(build, "inner -> join: weight of map 0", 5, 0)
    process = qac_deploy("verify", build, "--samples", 1, "--lava-python", "no")
    assert process.returncode == 1
    assert (
        "DIFFERENT  quantized ANN -> integer network: inner -> join: weight of map 0 at (0, 0, 1, 2)"
        in (process.stdout)
    )


def test_an_off_by_one_threshold_of_the_bundle_and_a_figure_of_the_report_are_named(
    qac_deploy, build
):
    change_bundle_array(build, "wide: threshold", 3, 1)
    change_json(build / "report.json", lambda report: report.update(mean_timesteps=1.5))
    process = qac_deploy("verify", build, "--samples", 1, "--lava-python", "no", "--json")
    assert process.returncode == 1
    rung = rungs_of(process)["build -> report"]
    assert rung["status"] == "different"
    assert rung["detail"].startswith("report.json: mean_timesteps is 1.5, must be ")
    rung = rungs_of(process)["integer network -> Lava bundle"]
    assert rung["status"] == "different"
    assert rung["detail"].startswith("wide: threshold at (3, 0, 0) is ")


@pytest.mark.parametrize("source", ["run.py", "argparse.py"])
def test_a_source_of_the_bundle_that_is_not_the_installed_one_is_named(qac_deploy, build, source):
    """Also with a manifest that lists it: a stranger's build may be consistent with itself."""
    with (build / "lava" / source).open("a") as file:
        file.write("print('not ours')\n")
    process = qac_deploy("verify", build, "--samples", 1, "--lava-python", "no", "--json")
    assert process.returncode == 1
    rung = rungs_of(process)["integer network -> Lava bundle"]
    assert rung["status"] == "different"
    assert rung["detail"] == f"lava/{source}: differs from the installed version; compile again"


def test_a_buffer_slot_too_many_in_the_bundle_is_named(qac_deploy, build):
    def change(document):
        document["synapses"][1]["slots"] += 1

    change_json(build / "lava" / "network.json", change)
    process = qac_deploy("verify", build, "--samples", 1, "--lava-python", "no")
    assert process.returncode == 1
    assert "synapses[stem -> inner].slots is 3, must be 2" in process.stdout


def test_cores_that_do_not_hold_the_network_are_refused(qac_deploy, build):
    def change(document):
        document["cores"][1]["rows"][1] -= 1

    change_json(build / "mapping.json", change)
    process = qac_deploy("verify", build, "--samples", 1)
    assert process.returncode == 2
    assert "mapping.json: the cores of 'stem' must hold each of its neurons once" in process.stderr


@pytest.fixture(scope="module")
def small_array(trained, tmp_path_factory):
    """A build for a PE array of 16 elements: quick to compile."""
    folder = tmp_path_factory.mktemp("small_array")
    targets = Path(hw_models.__file__).parent / "targets"
    text = (targets / "pe-array.yaml").read_text()
    for name in ("output_channels", "output_columns", "timesteps", "input_channels"):
        text = re.sub(rf"({name}: {{value:) \d+", r"\1 2", text)
    (folder / "small.yaml").write_text(text)
    shutil.copy(targets / "loihi-sim.yaml", folder / "chip.yaml")
    process = run_command(
        "compile", trained[1], "--target", "chip.yaml", "--array", "small.yaml", cwd=folder
    )
    assert process.returncode == 0, process.stderr
    for name in ("chip.yaml", "small.yaml"):
        (folder / name).unlink()  # the build holds its own
    return folder / "build"


@pytest.mark.rtl
def test_the_rtl_is_a_rung_where_it_is_asked_for(qac_deploy, small_array, tmp_path):
    process = qac_deploy(
        *("verify", small_array, "--samples", 1, "--lava-python", "no", "--json"),
        *("--rtl", "--rtl-cycles", 20_000),
        QAC_DEPLOY_RTL_CACHE=str(tmp_path / "cache"),
    )
    assert process.returncode == 0, process.stderr
    rung = rungs_of(process)["PE array -> its RTL"]
    assert rung["status"] == "equal"
    found = re.fullmatch(
        r"cycles, port accesses, sums and spikes of (\d+) kernels on one sample, ([\d,]+) cycles in "
        r"verilator; (\d+) longer ones over the limit of 20,000 cycles left out "
        r"\(([\d,]+) cycles: --rtl-cycles (\d+)\)",
        rung["detail"],
    )
    kernels, cycles, left_out, over, whole = (int(n.replace(",", "")) for n in found.groups())
    assert kernels + left_out == 16
    assert cycles <= 20_000 < cycles + over == whole


@pytest.mark.rtl
def test_a_limit_that_no_kernel_meets_skips_the_rung(qac_deploy, small_array):
    process = qac_deploy(
        *("verify", small_array, "--samples", 1, "--lava-python", "no", "--json", "--rtl-cycles", 1)
    )
    assert process.returncode == 0, process.stderr
    rung = rungs_of(process)["PE array -> its RTL"]
    assert rung["status"] == "skipped"
    assert rung["detail"].startswith(
        "no kernel; 16 longer ones over the limit of 1 cycles left out ("
    )


def test_the_rtl_without_a_simulator_is_refused_with_the_remedy(qac_deploy, build, tmp_path):
    process = qac_deploy("verify", build, "--rtl", PATH=str(tmp_path))
    assert process.returncode == 2
    assert "no simulator of hardware descriptions was found" in process.stderr
    assert "run `apt install verilator iverilog`" in process.stderr
