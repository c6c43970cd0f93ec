"""``qac-deploy compare``: sums that add up, sweeps that hold what they say, files, and bad input."""

from __future__ import annotations

import html
import json

import numpy as np
import pytest
import yaml
from installed_command import run_command
from PIL import Image, ImageColor
from typer.testing import CliRunner

from deploy.build.load import load_build
from deploy.check.judged_build import judge
from deploy.check.verify import RtlLimit, verify
from deploy.cli.main import app
from deploy.report.array_findings import findings
from deploy.report.array_plot import COLOURS, MODE_COLOURS, UNROLLING_COLOUR
from hw_models.figures import BUILT_IN
from hw_models.pe_array import address_maps
from toolchain.errors import LavaError, UnsupportedNetworkError

MODES = ["snn_temporal", "snn_bit_planes", "ann_multiplier", "ann_bit_serial"]


@pytest.fixture(scope="module")
def compared(compiled, tmp_path_factory):
    """(document of `compare --json --sweep`, its plot)."""
    folder = tmp_path_factory.mktemp("compared")
    process = run_command(
        "compare", compiled[1], "--json", "--sweep", "--plot", "plot.png", cwd=folder
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout), folder / "plot.png"


def test_cycles_of_each_mode_add_up(compared):
    document, _ = compared
    assert document["pe_array_equals_stepped"]
    modes = document["pe_array"]["estimates"]
    assert [mode["mode"] for mode in modes] == MODES
    for mode in modes:
        for part in (*mode["layers"], mode):
            spent = part["cycles"] + sum(part["stalls"].values()) + part["fill_and_drain_cycles"]
            assert part["total_cycles"] == spent
        assert mode["total_cycles"] == sum(layer["total_cycles"] for layer in mode["layers"])
        energy = sum(sum(layer["energy_pj"].values()) for layer in mode["layers"])
        assert sum(mode["energy_pj"].values()) == pytest.approx(energy)
        row = next(r for r in document["comparison"] if r["design"] == f"pe-array ({mode['mode']})")
        assert row["latency_us"] == pytest.approx(mode["total_cycles"] / 500)


def test_bit_planes_and_the_bit_serial_ann_make_the_same_iterations(compared):
    modes = {mode["mode"]: mode for mode in compared[0]["pe_array"]["estimates"]}
    planes, serial = modes["snn_bit_planes"], modes["ann_bit_serial"]
    assert planes["cycles"] == serial["cycles"]
    assert planes["off_chip_bytes"] == serial["off_chip_bytes"]
    for snn, ann in zip(planes["layers"], serial["layers"], strict=True):
        assert snn["node_updates"] >= ann["node_updates"]


def test_zero_skipping_is_counted_on_test_samples(compared):
    on_array = compared[0]["pe_array"]
    assert on_array["skipping_samples"] == 4
    for mode in on_array["estimates"]:
        left = [mode["skipping"][kind]["layers"] for kind in ("lockstep", "per_lane", "compacted")]
        for layers in zip(mode["layers"], *left, strict=True):
            cycles = [layer["cycles"] for layer in layers]
            assert cycles == sorted(cycles, reverse=True)
        # lanes together share their weights; on their own they read more of them than the zeros save
        assert mode["skipping"]["lockstep"]["energy_pj"] < sum(mode["energy_pj"].values())
        reads = mode["skipping"]["compacted"]["layers"][1]["accumulations"]
        assert reads > mode["layers"][1]["weight_reads"]


def test_the_sweep_tries_every_unrolling_and_none_beats_its_front(compared):
    document, _ = compared
    assert [sweep["mode"] for sweep in document["sweeps"]] == MODES[:2]
    for sweep in document["sweeps"]:
        designs = sweep["designs"]
        assert len(designs) + sweep["left_out"] == 286  # ways to make 2^10 of four factors
        sizes = {tuple(design["unrolling"].values()) for design in designs}
        assert len(sizes) == len(designs)
        assert all(m * n * s * v == 1024 for m, n, s, v in sizes)
        for design in designs:
            beaten = any(
                other["total_cycles"] <= design["total_cycles"]
                and other["port_bytes"] <= design["port_bytes"]
                and (other["total_cycles"], other["port_bytes"])
                != (design["total_cycles"], design["port_bytes"])
                for other in designs
            )
            assert not (design["on_front"] and beaten)
        own = [design for design in designs if design["is_own"]]
        assert [tuple(d["unrolling"].values()) for d in own] == [(16, 4, 2, 8)]


def test_the_plot_shows_the_numbers(compared):
    """The bars of a mode cover an area in proportion to its cycles; every unrolling is a dot."""
    document, plot = compared
    picture = np.asarray(Image.open(plot).convert("RGB"))

    def num_pixels(colour):
        return (picture == ImageColor.getrgb(colour)).all(axis=-1).sum()

    cycles = {mode["mode"]: mode["total_cycles"] for mode in document["pe_array"]["estimates"]}
    of_one_panel = MODES[1:]  # the first mode's colour is used elsewhere, too
    areas = [num_pixels(MODE_COLOURS[mode]) / cycles[mode] for mode in of_one_panel]
    assert areas == pytest.approx([areas[0]] * len(areas), rel=0.05)
    assert areas[0] > 1
    assert num_pixels(COLOURS["fill, drain"]) > 1_000
    assert num_pixels(UNROLLING_COLOUR) > 1_000


def test_the_same_build_gives_the_same_svg(compiled, qac_deploy, tmp_path):
    for name in ("a.svg", "b.svg"):
        process = qac_deploy("compare", compiled[1], "--plot", name)
        assert process.returncode == 0, process.stderr
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_the_terminal_shows_layers_stalls_memory_energy_and_when_the_snn_pays(compiled, qac_deploy):
    process = qac_deploy("compare", compiled[1], "--sweep")
    assert process.returncode == 0, process.stderr
    for text in (
        "M 16 x N 4 x S 2 x V 8 = 1,024 elements at 500 MHz",
        "inner -> join",
        "what the array waits for",
        "stall-free at B/cycle",
        "off chip",
        "zeros skipped: cycles, mean of exact counts on 4 test samples",
        "Fewest cycles: ann_multiplier",
        "Reported for spiking chips, pJ per synaptic operation: odin 12.70",
        "this array, ports widened",
        "every design computes the same integers, so all have the same accuracy",
    ):
        assert text in process.stdout, text


def test_the_build_holds_what_compare_shows(compiled, compared):
    document = json.loads((compiled[1] / "pe_array.json").read_text())
    assert document == json.loads((compiled[1] / "report.json").read_text())["pe_array"]
    assert document == compared[0]["pe_array"]


def test_findings_tell_apart_who_is_fastest():
    def mode(name, cycles, energy):
        return {"mode": name, "total_cycles": cycles, "energy_pj": {"node": energy}}

    sizes = [(400, 8.0), (100, 4.0), (200, 5.0), (90, 6.0)]
    on_array = {"estimates": [mode(n, *s) for n, s in zip(MODES, sizes, strict=True)]}
    assert findings(on_array)[0].endswith("takes 0.25 times the cycles of T passes.")
    assert (
        "(0.90 times their cycles); with multipliers the ANN takes 2.00 times"
        in findings(on_array)[1]
    )
    assert findings(on_array)[2] == (
        "Fewest cycles: ann_bit_serial. Least estimated energy: snn_bit_planes, 1.00 times that "
        "of snn_bit_planes."
    )


def changed_array(folder, change):
    document = yaml.safe_load((BUILT_IN / "pe-array.yaml").read_text())
    change(document["figures"])
    (folder / "mine.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f["unrolling"]["timesteps"].update(value=0),
            "error: mine.yaml: unrolling.timesteps.value must be at least 1, not 0\n",
        ),
        (
            lambda f: f["buffers"].pop("psum"),
            "error: mine.yaml: buffers.psum.copies is missing; add it with value, kind and source\n",
        ),
        (
            lambda f: f["buffers"]["output"]["size_bytes"].update(value=63),
            "error: pe-array cannot run this network: mine.yaml: buffers.output.size_bytes.value must be at "
            "least 64 for input -> stem (a row of 16 x 8 neurons of 2 bits, twice), not 63; choose another "
            "array with --array\n",
        ),
    ],
)
def test_a_bad_array_is_refused(compiled, qac_deploy, tmp_path, change, message):
    changed_array(tmp_path, change)
    process = qac_deploy("compare", compiled[1], "--array", "mine.yaml")
    assert (process.returncode, process.stderr) == (2, message)


def test_plots_that_cannot_be_made_are_refused(compiled, qac_deploy):
    process = qac_deploy("compare", compiled[1], "--plot", "x.pdf")
    assert process.returncode == 2
    assert "must end in .png or .svg" in process.stderr
    process = qac_deploy("compare", compiled[1], "--plot", "nowhere/x.png")
    assert process.returncode == 2
    assert process.stderr == "error: nowhere/x.png: there is no folder nowhere; make it first\n"


def test_an_array_too_small_for_the_network_does_not_stop_compile(trained, qac_deploy, tmp_path):
    changed_array(tmp_path, lambda f: f["buffers"]["output"]["size_bytes"].update(value=63))
    process = qac_deploy("compile", trained[1], "--array", "mine.yaml")
    assert process.returncode == 0, process.stderr
    on_array = json.loads((tmp_path / "build" / "pe_array.json").read_text())
    assert on_array["estimates"] == []
    assert "buffers.output.size_bytes" in on_array["refusal"]
    assert "pe-array cannot run this network: mine.yaml: buffers.output" in process.stdout
    assert "pe-array cannot run this network" in (tmp_path / "build" / "report.html").read_text()


def test_a_map_without_a_kernel_is_a_reason_and_not_a_failure(trained, tmp_path, monkeypatch):
    """As for a new kind of linear map that the array has not been taught."""
    reason = "inner -> join: the PE array has no kernel for it"

    def refuse(linear_map, shape):
        raise UnsupportedNetworkError(reason)

    monkeypatch.setattr(address_maps, "as_grouped_convolution", refuse)
    build = tmp_path / "build"
    result = CliRunner().invoke(app, ["compile", str(trained[1]), "--out", str(build)])
    assert result.exit_code == 0, result.output
    line = f"pe-array cannot run this network: {reason}"
    assert line in result.output
    assert line in html.unescape((build / "report.html").read_text())
    assert json.loads((build / "pe_array.json").read_text())["refusal"] == reason
    result = CliRunner().invoke(app, ["compare", str(build)])
    assert str(result.exception) == f"{line}; choose another array with --array"
    rungs = {r.name: r for r in verify(judge(load_build(build), 1), no_lava, rtl=RTL)}
    for name in ("integer network -> PE array", "PE array -> its RTL"):
        assert (rungs[name].status, rungs[name].detail) == ("skipped", reason)


RTL = RtlLimit(simulator="icarus", cycles=1_000)


def no_lava():
    raise LavaError("not asked for")


def test_other_alignments_run_timestep_by_timestep_alone(trained, qac_deploy):
    assert qac_deploy("compile", trained[1], "--alignment", "replicate").returncode == 0
    process = qac_deploy("compare", "build", "--json")
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    assert document["pe_array_equals_stepped"]
    (mode,) = document["pe_array"]["estimates"]
    assert mode["mode"] == "snn_temporal"
    assert set(mode["skipping"]) == {"lockstep", "per_lane", "compacted"}
