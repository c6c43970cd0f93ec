"""``qac-deploy trace``: single neurons step by step, in every engine, and where a run stops."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from builders import connect, dense, network_of, spiking
from installed_command import in_terminal
from integer_maximum_networks import max_pool_network
from matplotlib import image
from small_networks import residual_network
from strategies import random_pixels
from typer.testing import CliRunner

from deploy.backends.lava.environment import find_lava_python
from deploy.build.load import load_build
from deploy.cli.main import app
from deploy.trace import engines
from deploy.trace.conditions import parse_break, parse_until
from deploy.trace.engines import Found, first_difference, trace_in_rtl
from deploy.trace.neurons import parse_neurons
from deploy.trace.run import TracedRun
from deploy.trace.sources import source_shares
from deploy.trace.state import state_at
from deploy.trace.stop import first_stop
from deploy.trace.trace import trace_neurons
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import Provisioning, uniform_provisioning
from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.loop_nest import Unrolling
from sim.exact.engine import run_exact
from sim.runners.lava import run_lava
from sim.stepped import run_stepped
from toolchain.datasets import load_dataset
from toolchain.errors import LavaError, QacDeployError, TraceError
from toolchain.networks.linear_maps import Convolution

SMALL = replace(
    load_array("pe-array"),
    unrolling=Unrolling(output_channels=4, output_columns=4, timesteps=2, input_channels=4),
)


def run_of(network, pixels, *, slots=2, samples=None, replicas=None):
    provisioning = uniform_provisioning(network, slots)
    if replicas:
        provisioning = Provisioning(slots=provisioning.slots, replicas=replicas)
    pipeline = pipeline_of(network, provisioning, link_ticks=1)
    return TracedRun(
        network=network,
        pixels=pixels,
        schedule=schedule_pipeline(pipeline, len(pixels)),
        samples=range(len(pixels)) if samples is None else samples,
    )


def by_hand(**options):
    """One neuron, T = 3, threshold 10, V0 = 5, input 2 * pixel + 1, and a readout of 4 * count - 1.

    It has input 7, 1 and 19 in the three samples, in ticks 2 to 4, 5 to 7 and 8 to 10.
    """
    network = network_of(
        spiking("hidden", timesteps=3, threshold=10, initial=5, bias=1),
        connect("input", "hidden", dense([[2]])),
        connect("hidden", "logits", dense([[4]])),
        max_value=10,
        bias=-1,
    )
    return run_of(network, np.array([3, 0, 9]).reshape(3, 1, 1, 1), **options)


def test_every_quantity_of_a_neuron_by_hand():
    trace = trace_neurons(by_hand(), "hidden", [0], None)
    assert trace.ticks.tolist() == [[2, 3, 4], [5, 6, 7], [8, 9, 10]]
    steps = trace.steps
    assert steps.before[..., 0].tolist() == [[5, 2, 9], [5, 6, 7], [5, 14, 23]]
    assert steps.inputs["input"][..., 0].tolist() == [[6] * 3, [0] * 3, [18] * 3]
    assert steps.reached[..., 0].tolist() == [[12, 9, 16], [6, 7, 8], [24, 33, 42]]
    assert steps.spikes[..., 0].tolist() == [[True, False, True], [False] * 3, [True] * 3]
    assert steps.potentials[..., 0].tolist() == [[2, 9, 6], [6, 7, 8], [14, 23, 32]]
    readout = trace_neurons(by_hand(), "logits", None, None)
    assert readout.ticks.tolist() == [[6], [9], [12]]
    assert readout.steps.potentials[..., 0].tolist() == [[7], [-1], [11]]


def stop_of(run, text):
    network, pipeline = run.network, run.schedule.pipeline
    if text.startswith("until "):
        condition = parse_until(text.removeprefix("until "), pipeline.readout)
    else:
        condition = parse_break(text, network, pipeline)
    return first_stop(run, {text: condition})


@pytest.mark.parametrize(
    ("text", "samples", "tick", "sample"),
    [
        ("hidden fires", None, 2, 0),
        ("hidden[0] fires", (2,), 8, 2),
        ("hidden fires", (1,), None, None),
        ("hidden[0] potential == 9", None, 3, 0),
        ("hidden[0:0:0] potential>20", None, 9, 2),
        ("hidden potential < 2", None, None, None),
        ("hidden reached >= 24", None, 8, 2),
        ("hidden input <= 1", None, 5, 1),
        ("hidden input != 7", None, 5, 1),
        ("logits[0] potential > 7", None, 12, 2),
        ("hidden starts sample 2", None, 8, 2),
        ("hidden starts", None, 2, 0),
        ("hidden ends", (1,), 7, 1),
        ("input blocked", None, 2, 2),
        ("logits starved", None, 4, 0),
        ("logits busy", (1,), 9, 1),
        ("hidden drained", None, 0, 0),
        ("until tick 5", None, 5, None),
        ("until sample 0", None, 6, 0),
    ],
)
def test_a_run_stops_at_the_tick_and_sample_found_by_hand(text, samples, tick, sample):
    stop = stop_of(by_hand(samples=samples), text)
    if tick is None:
        assert stop is None
    else:
        assert (stop.tick, stop.sample) == (tick, sample)


def test_the_earliest_of_several_conditions_stops_and_later_steps_are_not_shown():
    run = by_hand()
    texts = ("hidden starts sample 1", "hidden[0] potential == 9")
    stop = first_stop(run, {t: parse_break(t, run.network, run.schedule.pipeline) for t in texts})
    assert (stop.condition, stop.tick, stop.neuron) == ("hidden[0] potential == 9", 3, 0)
    assert stop.reason == "hidden[0] has potential 9 in step 1 of sample 0"
    trace = trace_neurons(run, "hidden", None, stop)
    assert trace.samples == (0,)
    assert trace.is_done.tolist() == [[True, True, False]]
    assert trace_neurons(run, "logits", [0], stop).samples == ()


def test_the_state_says_what_every_stage_waits_for():
    run = by_hand()

    def states(tick):
        return [(s.activity, s.sample, s.reason) for s in state_at(run.schedule, tick)]

    assert states(4) == [
        ("blocked", 2, "sample 2 needs a slot of hidden, where sample 0 has it up to tick 4"),
        ("busy", 0, "fires step 2 of sample 0"),
        ("starved", 0, "sample 0 needs step 2 of hidden, in tick 4"),
    ]
    assert states(5)[0][2] == "sample 2 needs a slot of hidden, which sample 0 left in tick 4"
    assert states(5)[2][2] == "sample 0 needs step 2 of hidden, on its way since tick 4"
    assert states(1)[2] == ("drained", 0, "no input has come yet")
    assert states(12)[0] == ("drained", None, "no sample is left")
    (recent,) = {s.recent for s in state_at(run.schedule, 4, 4) if s.stage == "hidden"}
    assert recent == ("drained", "busy", "busy", "busy")
    for tick in range(run.schedule.num_ticks):  # the words exist for every tick
        assert len(states(tick)) == 3


def test_replicas_are_named_and_the_earliest_of_them_stops():
    run = by_hand(replicas={"hidden": 2})
    assert stop_of(run, "hidden fires").tick == 2
    assert (stop_of(run, "hidden#1 busy").tick, stop_of(run, "hidden busy").tick) == (3, 2)
    trace = trace_neurons(run, "hidden", [0], None)
    assert [trace.stage(sample) for sample in trace.samples] == ["hidden#0", "hidden#1", "hidden#0"]
    assert trace.ticks[:2].tolist() == [[2, 3, 4], [3, 4, 5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "hiden fires",
            "--break 'hiden fires': must begin with a population: input, hidden, logits; ",
        ),
        (
            "hidden explodes",
            "--break 'hidden explodes': 'explodes' is no condition; such are 'hidden f",
        ),
        (
            "hidden[0] blocked",
            "--break 'hidden[0] blocked': '[0] blocked' is no condition; such are ",
        ),
        (
            "hidden[1] fires",
            "hidden: has no neuron '1'; it has 1, named 0 to 0, or by channel:row:col",
        ),
        (
            "logits fires",
            "--break 'logits fires': the readout logits adds up its input and never fires",
        ),
        (
            "input fires",
            "input: sends pixels and has no membrane potential; choose one of hidden, logi",
        ),
        (
            "hidden starts sample 3",
            "'hidden starts sample 3': the run has samples 0 to 2; choose one ",
        ),
        (
            "until tick 13",
            "'until tick 13': the run of 3 samples ends with tick 12; choose an earlier ",
        ),
        (
            "until noon",
            "--until 'noon': must be such as 'tick 40' or 'sample 3'; --break takes events",
        ),
    ],
)
def test_bad_conditions_are_refused_with_what_is_possible(text, message):
    with pytest.raises(TraceError) as refusal:
        stop_of(by_hand(), text)
    assert str(refusal.value).startswith(message)


def test_the_longest_name_is_meant():
    network = network_of(
        spiking("a"),
        spiking("a[0] fires"),
        connect("input", "a", dense([[1]])),
        connect("a", "a[0] fires", dense([[1]])),
        connect("a[0] fires", "logits", dense([[1]])),
    )
    run = run_of(network, np.ones((1, 1, 1, 1), int))
    assert stop_of(run, "a[0] fires busy").reason == "a[0] fires is busy with sample 0"
    with pytest.raises(TraceError, match="'' is no condition"):
        stop_of(run, "a[0] fires")


def test_neurons_are_named_by_index_place_and_range():
    shape = (3, 4, 5)
    assert parse_neurons(["0,2,5"], "x", shape) == (0, 2, 5)
    assert parse_neurons(["2:1:3", "7..9,8"], "x", shape) == (48, 7, 8, 9)
    for text, message in {
        "60": "x: has no neuron '60'; it has 60, named 0 to 59, or by channel:row:column from 0:0:0 to 2:3:4",
        "0:4:0": "x: has no neuron '0:4:0'; ",
        "-1": "x: has no neuron '-1'; ",
        "": "x: has no neuron ''; ",
        "9..7": "x: neurons 9..7 must be a rising range, such as 7..9",
    }.items():
        with pytest.raises(TraceError) as refusal:
            parse_neurons([text], "x", shape)
        assert str(refusal.value).startswith(message)
    with pytest.raises(TraceError, match="a trace has at most 64 neurons"):
        parse_neurons(["0..64"], "x", (5, 5, 5))


@pytest.mark.parametrize("kind", ["average", "replicate", "truncate", "maximum"])
def test_the_steps_give_the_trains_of_the_stepped_engine_and_add_up(kind):
    """Potentials follow from the inputs; the inputs of each source from its neurons."""
    if kind == "maximum":
        maps = (Convolution(weight=np.ones((2, 2, 2, 2), np.int8)),)
        network = max_pool_network(("y", (2, 1, 1), maps, 0), shape=(2, 4, 4))
    else:
        network = residual_network()
        network = type(network).build(
            network.populations, [replace(s, alignment=kind) for s in network.synapses]
        )
    pixels = random_pixels(network, 1, samples=2)
    reference = run_stepped(network, pixels)
    run = run_of(network, pixels)
    assert reference.trains[network.spiking[0].name].any()
    for population in network.spiking:
        steps = run.steps(population.name, (0, 1))
        train = reference.trains[population.name]
        assert np.array_equal(steps.spikes, train.reshape(*train.shape[:2], -1))
        fallen = steps.before + steps.currents - steps.threshold * steps.spikes
        assert np.array_equal(fallen, steps.potentials)
        trace = trace_neurons(run, population.name, [0, 1], None)
        for position, own in enumerate(source_shares(trace, 1, 10**6)):
            amounts = {s: sum(o.amount for o in own if o.source == s) for s in steps.inputs}
            assert amounts == {s: v[1, :, position].sum() for s, v in trace.steps.inputs.items()}
    logits = run.steps(network.readout.name, (0, 1)).potentials[:, -1]
    assert np.array_equal(logits, reference.logits)


def altered(values, at):
    changed = values.copy()
    changed[at] = ~changed[at] if changed.dtype == bool else changed[at] + 1
    return changed


def test_the_comparator_names_the_difference_in_the_earliest_tick():
    run = by_hand()
    trace = trace_neurons(run, "hidden", [0], None)
    steps = trace.steps
    same = Found(
        potentials=steps.potentials, spikes=steps.spikes, currents=steps.currents, ticks=trace.ticks
    )
    assert first_difference(trace, same) is None
    wrong = replace(
        same,
        potentials=altered(altered(same.potentials, (2, 1, 0)), (0, 2, 0)),
        currents=altered(same.currents, (1, 1, 0)),
    )
    assert first_difference(trace, wrong) == (
        "hidden[0], sample 0, step 2, tick 4: potential is 7, not 6,"
    )
    for found, message in {
        replace(same, spikes=altered(same.spikes, (1, 0, 0))): "tick 5: spike is 1, not 0,",
        replace(same, currents=altered(same.currents, (1, 1, 0))): "tick 6: input is 2, not 1,",
        replace(same, ticks=altered(same.ticks, (2, 0))): "tick 8: tick is 9, not 8,",
    }.items():
        assert first_difference(trace, found).endswith(message)
    stopped = trace_neurons(run, "hidden", [0], stop_of(run, "until tick 4"))
    late = Found(
        potentials=altered(stopped.steps.potentials, (0, 2, 0)), spikes=stopped.steps.spikes
    )
    assert first_difference(stopped, late) is not None
    earlier = trace_neurons(run, "hidden", [0], stop_of(run, "until tick 3"))
    assert first_difference(earlier, late) is None


RANDOM_NEURONS = sorted(np.random.default_rng(16).choice(1024, 10, replace=False).tolist())


def arguments_of(build):
    return ("trace", build, "--sample", 3, "--population", "join", "--neuron", NAMED)


NAMED = ",".join(map(str, RANDOM_NEURONS))


def test_ten_random_neurons_of_the_digits_network(compiled, qac_deploy, tmp_path):
    """The trains of the exact engine, which has no time loop, and potentials that follow from them."""
    _, build = compiled
    process = qac_deploy(*arguments_of(build), "--json", "--plot", "trace.png")
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    pixels = load_dataset("digits").test_pixels[3:4]
    exact = run_exact(load_build(build).network, pixels, with_trains=True)
    train = exact.trains["join"][0].reshape(document["timesteps"], -1)
    assert [traced["neuron"] for traced in document["neurons"]] == RANDOM_NEURONS
    assert 0 < train[:, RANDOM_NEURONS].sum() < train[:, RANDOM_NEURONS].size
    for traced in document["neurons"]:
        assert [step["spike"] for step in traced["steps"]] == train[:, traced["neuron"]].tolist()
        potential = traced["initial_potential"]
        for step in traced["steps"]:
            assert step["before"] == potential
            assert step["input"] == sum(step["inputs"].values()) + traced["bias"]
            assert step["reached"] == potential + step["input"]
            assert step["spike"] == (step["reached"] >= traced["threshold"])
            potential = step["reached"] - step["spike"] * traced["threshold"]
            assert step["potential"] == potential
    assert document["samples"][0]["logits"] == exact.logits[0].tolist()
    picture = image.imread(tmp_path / "trace.png")
    assert picture.shape[0] > picture.shape[1]  # eight panels
    assert 0.01 < (picture[..., :3].std(axis=2) > 0.05).mean() < 0.5  # coloured lines and bars


def test_a_trace_fits_80_columns_and_ends_with_the_state_at_the_stop(compiled):
    _, build = compiled
    shown = in_terminal(
        80,
        *("trace", build.name, "--break", "join fires", "--until", "tick 40", "--contributions", 2),
        cwd=build.parent,
    )
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "no --neuron was given: this one met the condition first" in lines
    (stopped,) = (line for line in lines if line.startswith("stopped in tick "))
    assert " fires" in stopped
    state = lines[lines.index(stopped) + 1 :]
    (head,) = (number for number, line in enumerate(state) if line.startswith("stage "))
    named = [line.split()[0] for line in state[head + 1 : -1] if not line.startswith(" ")]
    assert named == ["input", "stem", "inner", "join", "wide", "readout"]
    assert state[-1].startswith(
        "# busy, s starved, b blocked, . drained; the last character is tick "
    )


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_refuses_what_is_not_in_the_run(compiled):
    _, build = compiled
    for arguments, message in {
        (): "choose a population with --population: stem, inner, join, wide, readout",
        ("--population", "jion"): "no population 'jion'; choose one of stem, inner, join, wide, ",
        ("--break", "join fires", "--sample", 540): (
            "test samples of digits: there are 540, so --sample is 0 to 539 and --samples at most 540"
        ),
        ("--break", "join fires", "--sample", 5, "--samples", 5): (
            "--sample 5: a run of 5 samples has 0 to 4; raise --samples"
        ),
        ("--population", "join", "--plot", build / "trace.png"): (
            f"{build / 'trace.png'}: is in {build}, which stays as qac-deploy wrote it; choose another with"
        ),
    }.items():
        result = invoke("trace", build, *arguments)
        assert isinstance(result.exception, QacDeployError), result.output
        assert str(result.exception).startswith(message)


def test_what_never_happens_is_said(compiled):
    result = invoke("trace", compiled[1], "--break", "join[0] potential > 99999999")
    assert result.exit_code == 0
    assert (
        "'join[0] potential > 99999999' never happens in the 16 samples of the run" in result.output
    )


def test_random_pixels_and_a_missing_simulator_are_said(compiled, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = invoke(
        *("trace", compiled[1], "--population", "wide", "--random", 5, "--engine", "all"),
        *("--lava-python", tmp_path / "none"),
    )
    assert result.exit_code == 0, result.output
    for words in (
        "samples of random pixels, seed 5: 32×4×4 neurons, T = 2",
        "no --neuron was given: these neurons spike most",
        "skipped    lava: --lava-python",
        "skipped    rtl: no simulator of hardware descriptions was found",
    ):
        assert words in result.output


@pytest.mark.lava
def test_a_probe_of_what_is_not_in_the_network_is_refused(compiled, tmp_path):
    _, build = compiled
    pixels = load_dataset("digits").test_pixels[:1]
    for probes, message in {
        "jion:0": "--probe jion:0: must be POPULATION:0,2,5 with one of stem, inner, join, wide, readout",
        "join:1024": "--probe join:1024: the neurons must be 0 to 1023",
    }.items():
        name, _, neuron = probes.partition(":")
        with pytest.raises(LavaError) as refusal:
            run_lava(
                build / "lava",
                pixels,
                num_ticks=1,
                python=find_lava_python(),
                probes={name: [int(neuron)]},
            )
        assert str(refusal.value).endswith(message)


@pytest.mark.lava
def test_ten_random_neurons_in_lava(compiled, qac_deploy):
    _, build = compiled
    process = qac_deploy(*arguments_of(build), "--engine", "lava", "--json")
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout)
    (lava,) = document["engines"]
    assert (lava["status"], lava["detail"]) == (
        "equal",
        "ticks, inputs, spikes and potentials of 10 neurons in 2 steps",
    )
    for ours, theirs in zip(document["neurons"], lava["neurons"], strict=True):
        assert theirs["neuron"] == ours["neuron"]
        for step, recorded in zip(ours["steps"], theirs["steps"], strict=True):
            assert recorded.items() <= step.items()


def join_of(build, sample=3):
    loaded = load_build(build)
    pixels = load_dataset("digits").test_pixels[:8]
    run = run_of(loaded.network, pixels, samples=(sample,))
    return loaded, trace_neurons(run, "join", RANDOM_NEURONS, None)


@pytest.mark.rtl
def test_ten_random_neurons_in_the_rtl(compiled, tmp_path):
    _, trace = join_of(compiled[1])
    compared = trace_in_rtl(
        SMALL,
        trace,
        lambda: "icarus",
        cycle_limit=lambda simulator: 10**4,
        on_stage=lambda stage: None,
        cache=tmp_path,
    )
    assert (compared.status, compared.detail) == (
        "equal",
        "spikes and potentials (icarus, 2,566 cycles) of 10 neurons in 2 steps",
    )
    assert np.array_equal(compared.found.potentials, trace.steps.potentials)
    assert compared.found.spikes.any()


def test_what_the_rtl_does_not_run_is_said(compiled):
    def skipped(trace, cycles):
        compared = trace_in_rtl(
            *(SMALL, trace, lambda: "icarus"),
            cycle_limit=lambda simulator: cycles,
            on_stage=lambda stage: None,
        )
        assert compared.status == "skipped"
        return compared.detail

    assert skipped(join_of(compiled[1])[1], 100) == (
        "join: 2,566 cycles in 1 sample are above the limit of 100 for icarus; raise --rtl-cycles"
    )
    maps = (Convolution(weight=np.ones((2, 2, 2, 2), np.int8)),)
    network = max_pool_network(("y", (2, 1, 1), maps, 0), shape=(2, 4, 4))
    (name, *_) = (p.name for p in network.spiking if p.role == "maximum")
    run = run_of(network, random_pixels(network, 1, samples=1))
    assert skipped(trace_neurons(run, name, [0], None), 10**6) == (
        f"{name}: the PE array does not run it: comparators take the maximum that it is part of"
    )


def test_a_difference_is_named_and_ends_with_exit_code_1(compiled, monkeypatch, tmp_path):
    """A run in Lava whose record is off by one in one neuron of one step."""
    _, trace = join_of(compiled[1])
    found = Found(
        potentials=altered(trace.steps.potentials, (0, 1, 4)),
        spikes=trace.steps.spikes,
        currents=trace.steps.currents,
        ticks=trace.ticks,
    )
    monkeypatch.setattr(engines, "run_build_in_lava", lambda *_, **__: None)
    monkeypatch.setattr(engines, "lava_found", lambda *_: found)
    monkeypatch.setattr("deploy.backends.lava.environment.find_lava_python", lambda _: tmp_path)
    result = invoke(*arguments_of(compiled[1]), "--engine", "lava")
    assert result.exit_code == 1, result.output
    expected = int(trace.steps.potentials[0, 1, 4])
    assert (
        f"DIFFERENT  lava: join[{RANDOM_NEURONS[4]}] ({trace.place(RANDOM_NEURONS[4])}), sample 3, step 1, "
        f"tick {trace.ticks[0, 1]}: potential is {expected + 1:,}, not {expected:,}, in lava"
    ) in result.output

    def fail(*_, **__):
        raise LavaError("no tick for 120 s")

    monkeypatch.setattr(engines, "run_build_in_lava", fail)
    result = invoke(*arguments_of(compiled[1]), "--engine", "lava")
    assert result.exit_code == 1
    assert "DIFFERENT  lava: no tick for 120 s" in result.output
