"""The designs of the trained network, explored through the command line and in this process."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import signal
import sys

import distributed
import numpy as np
import pytest
from installed_command import run_command, started, wait_until
from small_targets import write_target

from deploy.build import line_journal
from deploy.build.load import load_report
from deploy.design.compilation import CompileOptions
from deploy.explore.exploration import explore
from deploy.explore.explore_model import ExploreOptions, explore_model
from deploy.explore.front import Measure, best_designs, pareto_front
from deploy.explore.page import render_exploration
from deploy.explore.proposals import BATCH_DESIGNS, all_designs, every_design, sampled_designs
from deploy.explore.space import Parameter, Space, Vary, design_key, in_words
from toolchain.errors import ClusterError, ModelFileError, OptionError, TargetError

SMALL = {Vary.SLOTS: None, Vary.WEIGHT_BITS: [4]}
TIMES = ("interval_us", "first_latency_us", "energy_nj")
ARGUMENTS = ("--vary", "slots", "--vary", "weight-bits=4")


@pytest.fixture(scope="module")
def explored(trained):
    """(finished command, its folder): four numbers of slots, with weights of 8 and 4 bits."""
    _, model = trained
    process = run_command("explore", "model.pt", *ARGUMENTS, cwd=model.parent, COLUMNS="80")
    assert process.returncode == 0, process.stderr
    return process, model.parent / "explore"


@pytest.fixture(scope="module")
def record(explored):
    return json.loads((explored[1] / "explore.json").read_text())


def in_process(model, out, **options):
    return explore_model(
        model,
        out,
        ExploreOptions(**{"vary": SMALL, **options}),
        resume=options.pop("resume", False),
    )


def costs(record):
    """Of every design, lower is better: all measures that designs are compared by."""
    table = []
    for design in record["designs"]:
        measures = design["measures"]
        means = [
            np.mean(list(measures[k].values()))
            for k in ("interval_us", "first_latency_us", "energy_nj")
        ]
        table.append([-measures["accuracy"], *means, measures["num_cores"]])
    return np.array(table)


def test_all_designs_of_a_small_space_are_tried(record):
    assert record["tried_all"]
    assert record["space"] == [
        {"name": "weight-bits", "choices": [8, 4]},
        {"name": "slots", "choices": [2, 1, 3, 4]},
    ]
    assert len({design["command"] for design in record["designs"]}) == 8
    assert record["designs"][0]["change"] == "as compiled by default"
    assert record["designs"][7]["change"] == "4-bit weights; 4 slots"
    assert record["designs"][7]["command"] == (
        "qac-deploy compile model.pt --target loihi-sim --weight-bits 4 --slots 4 --out build-next"
    )


def test_the_front_is_what_no_design_beats(record):
    table = costs(record)
    for own, design in zip(table, record["designs"], strict=True):
        beaten = any((other <= own + 1e-6).all() and (other < own - 1e-6).any() for other in table)
        assert design["on_front"] == (not beaten)
    marked = {d["mark"] for d in record["designs"] if d["mark"]}
    assert {name for mark in marked for name in mark.split(", ")} >= {
        "fewest cores",
        "best compromise",
    }


def compiled_measures(command, model, folder):
    """The measures in the report of a printed command."""
    program, *arguments = shlex.split(command)
    assert program == "qac-deploy"
    shutil.copyfile(model, folder / "model.pt")
    process = run_command(*arguments, cwd=folder)
    assert process.returncode == 0, process.stderr
    return load_report(folder / "build-next")["measures"]


def assert_gives(design, found):
    """Accuracies of a report are on test samples, which a search sees only of the best designs."""
    expected = {**design["measures"], "accuracy": design["test_accuracy"] or found["accuracy"]}
    assert found == expected


def test_a_printed_command_gives_the_measures(trained, record, tmp_path):
    design = next(d for d in record["designs"] if d["mark"] and d["number"])
    assert design["test_accuracy"] is not None
    assert_gives(design, compiled_measures(design["command"], trained[1], tmp_path))


@pytest.mark.slow
def test_the_commands_of_a_sampled_space_give_the_measures(trained, tmp_path):
    found = explore_model(trained[1], tmp_path / "explore", ExploreOptions(budget=60, seed=3))
    different = [d for d in found["designs"][::9] if d["measures"]]
    assert len(different) >= 6
    for number, design in enumerate(different):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = design["command"].replace(str(trained[1]), "model.pt")
        assert_gives(design, compiled_measures(command, trained[1], folder))


@pytest.mark.slow
def test_a_shape_of_the_array_is_compiled_and_verified(trained, tmp_path):
    options = ExploreOptions(vary={Vary.SLOTS: [3]}, array="pe-array")
    found = explore_model(trained[1], tmp_path / "explore", options)["array"]
    assert found["elements"] == 1024
    assert len(found["designs"]) + found["left_out"] == 2 * 286 * found["networks"]
    shape = next(d for d in found["designs"] if d["on_front"])
    _, *arguments = shlex.split(shape["command"])
    assert run_command(*arguments, cwd=tmp_path).returncode == 0
    on_array = load_report(tmp_path / "build-next")["pe_array"]
    (mode,) = (m for m in on_array["estimates"] if m["mode"] == shape["mode"])
    assert on_array["array"] == "pe-array " + "x".join(map(str, shape["unrolling"]))
    assert mode["total_cycles"] == shape["measures"]["cycles"]
    assert sum(mode["energy_pj"].values()) / 1000 == shape["measures"]["array_nj"]
    verified = run_command("verify", "build-next", cwd=tmp_path, timeout=600)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_an_unrolling_of_the_command_line_is_checked():
    from typer.testing import CliRunner

    from deploy.cli.main import app

    for text in ("16,4,2", "16,4,2,0", "a,4,2,8", "16,4,2,-8", "1000000,2,1,1"):
        result = CliRunner().invoke(app, ["compile", "model.pt", "--unrolling", text])
        assert result.exit_code == 2
        assert "--unrolling" in result.output


def test_the_tables_list_the_designs(explored, record):
    with (explored[1] / "designs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["command"] for row in rows] == [d["command"] for d in record["designs"]]
    assert (
        float(rows[3]["energy_nj sanafe"])
        == record["designs"][3]["measures"]["energy_nj"]["sanafe"]
    )
    with (explored[1] / "front.csv").open() as file:
        front = list(csv.DictReader(file))
    assert {int(row["number"]) for row in front} == {
        d["number"] for d in record["designs"] if d["on_front"]
    }


def test_the_terminal_shows_the_front_and_its_commands(explored, record):
    out = explored[0].stdout
    assert "all 8 designs tried" in out
    for design in record["designs"]:
        if design["mark"]:
            assert f"{design['mark']}, design {design['number']}: {design['change']}" in out
            assert design["command"] in out


def test_the_page_shows_the_front_and_loads_nothing(explored, record):
    page = (explored[1] / "explore.html").read_text()
    front = sum(design["on_front"] for design in record["designs"])
    assert f"The Pareto front: {front} designs" in page
    assert page.count('<tr><td class="number"') == front
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not re.findall(r'(?:src|href)="', page)


def test_names_cannot_end_the_script_of_the_page(record):
    hostile = "</script><script>alert(1)</script>"
    design = {**record["designs"][0], "change": hostile, "command": hostile, "mark": hostile}
    other = {
        **record,
        "model": hostile,
        "data": hostile,
        "designs": [design, *record["designs"][1:]],
    }
    assert "<script>alert" not in render_exploration(other)


# ---- interrupts and workers


class Interrupt(Exception):
    pass


def interrupted_after(count, model, out):
    def progress(done, total):
        if done >= count:
            raise Interrupt

    with pytest.raises(Interrupt):
        explore_model(model, out, ExploreOptions(vary=SMALL), on_progress=progress)


def same_designs(ours, theirs):
    keys = ("designs", "space", "compared_by", "tuning_samples")
    assert [ours[key] for key in keys] == [theirs[key] for key in keys]


@pytest.fixture
def model(trained, tmp_path, monkeypatch):
    """The model in the current folder, so that commands name it as those of the finished run do."""
    shutil.copyfile(trained[1], tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    return type(tmp_path)("model.pt")


def test_an_interrupted_exploration_goes_on(model, record, tmp_path):
    out = tmp_path / "explore"
    interrupted_after(3, model, out)
    state = tmp_path / "explore.exploration"
    assert len(state.read_text().splitlines()) == 1 + 3
    assert not out.exists()
    state.write_text(state.read_text()[:-5])  # killed while it wrote a line
    counts = []
    found = explore_model(
        model, out, ExploreOptions(vary=SMALL), resume=True,
        on_progress=lambda done, total: counts.append(done),
    )  # fmt: skip
    assert counts[0] == 2
    same_designs(found, record)
    assert not state.exists()


def test_ctrl_c_says_how_to_go_on(trained, tmp_path):
    process = started("explore", trained[1], "--workers", 1, cwd=tmp_path)
    state = tmp_path / "explore.exploration"
    wait_until(lambda: state.exists() and state.read_text().count("\n") > 2, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command with --resume to continue" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explore.exploration"]


def test_four_workers_find_the_same(model, record, tmp_path):
    with distributed.LocalCluster(
        n_workers=4, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        found = in_process(model, tmp_path / "explore", scheduler=cluster.scheduler_address)
    same_designs(found, record)


@pytest.mark.slow
def test_processes_find_the_same(model, record, tmp_path):
    same_designs(in_process(model, tmp_path / "explore", workers=2), record)


# ---- refusals


def test_another_model_or_target_is_not_resumed(model, tmp_path, trained):
    out = tmp_path / "explore"
    interrupted_after(1, model, out)
    with pytest.raises(ModelFileError, match="is of another run: its targets differs; run without"):
        explore_model(model, out, ExploreOptions(vary=SMALL, targets=["loihi2-sim"]), resume=True)
    other = tmp_path / "other.pt"
    other.write_bytes(model.read_bytes() + b"\0")
    from toolchain.files import checkpoint

    read = checkpoint.load_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deploy.explore.explore_model.load_checkpoint", lambda path: read(model))
        with pytest.raises(ModelFileError, match="is of another run: its model differs"):
            explore_model(other, out, ExploreOptions(vary=SMALL), resume=True)


def test_a_damaged_state_is_refused(model, tmp_path):
    out = tmp_path / "explore"
    interrupted_after(1, model, out)
    state = tmp_path / "explore.exploration"
    first, line = state.read_text().splitlines()
    damaged = json.loads(line)
    damaged["measures"]["num_cores"] = "many"
    sealed = line_journal._line(
        {name: value for name, value in damaged.items() if name != "sha256"},
        json.loads(first)["sha256"],
    )[0]
    for text, message in (
        (
            json.dumps(damaged) + "\n",
            "line 2 was changed since it was written; run without --resume",
        ),
        (sealed, r"line 2\.measures\.num_cores must be an integer of at least 0, not 'many'; run"),
    ):
        state.write_text(f"{first}\n{text}")
        with pytest.raises(ModelFileError, match=message):
            explore_model(model, out, ExploreOptions(vary=SMALL), resume=True)


def test_a_folder_with_something_else_is_kept(trained, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(
        ModelFileError, match="exists and is not an exploration, so it is not replaced"
    ):
        in_process(trained[1], tmp_path / "mine")


def test_unknown_targets_and_values_are_refused(trained, tmp_path):
    with pytest.raises(TargetError, match="no-such-chip"):
        in_process(trained[1], tmp_path / "out", targets=["no-such-chip"])
    for vary, message in (
        ({Vary.WEIGHT_BITS: [9]}, "--vary weight-bits: must be whole numbers from 2 to 8, not '9'"),
        ({Vary.SLOTS: ["x"]}, "--vary slots: must be whole numbers from 1 to 1000, not 'x'"),
        (
            {Vary.ALIGNMENT: ["mean"]},
            "--vary alignment: must be one of average, replicate, truncate",
        ),
    ):
        with pytest.raises(OptionError, match=message):
            in_process(trained[1], tmp_path / "out", vary=vary)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "0"], "Invalid value for '--budget'"),
        (["--vary", "colour"], "must be one of weight-bits, timesteps"),
        (["--vary", "slots", "--vary", "slots=2"], "names slots twice"),
        (["--vary", "slots=2,"], "must be slots=VALUE,..., not 'slots=2,'"),
    ],
)
def test_bad_options_are_refused(arguments, message):
    from typer.testing import CliRunner

    from deploy.cli.main import app

    result = CliRunner().invoke(app, ["explore", "model.pt", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output


def test_a_scheduler_that_does_not_answer(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.dataset_run.cluster.CONNECT_TIMEOUT_S", 1)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        in_process(trained[1], tmp_path / "out", scheduler="tcp://127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


def test_designs_that_do_not_fit_are_listed_with_their_reason(trained, tmp_path):
    write_target(tmp_path / "small.yaml", mesh={"width": 3, "height": 2}, chips={"count": 1})
    found = in_process(
        trained[1],
        tmp_path / "out",
        vary={Vary.SLOTS: None},
        targets=[str(tmp_path / "small.yaml")],
    )
    refused = [design for design in found["designs"] if design["refused"]]
    assert 0 < len(refused) < 4
    assert all("cores" in design["refused"] for design in refused)
    assert not any(design["on_front"] for design in refused)
    assert (
        f"{len(refused)} designs cannot be built" in (tmp_path / "out" / "explore.html").read_text()
    )


def test_an_accuracy_budget_keeps_poor_designs_off_the_front(trained, tmp_path):
    """With T = 1 in some populations: cheaper, and less accurate."""
    short = {"vary": {Vary.TIMESTEPS: [1]}}
    free = in_process(trained[1], tmp_path / "free", **short)
    accuracies = [d["measures"]["accuracy"] for d in free["designs"]]
    best = max(accuracies)
    on_front = [a for a, d in zip(accuracies, free["designs"], strict=True) if d["on_front"]]
    assert min(on_front) < best
    lost = 100 * (best - min(on_front)) / 2
    kept = in_process(trained[1], tmp_path / "kept", **short, accuracy_budget=lost)
    front = [d["measures"]["accuracy"] for d in kept["designs"] if d["on_front"]]
    assert sorted(front) == sorted(a for a in on_front if a >= best - lost / 100)


# ---- spaces, fronts and samplers, with measures that are made up


def space_of(**sizes):
    parameters = [
        Parameter(vary=Vary.REPLICAS, where=name, choices=tuple(range(1, size + 1)))
        for name, size in sizes.items()
    ]
    return Space(
        parameters=tuple(parameters),
        base=CompileOptions(),
        trained={},
        default_slots={"loihi-sim": 2},
        default_bits={"loihi-sim": 8},
    )


SPACE = space_of(a=9, b=9, c=9, d=9)
TWO = (
    Measure(key="num_cores", title="cores", best="fewest cores"),
    Measure(key="num_slots", title="slots", best="fewest slots"),
)


def made_up(designs):
    for index, options in enumerate(designs):
        a, b, c, d = (options.replicate.get(name, 1) for name in "abcd")
        measures = {
            "accuracy": None,
            "num_cores": a + b + abs(c - 5),
            "num_slots": 20 - a - b + abs(d - 3),
        }
        yield index, {"measures": measures} if c < 9 else {"refused": "c is too large"}


def explored_in_steps(budget, *, stop_after=None, known=None):
    """The numbers of outcomes written, and the result; None if it was stopped."""
    written = dict(known or {})

    def write(key, outcome):
        if stop_after is not None and len(written) >= stop_after:
            raise Interrupt
        written[key] = outcome

    try:
        result = explore(SPACE, TWO, budget, 7, made_up, known=dict(known or {}), on_outcome=write)
    except Interrupt:
        return written, None
    return written, result


def plain(result):
    return [
        (design_key(d.options), d.measures, d.refused, d.on_front, d.mark) for d in result.designs
    ]


def test_a_large_space_is_sampled_up_to_the_budget_without_repeats():
    written, result = explored_in_steps(160)
    assert not result.whole
    assert len(result.designs) == len(written) == 160
    assert len({design_key(design.options) for design in result.designs}) == 160
    assert result.designs[0].label == "as compiled by default"
    assert any(design.refused == "c is too large" for design in result.designs)
    sums = [d.measures["num_cores"] + d.measures["num_slots"] for d in result.designs if d.measures]
    assert np.mean(sums[-40:]) < np.mean(sums[40:80])  # NSGA-II learns: lower is better


@pytest.mark.parametrize("stop_after", [1, 77])
def test_a_sampled_space_goes_on_to_the_same_front(stop_after):
    _, whole = explored_in_steps(110)
    known, nothing = explored_in_steps(110, stop_after=stop_after)
    assert nothing is None
    written, resumed = explored_in_steps(110, known=known)
    assert len(written) == 110
    assert plain(resumed) == plain(whole)


def test_the_order_in_which_designs_are_measured_does_not_matter():
    def backwards(designs):
        return reversed(list(made_up(designs)))

    _, forwards = explored_in_steps(70)
    assert plain(explore(SPACE, TWO, 70, 7, backwards)) == plain(forwards)


def test_a_space_that_is_almost_tried_whole_ends():
    small = space_of(a=5, b=4, c=4, d=1)
    result = explore(small, TWO, 79, 0, made_up)
    assert len(result.designs) == 79


def test_without_optuna_small_spaces_are_tried_and_larger_ones_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    small = space_of(a=3, b=3, c=3, d=1)
    assert explore(small, TWO, 27, 0, made_up).whole
    with pytest.raises(OptionError, match=r"pip install 'qac-deploy\[explore\]', raise --budget"):
        explore(SPACE, TWO, 100, 0, made_up)


def test_choices_that_give_the_same_design_are_one_design():
    space = Space(
        parameters=(
            Parameter(vary=Vary.TIMESTEPS, where="", choices=(3, 2)),
            Parameter(vary=Vary.TIMESTEPS, where="stem", choices=(3, 2)),
            Parameter(vary=Vary.TIMESTEPS, where="join", choices=(2, 1)),
            Parameter(vary=Vary.SLOTS, where="", choices=(2, 3)),
            Parameter(vary=Vary.EDGE_SLOTS, where="stem->join", choices=(None, 2, 3)),
        ),
        base=CompileOptions(),
        trained={"stem": 3, "join": 2},
        default_slots={"loihi-sim": 2},
        default_bits={"loihi-sim": 8},
    )
    cap, single = space.options((1, 0, 0, 0, 0)), space.options((0, 1, 0, 0, 1))
    assert cap == single == CompileOptions(max_timesteps=2)
    both = space.options((1, 1, 1, 1, 1))
    assert both == CompileOptions(
        max_timesteps=2, timesteps={"join": 1}, slots=3, slots_of={"stem->join": 2}
    )
    assert in_words(both, space.base) == "T ≤ 2; 3 slots; T = 1 in join; 2 slots on stem->join"
    assert space.options((0, 0, 0, 1, 2)) == CompileOptions(slots=3)
    different = all_designs(space, 100, lambda choices: design_key(space.options(choices)))
    assert different[0] == space.default
    assert len(different) == 4 * 4 < space.size == 48


def test_a_front_keeps_the_first_of_equal_designs():
    table = np.array([[1.0, 3.0], [2.0, 2.0], [2.0, 2.0], [2.0, 3.0], [3.0, 1.0], [4.0, 1.0]])
    assert pareto_front(table).tolist() == [True, True, False, False, True, False]
    assert best_designs(table[[0, 1, 4]], TWO) == {
        0: "fewest cores", 1: "best compromise", 2: "fewest slots",
    }  # fmt: skip


def test_batches_have_a_constant_size():
    batches = list(every_design([(index,) for index in range(120)]))
    assert [len(batch) for batch in batches] == [BATCH_DESIGNS, BATCH_DESIGNS, 20]
    sampled = sampled_designs(SPACE, 1_000, 2, 0, str)
    first = next(sampled)
    assert first[0] == SPACE.default
    assert len(first) == len(sampled.send([(0.0, 0.0)] * BATCH_DESIGNS)) == BATCH_DESIGNS
