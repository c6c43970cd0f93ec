"""Every design has a command that compiles it, and every suggestion gives what the report says."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from installed_command import COMMAND, run_command
from residual_designs import own_dataset, random_residual_network
from small_targets import small_target, write_target
from typer.testing import CliRunner

from deploy.cli import main
from deploy.compile import refusal as compiling
from deploy.compile.refusal import refusal_record
from deploy.design.arguments import as_arguments, compile_command
from deploy.design.compilation import CompileOptions
from deploy.design.design import build_design, explicit_options, lowering_images_of
from deploy.optimize.measurements import Measurements
from deploy.optimize.objectives import OBJECTIVES
from deploy.optimize.search import optimize_design
from deploy.report.designs import measures_record
from hw_models.target_description import load_target
from toolchain.datasets import data_record, load_dataset
from toolchain.errors import QacDeployError
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.passes import PassOptions, chosen_graph
from toolchain.shell_words import words_of


class Parsed(Exception):
    """The command line has been read."""


def read_by_the_command_line(arguments):
    """(model, build folder, options) that ``qac-deploy`` makes of its arguments."""
    found = []

    def noted(model, out, options, *others):
        found.append((model, out, options))
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "compile_or_explain", noted)
        result = CliRunner().invoke(main.app, arguments)
    assert isinstance(result.exception, Parsed), result.output
    return found[0]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).map(
    lambda name: f"-{name}" if len(name) % 3 == 0 else name
)
COUNTS = st.integers(1, 1_000_000)
OPTIONS = st.builds(
    CompileOptions,
    target=st.sampled_from(["loihi-sim", "own file.yaml"]),
    data=st.none() | st.just("digits"),
    max_timesteps=st.none() | COUNTS,
    uniform_timesteps=st.none() | COUNTS,
    timesteps=st.dictionaries(NAMES, COUNTS, max_size=2),
    alignment=st.sampled_from([None, "average", "replicate", "truncate"]),
    alignments=st.dictionaries(NAMES, st.sampled_from(["replicate", "truncate"]), max_size=2),
    slots=st.none() | COUNTS,
    slots_of=st.dictionaries(NAMES, COUNTS, max_size=2),
    replicate=st.dictionaries(NAMES, COUNTS, max_size=2),
    tile_work=st.dictionaries(NAMES, COUNTS, max_size=2),
    exchange_cores=st.booleans(),
    weight_bits=st.none() | st.integers(2, 8),
    thresholds=st.none() | COUNTS,
    lowering=st.sampled_from(["images", "plain"]),
    samples=st.integers(1, 100),
)


@given(OPTIONS)
def test_the_command_line_reads_back_the_options_of_a_command(options):
    command = compile_command("a model.pt", options, out="next")
    name, subcommand, *arguments = words_of(command)
    assert (name, subcommand) == ("qac-deploy", "compile")
    model, out, read = read_by_the_command_line([subcommand, *arguments])
    assert (str(model), str(out), read) == ("a model.pt", "next", options)


def test_a_path_is_never_an_option():
    assert compile_command("-m.pt", CompileOptions()).startswith("qac-deploy compile ./-m.pt ")


def test_options_with_their_default_are_left_out():
    assert as_arguments(CompileOptions()) == ["--target", "loihi-sim"]
    own = CompileOptions(slots=3, slots_of={"stem->join": 4}, timesteps={"join": 2})
    assert compile_command("model.pt", own, accuracy="m.py:iou") == (
        "qac-deploy compile model.pt --target loihi-sim --slots 3 --timesteps join=2 "
        "--slots 'stem->join=4' --accuracy m.py:iou --out build-next"
    )


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_the_designs_of_a_search_are_made_again_by_their_options(objective):
    model = random_residual_network(14)
    target = small_target(core={"compartments": 160}, chips={"count": 20})
    dataset = own_dataset(model, target, 14)

    def measurements():
        return Measurements(
            model=model, target=target, dataset=dataset, on_stage=lambda stage: None
        )

    first = build_design(model, target, CompileOptions(optimize=objective, accuracy_budget=4))
    best, points = optimize_design(first, measurements())
    known = measurements()
    assert len(points) > 3
    for point in points:
        assert point.options.optimize is None
        again = known.point(known.built(point.options), point.change, point.verdict)
        assert again == point
    rebuilt = build_design(model, target, explicit_options(best))
    assert rebuilt.mapping.cores == best.mapping.cores
    assert rebuilt.provisioning == best.provisioning


@pytest.mark.parametrize("objective", ["cores", "latency"])
def test_a_search_keeps_the_work_per_core_that_the_user_chose(objective):
    """It changes the integers and the buffers, but not what the user decided of the tiles."""
    model = random_residual_network(14)
    target = small_target(core={"compartments": 160}, chips={"count": 20})
    dataset = own_dataset(model, target, 14)
    chosen = CompileOptions(optimize=objective, accuracy_budget=100, tile_work={"join": 2_000})
    known = Measurements(model=model, target=target, dataset=dataset, on_stage=lambda stage: None)
    best, points = optimize_design(build_design(model, target, chosen), known)
    assert [p.verdict for p in points].count("kept") > 1
    assert best.provisioning.tile_limits["join"] == 2_000


@pytest.fixture(scope="module")
def report(compiled):
    process, build = compiled
    assert process.returncode == 0, process.stderr
    return json.loads((build / "report.json").read_text())


def test_each_suggestion_is_what_its_command_gives(trained, report):
    _, model = trained
    graph, dataset = load_checkpoint(model).graph, load_dataset("digits")
    known = Measurements(
        model=graph,
        target=load_target("loihi-sim"),
        dataset=dataset,
        images=lowering_images_of(graph, dataset, CompileOptions()),
        on_stage=lambda stage: None,
    ).for_report()
    suggestions = report["suggestions"]
    changes = [s["change"] for s in suggestions]
    assert any("one more slot" in change for change in changes)
    assert any("one timestep less" in change for change in changes)
    assert any("one more replica" in change for change in changes)
    assert any("alignment" in change for change in changes)
    assert any("over more cores" in change for change in changes)
    for suggestion in suggestions:
        _, _, options = read_by_the_command_line(shlex.split(suggestion["command"])[1:])
        point = known.point(known.built(options), "", "")
        assert json.loads(json.dumps(measures_record(point))) == suggestion["gives"]
        if suggestion["keeps_integers"]:
            assert suggestion["gives"]["accuracy"] == report["measures"]["accuracy"]


def test_the_first_suggestion_as_printed(trained, report):
    _, model = trained
    as_printed(report["suggestions"][0], model.parent)


def test_the_command_of_a_build_has_its_options(report):
    _, _, options = read_by_the_command_line(shlex.split(report["command"])[1:])
    assert json.loads(json.dumps(asdict(options))) == report["options"]


def as_printed(suggestion, folder):
    """Run a suggested command in a shell's words, and compare its report with what was promised."""
    name, *arguments = shlex.split(suggestion["command"])
    assert COMMAND.name == name
    process = run_command(*arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    found = json.loads((folder / "build-next" / "report.json").read_text())
    assert found["measures"] == suggestion["gives"], suggestion["change"]


@pytest.mark.slow
def test_all_suggestions_for_digits_as_printed(trained, report):
    _, model = trained
    for suggestion in report["suggestions"]:
        as_printed(suggestion, model.parent)


@pytest.mark.slow
def test_all_suggestions_for_resnet_20_as_printed(tmp_path):
    """Random weights, a quarter of the width, few MNIST digits; balanced thresholds, so that neurons fire."""
    digits = load_dataset("mnist5k")
    np.savez(
        tmp_path / "few.npz",
        train_images=digits.train_pixels[:200].astype(np.uint8),
        train_labels=digits.train_labels[:200],
        test_images=digits.test_pixels[:100].astype(np.uint8),
        test_labels=digits.test_labels[:100],
    )
    dataset = load_dataset(str(tmp_path / "few.npz"))
    torch.manual_seed(0)
    module = quantize_activations(
        build_model("resnet-20", dataset.input_shape, 10, 0.25), TimestepQuantizer
    )
    for index, quantizer in enumerate(quantizers(module).values()):
        torch.nn.init.constant_(quantizer.t, 2 + index % 3)
    images = torch.from_numpy(dataset.train_pixels[:32] / dataset.max_value).float()
    balance_thresholds(module, images)
    model = tmp_path / "resnet-20.pt"
    graph = convert(module, dataset.input_shape, dataset.max_value)
    save_checkpoint(model, Checkpoint(graph, data_record(dataset, model)))
    process = run_command("compile", model.name, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    suggestions = json.loads((tmp_path / "build" / "report.json").read_text())["suggestions"]
    assert len(suggestions) > 4
    for suggestion in suggestions:
        as_printed(suggestion, tmp_path)


def test_suggestions_improve_a_measure_and_those_that_keep_the_integers_come_first(report):
    now, suggestions = report["measures"], report["suggestions"]
    kept = [s["keeps_integers"] for s in suggestions]
    assert kept == sorted(kept, reverse=True)
    for suggestion in suggestions:
        gives = suggestion["gives"]
        sooner = sum(gives["interval_us"].values()) < sum(now["interval_us"].values())
        first_sooner = gives["first_latency_ticks"] < now["first_latency_ticks"]
        assert sooner or first_sooner or weight(gives) < weight(now), suggestion["change"]
    weighed = [
        sum(s["gives"]["interval_us"].values()) * s["gives"]["num_cores"]
        for s in suggestions
        if s["keeps_integers"]
    ]
    assert weighed == sorted(weighed)


def weight(measures):
    """Time between results, times cores, times energy."""
    times, energies = (sum(measures[name].values()) for name in ("interval_us", "energy_nj"))
    return times * measures["num_cores"] * energies


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            ["--slots", "stem->wide=3"],
            "error: --slots stem->wide: the network has no edge of this name; it has input->stem, "
            "stem->inner, inner->join, stem->join, join->wide, wide->readout",
        ),
        (
            ["--timesteps", "readout=2"],
            "error: --timesteps readout: the network has no spiking population of this name; it has stem, "
            "inner, join, wide",
        ),
        (
            ["--align", "input=truncate"],
            "error: --align input: the network has no spiking population",
        ),
        (["--tile-work", "input=9"], "error: --tile-work input: the network has no population on"),
        (["--align", "join=later"], "must be one of average, replicate, truncate, not 'later'"),
        (["--slots", "0"], "must be at least 1, not '0'"),
        (["--slots", "2", "--slots", "3"], "is given twice for all, 2 and 3"),
        (["--timesteps", "join=2", "--timesteps", "join=3"], "names 'join' twice"),
        (["--timesteps", "join=two"], "must be COUNT or NAME=COUNT, not 'join=two'"),
        (["--exchange-cores", "--optimize", "cores"], "leave it out"),
    ],
)
def test_options_that_suit_no_part_of_the_network_are_refused(
    trained, tmp_path, monkeypatch, options, complaint
):
    _, model = trained
    monkeypatch.chdir(tmp_path)
    assert complaint in refusal(model, *options)
    assert list(tmp_path.iterdir()) == []


def refusal(*arguments):
    """The message that ``compile`` ends with, in this process."""
    result = CliRunner().invoke(main.app, ["compile", *map(str, arguments)])
    if isinstance(result.exception, QacDeployError):
        return f"error: {result.exception}"
    assert result.exit_code == 2
    return " ".join(result.output.replace("│", " ").split())


def test_a_network_that_does_not_fit_has_a_page_with_what_would_fit(trained, tmp_path):
    _, model = trained
    write_target(tmp_path / "small.yaml", mesh={"width": 2, "height": 2}, chips={"count": 1})
    earlier = tmp_path / "big" / "notes.txt"
    process = run_command("compile", model, "--target", "small.yaml", "--out", "big", cwd=tmp_path)
    assert process.returncode == 2
    first, last = process.stderr.strip().splitlines()
    assert first.startswith(
        "error: the network needs 17 cores, 1 more than the 16 of small, one chip"
    )
    assert last == "big-refusal.html shows its size and what would fit"
    assert not earlier.parent.exists()
    page = (tmp_path / "big-refusal.html").read_text()
    for words in (
        "does not fit",
        "cores of 16",
        "fill the cores of",
        "no: 17 cores, 1 too many",
        "One slot in every buffer",
    ):
        assert words in page
    assert "1 more than the 16" not in page
    fitting = f"qac-deploy compile {model} --target small.yaml --slots 1 --out build-next"
    assert fitting in page
    _, _, options = read_by_the_command_line(shlex.split(fitting)[1:])
    target = load_target(str(tmp_path / "small.yaml"))
    build_design(load_checkpoint(model).graph, target, options)


def test_a_refusal_speaks_of_the_timesteps_that_were_asked_for(trained, tmp_path):
    _, model = trained
    options = CompileOptions(uniform_timesteps=60_000)
    with pytest.raises(QacDeployError) as refused:
        build_design(load_checkpoint(model).graph, load_target("loihi-sim"), options)
    record = refusal_record(model, tmp_path / "own", options, refused.value)
    assert {p["timesteps"] for p in record["populations"] if p["kind"] == "spiking"} == {60_000}
    assert record["command"].endswith(f"--timesteps 60000 --out {tmp_path / 'own'}")
    fits = {tried["change"]: tried["num_cores"] for tried in record["tried"]}
    assert fits["no firing window above 1 timesteps"] == 17


def test_the_page_of_a_refusal_replaces_no_other_file(trained, tmp_path, monkeypatch):
    _, model = trained
    monkeypatch.chdir(tmp_path)
    write_target(tmp_path / "small.yaml", mesh={"width": 2, "height": 2}, chips={"count": 1})
    mine = tmp_path / "build-refusal.html"
    mine.write_text("my notes")
    message = refusal(model, "--target", "small.yaml")
    assert "no page on what would fit was written" in message
    assert "the network needs 17 cores" in message
    assert mine.read_text() == "my notes"


def test_timesteps_of_one_population():
    graph = random_residual_network(0)
    changed = chosen_graph(graph, PassOptions(uniform_timesteps=3, timesteps={"join": 7}))
    assert [p.timesteps for p in changed.spiking] == [3, 3, 7]
