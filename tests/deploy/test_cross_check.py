"""Our model against SANA-FE: equal on good networks, and whatever is changed on one side is named."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from builders import connect, dense, network_of, spiking
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from sanafe_in_process import as_build, export_build, run_export
from single_synapses import within_exponents
from small_networks import residual_network
from small_targets import small_target
from strategies import integer_networks, random_pixels
from typer.testing import CliRunner

import deploy.check.cross_check
from deploy.check.cross_check import compare_sanafe_run, cross_check
from deploy.cli.main import app
from hw_models.multicore.cost.tick_cost import computing_ns
from hw_models.multicore.pipeline.provisioning import Provisioning, uniform_provisioning
from hw_models.target_description import load_target
from sim.runners.sanafe import run_sanafe
from sim.stepped import input_currents, integrate_and_fire
from toolchain.errors import MappingError, SanafeError, TargetError, UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.networks.integer_network import IntegerSpiking
from toolchain.passes import lower_to_integers

pytestmark = pytest.mark.sanafe
LOIHI = load_target("loihi-sim")


def held(build, folder, change=lambda export: None):
    """The cross-check of a build whose export was changed."""
    export = export_build(build)
    change(export)
    return compare_sanafe_run(build, export.copies, run_export(folder, export))


@pytest.fixture(scope="module")
def residual():
    network = residual_network()
    provisioning = uniform_provisioning(network, 2)
    return as_build(network, LOIHI, provisioning, random_pixels(network, 3, samples=5))


def test_the_trained_network_agrees_in_everything(qac_deploy, compiled):
    process = qac_deploy("cross-check", compiled[1], "--samples", 3, "--json")
    assert process.returncode == 0, process.stderr
    check = json.loads(process.stdout)
    assert check["disagreements"] == []
    assert check["samples"] == 3
    assert check["copies"] == 2  # samples overlap: it is the pipeline that runs there
    assert check["num_spikes"] > 1_000
    counts = {q["name"]: (q["ours"], q["theirs"]) for q in check["events"]}
    for name in ("synaptic events", "messages sent", "hops east-west", "spikes"):
        assert counts[name][0] == counts[name][1] > 0
    assert 0 < counts["active updates"][1] < counts["active updates"][0]
    ticks = {name: np.array(values) for name, values in check["tick_us"].items()}
    assert {len(values) for values in ticks.values()} == {check["num_ticks"]}
    steps = [step["difference_us"] for step in check["time_steps"]]
    assert ticks["ours"].sum() + sum(steps[:-1]) == pytest.approx(ticks["simple"].sum())
    assert ticks["simple"].sum() + steps[-1] == pytest.approx(ticks["detailed"].sum())
    assert abs(check["time_error"]) < check["time_tolerance"] == 0.243
    assert abs(check["energy_error"]) < check["energy_tolerance"] == 0.117


def test_the_design_that_is_searched_for_time_agrees(qac_deploy, trained):
    """Its tiles are fine, so a spike goes to many cores, and most of a tick is spent in the mesh."""
    process = qac_deploy("compile", trained[1], "--optimize", "time", "--out", "build")
    assert process.returncode == 0, process.stderr
    process = qac_deploy("cross-check", "build", "--samples", 2, "--json")
    assert process.returncode == 0, process.stderr
    check = json.loads(process.stdout)
    assert check["disagreements"] == []
    queues, *_, of_detailed = (step["difference_us"] for step in check["time_steps"])
    ours, theirs = (sum(check["tick_us"][name]) for name in ("ours", "detailed"))
    assert queues < -0.03 * ours  # our queues
    assert of_detailed > 0.2 * theirs  # SANA-FE's
    assert abs(check["time_error"]) < 0.15


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (-0.242, []),
        (-0.244, ["time: ours is -24.4%, the tolerance 24.3%"]),
        (0.242, []),
        (0.244, ["time: ours is +24.4%, the tolerance 24.3%"]),
    ],
)
def test_a_time_beyond_the_tolerance_is_named(residual, tmp_path, error, named):
    check = held(residual, tmp_path)
    theirs = [1_000.0] * check.num_ticks
    ours = [1_000.0 * (1 + error) for _ in theirs]
    check = replace(check, tick_us={**check.tick_us, "ours": ours, "detailed": theirs})
    assert check.disagreements == named


def test_queues_that_our_model_leaves_out_are_found(tmp_path, monkeypatch):
    """96 neurons on 24 cores fire in each of two steps, and each spike goes to the next 24 cores."""
    sizes = {"input": 1, "first": 96, "second": 96, "logits": 1}
    hops = network_of(
        *(spiking(name, (96, 1, 1), timesteps=2, bias=1) for name in ("first", "second")),
        *(connect(a, b, dense(np.ones((sizes[b], sizes[a])))) for a, b in pairwise(sizes)),
    )
    target = small_target(core={"compartments": 12})
    pixels = np.ones((3, 1, 1, 1), np.int64)
    build = as_build(hops, target, uniform_provisioning(hops, 2), pixels)
    assert len(build.mapping.cores) == 49
    export = export_build(build)
    run = run_export(tmp_path, export)
    check = compare_sanafe_run(build, export.copies, run)
    assert check.disagreements == []
    assert abs(check.time_error) < 0.1
    monkeypatch.setattr(deploy.check.cross_check, "core_ticks_ns", computing_ns)
    (difference,) = compare_sanafe_run(build, export.copies, run).disagreements
    assert difference.startswith("time: ours is -3")


@settings(max_examples=40)
@given(
    integer_networks(any_potential=True),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_random_networks_agree(tmp_path_factory, network, seed, data):
    network = within_exponents(network)
    names = [population.name for population in network.populations[1:]]
    replicas = {name: data.draw(st.sampled_from([1, 1, 1, 2, 3])) for name in names}
    slots = {
        edge: count * data.draw(st.integers(1, 3))
        for edge, count in uniform_provisioning(network, 1, replicas).slots.items()
    }
    pixels = random_pixels(network, seed, samples=data.draw(st.integers(1, 5)))
    try:
        build = as_build(network, LOIHI, Provisioning(slots=slots, replicas=replicas), pixels)
        export = export_build(build)
    except (MappingError, UnsupportedNetworkError):
        reject()
    run = run_export(tmp_path_factory.mktemp("sanafe"), export)
    check = compare_sanafe_run(build, export.copies, run)
    # random networks do not test the duration of a tick with queues
    wrong = [d for d in check.disagreements if not d.startswith(("time: ours", "energy: ours"))]
    assert wrong == []
    assert check.time_steps[0].difference_us <= 0


def test_several_chips_differ_in_what_crosses_them(tmp_path):
    network = residual_network()
    target = small_target(
        core={"compartments": 48}, mesh={"width": 2, "height": 1, "cores_per_tile": 2}
    )
    build = as_build(network, target, uniform_provisioning(network, 2), random_pixels(network, 0))
    assert build.mapping.num_chips > 1
    check = held(build, tmp_path)
    assert check.disagreements == []
    differing = {q.name: q for q in (*check.events, *check.energy) if q.reason}
    assert differing["hops east-west"].theirs > differing["hops east-west"].ours
    assert "between chips" in differing["network"].reason
    assert set(differing) <= {"hops east-west", "network", "active updates", "soma"}


def test_copies_that_a_core_has_no_compartments_for_are_counted(tmp_path):
    network = residual_network()
    slots = {
        edge: 4 if edge == ("stem", "join") else 1 if edge == ("join", "logits") else 2
        for edge in uniform_provisioning(network, 1).slots
    }
    provisioning = Provisioning(slots=slots)
    build = as_build(network, LOIHI, provisioning, random_pixels(network, 0, samples=6))
    check = held(build, tmp_path)
    assert check.copies == 4
    assert check.disagreements == []
    (serviced,) = (q for q in check.events if q.name == "compartments serviced")
    # a neuron has 3 compartments in stem and inner.0, 7 in join, and only its buffer's one in logits
    more = 32 * (4 - 3) + 32 * (4 - 3) + 3 * (4 - 1)
    assert serviced.theirs - serviced.ours == more * check.num_ticks
    assert serviced.reason == "the copies need more compartments than there are"


def test_a_replica_is_sent_what_it_drops_and_that_is_counted(tmp_path):
    """``inner.0`` takes samples in turn; ``stem`` cannot choose, so each replica hears all of them."""
    network, replicas = residual_network(), {"inner.0": 2}
    provisioning = uniform_provisioning(network, 2, replicas)
    pixels = random_pixels(network, 3, samples=6)
    build = as_build(network, LOIHI, provisioning, pixels)
    export = export_build(build)
    assert export.copies % 2 == 0
    text = "".join(export.network)
    for copy in range(export.copies):
        assert f'"stem@{copy} -> inner_0@{copy}"' in text
        assert f'"stem@{copy} -> inner_0@dropped{1 - copy % 2}"' in text
        assert f'"stem@{copy} -> inner_0@dropped{copy % 2}"' not in text
    check = compare_sanafe_run(build, export.copies, run_export(tmp_path, export))
    assert check.disagreements == []
    alone = as_build(network, LOIHI, uniform_provisioning(network, 2), pixels)
    (events,) = (q for q in check.events if q.name == "synaptic events")
    (fewer,) = (q for q in held(alone, tmp_path).events if q.name == "synaptic events")
    assert events.theirs > fewer.theirs


def change_array(name, at, amount):
    def change(export):
        export.arrays[name] = export.arrays[name].copy()
        export.arrays[name][at] += amount

    return change


def replace_text(pattern, replacement):
    def change(export):
        text, count = re.subn(pattern, replacement, "\n".join(export.network), count=1)
        assert count == 1, pattern
        export.network[:] = text.split("\n")

    return change


def scale_cost(section, unit, cost, factor):
    def change(export):
        for tile in export.architecture["architecture"]["tile"]:
            for entry in tile["core"][0][section]:
                if entry["name"].startswith(unit):
                    entry["attributes"][cost] *= factor

    return change


def open_later(name):
    def change(export):
        (record,) = (p for p in export.plan["populations"] if p["name"] == name)
        record["first_ticks"] = [tick + 1 for tick in record["first_ticks"]]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_array("inner.0/threshold", 5, 300), "inner.0, tick"),
        (change_array("join/initial", 9, -200), "join, tick"),
        (change_array("stem/bias", 0, 2_000), "stem, tick"),
        (change_array("logits/bias", 1, 1), "logit at (sample, class) = (0, 1)"),
        (open_later("join"), "join, tick"),
        (
            replace_text(r'("stem@0 -> inner_0@0".*"weight": \[)-?\d+', r"\g<1>9000"),
            "inner.0, tick",
        ),
        (scale_cost("synapse", "loihi_conv", "energy_process_spike", 1.01), "synapse, tick"),
        (scale_cost("soma", "loihi_lif", "energy_spike_out", 1.01), "soma, tick"),
        (scale_cost("axon_out", "loihi_out", "energy_message_out", 1.01), "network, tick"),
        (scale_cost("axon_in", "loihi_in", "latency_message_in", 1.01), "time, tick"),
        (scale_cost("soma", "loihi_lif", "latency_access_neuron", 1.01), "time, tick"),
    ],
)
def test_what_is_changed_in_sana_fe_is_named(residual, tmp_path, change, named):
    check = held(residual, tmp_path, change)
    assert any(difference.startswith(named) for difference in check.disagreements), check


def test_a_neuron_on_another_core_is_found_by_what_the_core_receives(residual, tmp_path):
    """``stem`` on the core of the readout, as if two cores had been mixed up."""
    export = export_build(residual)
    lines = {line.split('"')[1]: line for line in export.network if '"core":' in line}
    home, away = (
        re.search(r'"core": "([\d.]+)"', lines[n])[1] for n in ("stem@0.0..31", "logits@0.0..2")
    )
    assert home != away
    moved = lines["stem@0.0..31"].replace(f'"core": "{home}"', f'"core": "{away}"')
    export.network[export.network.index(lines["stem@0.0..31"])] = moved
    check = compare_sanafe_run(residual, export.copies, run_export(tmp_path, export))
    assert check.spike_difference is None  # SANA-FE computes the same anywhere
    assert any(d.startswith("messages received, core ") for d in check.disagreements)


def test_a_target_without_sana_fes_figures_is_refused(residual):
    build = as_build(
        residual.network, load_target("loihi2-sim"), residual.mapping.provisioning, residual.pixels
    )
    with pytest.raises(
        TargetError, match="loihi2-sim has no cost profile 'sanafe', the figures of"
    ):
        cross_check(build)


def test_a_network_larger_than_the_memory_is_refused(residual, monkeypatch):
    # per copy: 4 bit planes of 200 synapses from pixels, 400 and 32 and 400 between, 96 to the readout
    per_copy = 4 * 2 * 10**2 + 2 * (4 * 10**2) + 32 + 3 * 32
    needed = 2 * per_copy * deploy.check.cross_check.BYTES_PER_SYNAPSE
    monkeypatch.setattr(os, "sysconf", lambda name: needed // 4 if name == "SC_PHYS_PAGES" else 4)
    deploy.check.cross_check._check_memory(residual)
    monkeypatch.setattr(
        os, "sysconf", lambda name: needed // 4 - 1 if name == "SC_PHYS_PAGES" else 4
    )
    with pytest.raises(
        SanafeError, match=rf"every synapse: {2 * per_copy:,} in 2 copies of the network"
    ):
        cross_check(residual)


def test_a_run_that_fails_says_what_sana_fe_said(residual, tmp_path):
    export = export_build(residual)
    run_export(tmp_path, export)
    (tmp_path / "network.yaml").write_text("network: {name: cut short}\n")
    with pytest.raises(SanafeError, match=r"failed with exit code 1\n[^$]*No neuron groups"):
        run_sanafe(tmp_path)


@pytest.mark.parametrize(("wrong", "code"), [(False, 0), (True, 1)])
def test_the_command_shows_both_sides_and_fails_where_they_differ(
    residual, tmp_path, monkeypatch, wrong, code
):
    change = change_array("inner.0/threshold", 5, 300 if wrong else 0)
    check = held(residual, tmp_path, change)
    monkeypatch.setattr(deploy.check.cross_check, "cross_check", lambda build, on_stage: check)
    monkeypatch.setattr("deploy.build.load.load_build", lambda build: None)
    monkeypatch.setattr("deploy.check.judged_build.judge", lambda build, samples: residual)
    result = CliRunner().invoke(app, ["cross-check", "build"])
    assert result.exit_code == code, result.output
    for text in (
        "synaptic events",
        "energy, nJ per sample",
        "SANA-FE, detailed timing",
        "tolerance",
    ):
        assert text in result.output
    if wrong:
        assert "DIFFERENT  inner.0, tick" in result.output
        assert "agrees" not in result.output
    else:
        assert "DIFFERENT" not in result.output
        assert f"{check.num_spikes} spikes of every neuron in every tick" in result.output


def with_spikes_everywhere(network, pixels):
    """The network with unchanged weights, and with each threshold at a positive current of its population."""
    source, *others = network.populations
    frames, populations = {source.name: pixels[:, None]}, [source]
    for population in others:
        if isinstance(population, IntegerSpiking):
            currents = input_currents(network, population, frames)
            level = max(int(np.quantile(currents[currents > 0], 0.7)), 1)
            threshold = np.full_like(population.threshold, level)
            population = replace(population, threshold=threshold, initial_potential=threshold // 2)
            frames[population.name], _ = integrate_and_fire(population, currents)
        populations.append(population)
    return type(network).build(populations, network.synapses)


@pytest.mark.slow
def test_resnet_20_at_a_quarter_of_its_width_on_two_chips():
    """Random weights, T_l of 1 to 4 in turn."""
    torch.manual_seed(0)
    module = quantize_activations(
        build_model("resnet-20", (1, 28, 28), 10, width=0.25), TimestepQuantizer
    )
    balance_thresholds(module, torch.rand(4, 1, 28, 28))
    for index, quantizer in enumerate(quantizers(module).values()):
        quantizer.t.data.fill_(1 + index % 4)
    network = lower_to_integers(convert(module, (1, 28, 28), 255), LOIHI.widths)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1, 28, 28))
    network = with_spikes_everywhere(network, pixels)
    build = as_build(network, LOIHI, uniform_provisioning(network, 2), pixels)
    assert build.mapping.num_chips == 2
    assert all(train.any() for train in build.reference.trains.values())
    check = cross_check(build)
    assert check.disagreements == []
    hops = next(q for q in check.events if q.name == "hops east-west")
    assert hops.theirs > hops.ours  # spikes cross from one chip to the other
