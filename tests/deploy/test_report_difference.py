"""``report --diff``: every figure that differs is shown, with its unit, change and direction."""

from __future__ import annotations

import copy
import json
import re
import shutil
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builders import float_connect, float_dense, float_network_of, float_spiking
from installed_command import in_terminal

from deploy.build.load import load_report_and_digests
from deploy.compile.compile_model import compile_model
from deploy.design.compilation import CompileOptions
from deploy.report.difference.difference import Side, difference
from deploy.report.difference.tables import change_text, shown_values
from toolchain.files.checkpoint import Checkpoint, save_checkpoint

GOLDEN = Path(__file__).parent.parent / "golden" / "report_difference.txt"


def skip_network(extra=()):
    """input -> stem -> inner -> join <- stem, join -> logits, with further layers in front of the logits."""
    random = np.random.default_rng(0)
    names = ("stem", "inner", "join", *extra)
    chain = ["input", *names, "logits"]
    edges = [*pairwise(chain), ("stem", "join")]
    return float_network_of(
        *(float_spiking(name, (4, 1, 1), 3) for name in names),
        *(
            float_connect(s, t, float_dense(random.normal(size=(2 if t == "logits" else 4, 4))))
            for s, t in edges
        ),
        image=(4, 1, 1),
        max_value=255,
        unit=1 / 255,
        classes=2,
    )


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """A folder with build a; b, with one more slot in the skip edge; and c, with one more layer."""
    folder = tmp_path_factory.mktemp("builds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save_checkpoint(Path("model.pt"), Checkpoint(skip_network(), {}))
        save_checkpoint(Path("deeper.pt"), Checkpoint(skip_network(["<b>extra"]), {}))
        compile_model(Path("model.pt"), Path("a"), CompileOptions())
        compile_model(Path("model.pt"), Path("b"), CompileOptions(slots_of={"stem->join": 3}))
        compile_model(Path("deeper.pt"), Path("c"), CompileOptions())
    return folder


@pytest.fixture
def document(compiled):
    return json.loads((compiled[1] / "report.json").read_text())


def compare(a, b):
    return difference(
        Side(folder="a", report=a, digests={}), Side(folder="b", report=b, digests={})
    )


def test_a_small_difference_is_the_golden_text(builds, qac_deploy):
    process = qac_deploy("report", "--diff", "a", "b", cwd=builds)
    assert process.returncode == 0
    assert process.stderr == ""
    shown, _, equal = process.stdout.rstrip().rpartition("\n")
    assert f"{shown}\n" == GOLDEN.read_text(encoding="utf-8")
    total, *parts = (int(count) for count in re.findall(r"\d+", equal))
    assert re.match(r"\d+ figures are equal: Options \d+, Fit 8, ", equal)
    assert total == sum(parts) > 300


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_every_figure_is_whole_in_a_terminal(builds, columns):
    a, b = (load_report_and_digests(builds / name) for name in "ac")
    found = difference(*(Side(folder="", report=r, digests=d) for r, d in (a, b)))
    shown = in_terminal(columns, "report", "--diff", "a", "c", cwd=builds)
    words = set(re.split(r"[\s,]+\s|\s+", shown))
    for figure in found["differing"]:
        values = [*shown_values(figure), change_text(figure)]
        assert {word.rstrip(",") for value in values for word in value.split()} <= words


def test_populations_of_one_build_only_are_named(builds, qac_deploy):
    process = qac_deploy("report", "--diff", "a", "c", "--json", cwd=builds)
    found = json.loads(process.stdout)
    alone = {(lone["part"], lone["of"]): lone for lone in found["only_in_one"]}
    assert {name: lone["only_in"] for name, lone in alone.items()} == {
        ("Populations", "<b>extra"): "b",
        ("Edges and their buffers", "join -> logits"): "a",
        ("Edges and their buffers", "join -> <b>extra"): "b",
        ("Edges and their buffers", "<b>extra -> logits"): "b",
    }
    assert alone["Populations", "<b>extra"]["figures"]["T"] == 3
    assert found["same"] == {
        "model": False, "integer network": False, "mapping": False, "target": True, "PE array": True,
    }  # fmt: skip
    assert found["a"]["sha256"]["model.pt"] != found["b"]["sha256"]["model.pt"]


def test_equal_builds(builds, qac_deploy):
    process = qac_deploy("report", "--diff", "a", "a", cwd=builds)
    assert process.returncode == 0
    assert process.stdout.splitlines()[-1].startswith("no figure differs: all ")
    found = json.loads(qac_deploy("report", "--diff", "a", "a", "--json", cwd=builds).stdout)
    assert found["differing"] == found["only_in_one"] == []
    assert all(found["same"].values())


FIRST_SCREEN = {
    "fit.num_cores": ("Fit", "cores", "worse"),
    "fit.num_chips": ("Fit", "chips", "worse"),
    "fit.available_cores": ("Fit", "cores available", "neither"),
    "fit.tightest.used": ("Fit", "use of the tightest limit", "worse"),
    "fit.tightest.limit": ("Fit", "tightest limit", "neither"),
    "fidelity.float_accuracy": ("Accuracy", "float network", "better"),
    "fidelity.integer_accuracy": ("Accuracy", "integer network", "better"),
    "fidelity.same_argmax": ("Accuracy", "samples with the same class", "better"),
    "pipeline.interval_ticks": ("Speed in ticks", "between results", "worse"),
    "pipeline.first_latency_ticks": ("Speed in ticks", "first result", "worse"),
    "pipeline.stall_share": ("Stalls", "a stage stalls", "worse"),
    "pipeline.explanation": ("Stalls", "limit", "neither"),
    "costs.sanafe.first_latency_s": ("Speed and energy", "first result", "worse"),
    "costs.sanafe.energy_per_sample_j": ("Speed and energy", "energy per sample", "worse"),
    "costs.sanafe.interval_s": ("Speed and energy", "results", "worse"),
    "mean_timesteps": ("Speed in ticks", "mean timesteps T", "neither"),
    "populations.1.timesteps": ("Populations", "T", "neither"),
    "synapses.0.slots": ("Edges and their buffers", "slots", "neither"),
}


@pytest.mark.parametrize("path", FIRST_SCREEN)
def test_a_figure_of_the_first_screen_is_shown_with_its_direction(document, path):
    """Each is larger in B than in A."""
    changed = copy.deepcopy(document)
    *way, last = path.split(".")
    parent = changed
    for step in way:
        parent = parent[int(step) if step.isdecimal() else step]
    parent[last] = f"{parent[last]} more" if isinstance(parent[last], str) else parent[last] * 1.01
    found = compare(document, changed)["differing"]
    assert FIRST_SCREEN[path] in [(f["part"], f["figure"], f["verdict"]) for f in found]


NOT_COMPARED = {
    "format": "checked when the report is read",
    "version": "checked when the report is read",
    "model.file": "the end of model.path",
    "model.training*": "the digest of the model covers it",
    "command": "printed for both builds",
    "target.description": "the target's name and its digest are compared",
    "data_contents*": "the digest of the data covers it",
    "measures*": "the same values as in fit, fidelity, pipeline and costs",
    "lowering*": "of training images; the digest of the integer network covers it",
    "suggestions*": "of other designs",
    "design_points*": "of other designs",
    "alignment_trade*": "of other designs",
    "sensitivity*": "of other designs",
    "mapping.num_c*": "in fit",
    "mapping.available_c*": "in fit",
    "mapping.places*": "of single cores; the digest of the mapping covers it",
    "activity*": "of single samples; the digest of the integer network covers it",
    "mapping.populations.*.cores": "of the population",
    "mapping.populations.*.replicas": "of the population",
    "pipeline.interval_exact": "interval_ticks as text",
    "pipeline.changes*": "of other designs",
    "pipeline.critical_paths*": "of the run shown, tick by tick",
    "pipeline.cores*": "of the run shown, core by core",
    "pipeline.stages.*.activity*": "of the run shown, tick by tick",
    "pipeline.stages.*.causes*": "of the run shown, tick by tick",
    "pipeline.stages.*.spans*": "of the run shown, tick by tick",
    "pipeline.stages.*.steady_shares.busy": "the rest of the other shares",
    "costs.*.times*": "time of single populations and cores",
    "costs.*.core_times*": "time of single populations and cores",
    "comparison*": "of the pipeline: in costs; of the array: by mode",
    "pe_array.*": "the array's name and its digest are compared; layers are summed up by mode",
    "provenance.*.figure": "names the figure",
    "populations.*.name": "names the population",
    "pipeline.stages.*.population": "names the population",
    "synapses.*.source": "names the edge",
    "synapses.*.target": "names the edge",
    "fidelity.outputs.*.name": "names the output",
}  # fmt: skip


def leaves(value, path=()):
    """(path, parent, key) of every number, text and so on."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(child, dict | list):
            yield from leaves(child, (*path, str(key)))
        else:
            yield (*path, str(key)), value, key


def test_no_figure_of_a_report_is_forgotten(document):
    """Whatever is changed in a report makes a difference, but for what is listed above with its reason."""
    document["max_pooling"] = {
        "populations": ["maximum"], "neurons": 8, "cores": 1, "interval_ticks_without": 3.0,
        "first_latency_ticks_without": 9,
    }  # fmt: skip
    changed = copy.deepcopy(document)
    used, tried, seen = set(), 0, set()
    for path, parent, key in leaves(changed):
        name = ".".join(path)
        exempt = [pattern for pattern in NOT_COMPARED if fnmatchcase(name, pattern)]
        used.update(exempt)
        kind = re.sub(r"\.\d+(?=\.|$)", ".*", name)
        if exempt or (kind in seen and path[0] == "provenance"):
            continue
        seen.add(kind)
        before = parent[key]
        parent[key] = "other" if isinstance(before, str | None) else before * 2 + 1
        found = compare(document, changed)
        assert found["differing"] or found["only_in_one"], f"{name} was changed and is not shown"
        parent[key] = before
        tried += 1
    assert tried > 200
    assert NOT_COMPARED.keys() - used == {"design_points*"}  # of a search alone


def test_values_that_differ_in_a_late_digit_are_told_apart(document):
    changed = copy.deepcopy(document)
    changed["costs"]["sanafe"]["energy_per_sample_j"] *= 1 + 1e-9
    (found,) = compare(document, changed)["differing"]
    a, b = shown_values(found)
    assert a != b
    assert found["verdict"] == "worse"


def test_the_accuracy_of_a_function_of_ones_own_is_not_judged(document):
    for_own = copy.deepcopy(document)
    for_own["fidelity"]["accuracy_function"] = "metrics.py:error"
    changed = copy.deepcopy(for_own)
    changed["fidelity"]["integer_accuracy"] = 0.5
    (found,) = compare(for_own, changed)["differing"]
    assert (found["b"], found["unit"], found["verdict"]) == (0.5, "", "neither")


def test_what_cannot_be_compared_is_refused(builds, qac_deploy, tmp_path):
    (tmp_path / "empty").mkdir()
    cases = [
        (("--diff", builds / "a"), "compares two builds, not 1"),
        ((builds / "a", builds / "b"), "takes one build, not 2; --diff compares two"),
        ((builds / "a", "--out", "x.html"), "is for --diff; a build has its report.html"),
        (("--diff", builds / "a", "empty"), "empty is not a build folder"),
    ]
    for arguments, message in cases:
        process = qac_deploy("report", *arguments)
        assert process.returncode == 2
        assert message in " ".join(re.sub("[│╭╮╰╯─]", " ", process.stderr).split())


def test_the_page_shows_the_same_and_holds_hostile_names(builds, qac_deploy, tmp_path):
    process = qac_deploy("report", "--diff", "a", "c", "--out", tmp_path / "diff.html", cwd=builds)
    assert process.returncode == 0
    html = (tmp_path / "diff.html").read_text(encoding="utf-8")
    assert "<b>" not in html
    text = re.sub(r"<wbr>|\u200b", "", html)
    assert "&lt;b&gt;extra" in text
    found = json.loads(qac_deploy("report", "--diff", "a", "c", "--json", cwd=builds).stdout)
    for figure in found["differing"]:
        assert change_text(figure) in text
    again = qac_deploy("report", "--diff", "a", "c", "--out", tmp_path / "diff.html", cwd=builds)
    assert again.returncode == 0
    assert (tmp_path / "diff.html").read_text(encoding="utf-8") == html


def test_a_page_replaces_no_other_file(builds, qac_deploy, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path / "notes.txt", builds / "a" / "diff.html"):
        process = qac_deploy("report", "--diff", "a", "b", "--out", out, cwd=builds)
        assert process.returncode == 2
        assert process.stderr.startswith(f"error: {out}: ")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (builds / "a" / "diff.html").exists()


def test_a_changed_build_is_refused(builds, qac_deploy, tmp_path):
    shutil.copytree(builds / "a", tmp_path / "changed")
    path = tmp_path / "changed" / "report.json"
    path.write_text(path.read_text().replace('"version": 4', '"version": 9'))
    process = qac_deploy("report", "--diff", builds / "a", "changed")
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: changed: is not as it was written: report.json was changed"
    )
