"""The SANA-FE export: its own files, our mapping, its Loihi's figures; and a script that runs them alone."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
from dataclasses import replace
from math import lcm

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from installed_command import run_command
from resampled_networks import resampled_networks
from single_synapses import dense_synapses, within_exponents
from small_networks import residual_network
from small_targets import small_target
from strategies import integer_networks, random_pixels

from deploy.backends.sanafe import network as sanafe_network
from deploy.backends.sanafe.architecture import NEURONS_PER_UNIT, architecture_document, loihi_file
from deploy.backends.sanafe.explicit_synapses import explicit_synapses, tile_inputs
from deploy.backends.sanafe.network import to_sanafe, write_sanafe
from deploy.backends.sanafe.places import copies_in_flight
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from sim.stepped import run_stepped, transmit
from toolchain.errors import SanafeError, UnsupportedNetworkError
from toolchain.networks.integer_network.accumulator_bounds import potential_interval
from toolchain.networks.integer_network.serialize import load_integer_network

LOIHI = load_target("loihi-sim")


def mapped(network, target=LOIHI, slots=2):
    provisioning = uniform_provisioning(network, slots)
    return (
        map_network(network, target, provisioning),
        pipeline_of(network, provisioning, target.link_ticks),
    )


@pytest.fixture(scope="module")
def exported(compiled, tmp_path_factory):
    """(finished export command, folder)."""
    cwd = tmp_path_factory.mktemp("exported")
    process = run_command("export", compiled[1], "--format", "sanafe", "--json", cwd=cwd)
    return process, cwd / "sanafe"


@settings(max_examples=60)
@given(st.one_of(integer_networks(), resampled_networks()))
def test_every_synapse_is_listed_once_with_its_weight(network):
    for synapse in network.synapses:
        table = explicit_synapses(network, synapse)
        shape = network[synapse.source].shape
        one_hot = np.eye(int(np.prod(shape)), dtype=np.int64).reshape(-1, *shape)
        weights = transmit(synapse, one_hot).reshape(len(one_hot), -1).T
        links = dense_synapses(network, synapse)
        listed = np.zeros_like(links)
        listed[table.target, table.source] = True
        assert len(table.source) == links.sum()
        assert np.array_equal(listed, links)
        assert np.array_equal(table.weight, weights[table.target, table.source])


@settings(max_examples=30)
@given(integer_networks())
def test_the_bit_planes_sent_to_all_tiles_add_up_to_the_pixels_currents(network):
    network = within_exponents(network)
    mapping, _ = mapped(network)
    (pixels,) = random_pixels(network, 1, samples=3)[2:]
    source = network.populations[0].name
    for synapse in network.outgoing(source):
        current = np.zeros(int(np.prod(network[synapse.target].shape)), np.int64)
        tiles = tile_inputs(network, mapping.cores, lambda core: core.core_index // 4)
        for tile_input in tiles.values():
            bits = np.arange(tile_input.planes)
            sent = (pixels.reshape(-1)[tile_input.pixels, None] >> bits & 1).reshape(-1)
            assert len(sent) == tile_input.num_neurons
            for target, table in tile_input.by_bit_plane():
                if target == synapse.target:
                    np.add.at(current, table.target, sent[table.source] * table.weight)
        assert np.array_equal(current, transmit(synapse, pixels[None]).reshape(-1))


@settings(max_examples=60)
@given(integer_networks(), st.integers(1, 4), st.data())
def test_copies_are_enough_and_no_fewer_would_be(network, slots, data):
    network = within_exponents(network)
    names = [population.name for population in network.populations[1:]]
    replicas = {name: data.draw(st.sampled_from([1, 1, 1, 2, 3])) for name in names}
    provisioning = uniform_provisioning(network, slots, replicas)
    pipeline = pipeline_of(network, provisioning, data.draw(st.integers(0, 1)))
    schedule = schedule_pipeline(pipeline, 7)

    def meet(copies):
        """Whether a frame reaches a copy that still works on a sample before."""
        return any(
            schedule.step_ticks[s.source][later, 0] + 1 <= schedule.step_ticks[s.target][k, -1]
            for s in network.synapses
            for k in range(7)
            for later in range(k + copies, 7, copies)
        )

    copies = copies_in_flight(map_network(network, LOIHI, provisioning), schedule)
    step = lcm(*replicas.values())
    assert copies == 7 or copies % step == 0
    assert not meet(copies)
    fewer = (copies - 1) // step * step
    assert fewer == 0 or meet(fewer)


@pytest.mark.sanafe
def test_every_neuron_is_on_the_core_of_the_mapping(compiled, exported):
    process, folder = exported
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["copies"] == 2
    text = (folder / "network.yaml").read_text()
    placed = {}
    for entry in yaml.safe_load(text[text.index("mappings:") :])["mappings"]:
        ((neurons, where),) = entry.items()
        group, _, runs = neurons.partition(".")
        first, last = map(int, runs.split(".."))
        placed |= {(group, n): (where["core"], where["soma"]) for n in range(first, last + 1)}
    mapping = json.loads((compiled[1] / "mapping.json").read_text())
    network = load_integer_network(compiled[1])
    compartments = 0
    for core in mapping["cores"]:
        x, y = core["position"]
        expected = (f"{x * 4 + y}.{core['core'] % 4}", "loihi_lif[0]")  # tiles go column by column
        shape = network[core["population"]].shape
        tile = tuple(slice(*core[axis]) for axis in ("channels", "rows", "columns"))
        for n in np.arange(np.prod(shape)).reshape(shape)[tile].reshape(-1).tolist():
            assert placed[f"{core['population']}@0", n] == expected
            assert placed[f"{core['population']}@1", n] == expected
        compartments += core["compartments"]
        assert sum(p == expected for p in placed.values()) == core["compartments"]
    assert sum(soma == "loihi_lif[0]" for _, soma in placed.values()) == compartments


@pytest.mark.sanafe
def test_our_cost_profile_has_the_figures_of_sana_fes_loihi():
    architecture = loihi_file()["architecture"]
    (tile,) = architecture["tile"]
    (core,) = tile["core"]
    units = {
        e["name"]: e["attributes"] for part in core.values() if isinstance(part, list) for e in part
    }
    soma, profile = units["loihi_lif"], LOIHI.cost_profiles["sanafe"]
    joules = {
        "synaptic_event_pj": units["loihi_sparse_synapse"]["energy_process_spike"],
        "convolution_event_pj": units["loihi_conv_synapse"]["energy_process_spike"],
        "active_update_pj": soma["energy_access_neuron"] + soma["energy_update_neuron"],
        "inactive_update_pj": soma["energy_access_neuron"],
        "spike_pj": soma["energy_spike_out"],
        "message_out_pj": units["loihi_out"]["energy_message_out"],
        "hop_east_west_pj": tile["attributes"]["energy_east_hop"],
        "hop_north_south_pj": tile["attributes"]["energy_north_hop"],
    }
    seconds = {
        "synaptic_event_ns": units["loihi_sparse_synapse"]["latency_process_spike"],
        "convolution_event_ns": units["loihi_conv_synapse"]["latency_process_spike"],
        "active_update_ns": soma["latency_access_neuron"] + soma["latency_update_neuron"],
        "inactive_update_ns": soma["latency_access_neuron"],
        "spike_ns": soma["latency_spike_out"],
        "message_out_ns": units["loihi_out"]["latency_message_out"],
        "message_in_ns": units["loihi_in"]["latency_message_in"],
    }
    for figures, unit in ((joules, 1e12), (seconds, 1e9)):
        for name, value in figures.items():
            assert getattr(profile, name) == pytest.approx(value * unit), name
    for tiles, latency in architecture["attributes"]["latency_sync"].items():
        assert profile.barrier_duration_ns(tiles) == pytest.approx(latency * 1e9)
    assert units["loihi_in"]["energy_message_in"] == 0  # no coefficient of ours stands for it
    assert (
        units["loihi_dendrites"]["energy_update"] == units["loihi_dendrites"]["latency_update"] == 0
    )


@pytest.mark.sanafe
def test_the_figures_are_sana_fes_own(exported):
    own = yaml.safe_load((importlib.resources.files("sanafe.examples") / "loihi.yaml").read_text())[
        "architecture"
    ]
    written = yaml.safe_load((exported[1] / "architecture.yaml").read_text())["architecture"]
    assert written["attributes"] == own["attributes"]
    for tile in written["tile"]:
        assert tile["attributes"] == own["tile"][0]["attributes"]
        core, *host = tile["core"]
        for section in ("axon_in", "axon_out", "soma", "dendrite", "synapse"):
            figures = {e["name"].split("[")[0]: e["attributes"] for e in core[section]}
            theirs = {
                e["name"].split("[")[0]: e["attributes"] for e in own["tile"][0]["core"][0][section]
            }
            assert figures.items() <= theirs.items()
            for entry in (e for h in host for e in h[section]):
                costs = [
                    v for n, v in entry["attributes"].items() if n.startswith(("energy", "lat"))
                ]
                assert costs
                assert not any(costs)


@pytest.mark.sanafe
def test_the_folder_runs_alone(tmp_path):
    mapping, pipeline = mapped(residual_network())
    pixels = random_pixels(mapping.network, 0, samples=4)
    write_sanafe(to_sanafe(mapping, pipeline, pixels), tmp_path)
    process = subprocess.run(
        [sys.executable, "-I", "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    ticks = schedule_pipeline(pipeline, 4).num_ticks
    classes = run_stepped(mapping.network, pixels).predictions
    assert f"4 samples in {ticks} ticks; classes {classes}" in process.stdout
    assert "detailed:" in process.stdout


@pytest.mark.sanafe
def test_several_chips_become_one_mesh_and_that_is_said():
    network = residual_network()
    target = small_target(
        core={"compartments": 32}, mesh={"width": 1, "height": 2, "cores_per_tile": 2}
    )
    mapping, pipeline = mapped(network, target)
    assert mapping.num_chips > 1
    export = to_sanafe(mapping, pipeline, random_pixels(network, 0))
    architecture = export.architecture["architecture"]
    assert architecture["attributes"]["width"] == mapping.num_chips
    assert architecture["attributes"]["height"] == 2
    assert architecture["tile"][0]["core"][0]["name"] == "loihi_core[0..1]"
    said = f"{mapping.num_chips} chips: one mesh of {mapping.num_chips} x 2 tiles"
    assert any(said in loss for loss in export.losses)


@pytest.mark.sanafe
@pytest.mark.parametrize(("neurons", "last"), [(NEURONS_PER_UNIT, 0), (NEURONS_PER_UNIT + 1, 1)])
def test_a_core_has_as_many_soma_units_as_its_neurons_need(neurons, last):
    sizes = {"width": 1, "height": 1, "cores_per_tile": 1, "host_tiles": (), "neurons_per_host": 0}
    document = architecture_document(neurons_per_core=neurons, **sizes)
    (core,) = document["architecture"]["tile"][0]["core"]
    assert [soma["name"] for soma in core["soma"]] == [f"loihi_lif[0..{last}]"]
    assert [part["name"] for part in core["dendrite"]] == [f"loihi_dendrites[0..{last}]"]


@pytest.mark.sanafe
def test_the_same_input_gives_the_same_bytes(tmp_path):
    mapping, pipeline = mapped(residual_network())
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_sanafe(
            to_sanafe(mapping, pipeline, random_pixels(mapping.network, 0)), tmp_path / name
        )
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_frames_that_are_selected_one_by_one_are_refused():
    network = residual_network()
    synapses = [replace(s, alignment="truncate") for s in network.synapses]
    mapping, pipeline = mapped(type(network).build(network.populations, synapses))
    with pytest.raises(UnsupportedNetworkError, match="SANA-FE needs 'average' alignment on every"):
        to_sanafe(mapping, pipeline, random_pixels(network, 0))


@pytest.mark.sanafe
@pytest.mark.parametrize(
    ("limit", "quantity"),
    [("LARGEST_POTENTIAL", "potential"), ("LARGEST_INITIAL", "initial potential")],
)
def test_what_reaches_sana_fes_limits_is_taken_and_nothing_beyond(monkeypatch, limit, quantity):
    mapping, pipeline = mapped(residual_network())
    pixels = random_pixels(mapping.network, 0)
    names = [population.name for population in mapping.network.populations[1:]]
    largest = {
        "potential": max(potential_interval(mapping.network, name).magnitude for name in names),
        "initial potential": 450,  # half of stem's threshold
    }[quantity]
    monkeypatch.setattr(sanafe_network, limit, largest)
    to_sanafe(mapping, pipeline, pixels)
    monkeypatch.setattr(sanafe_network, limit, largest - 1)
    with pytest.raises(UnsupportedNetworkError, match=f"the {quantity} can reach {largest:,}, but"):
        to_sanafe(mapping, pipeline, pixels)


def test_without_sana_fe_the_remedy_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", missing)
    mapping, pipeline = mapped(residual_network())
    with pytest.raises(
        SanafeError, match="not installed; run `pip install 'qac-deploy\\[sanafe\\]'`"
    ):
        to_sanafe(mapping, pipeline, random_pixels(mapping.network, 0))


def test_a_folder_of_something_else_is_not_replaced(qac_deploy, compiled, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    process = qac_deploy("export", compiled[1], "--format", "sanafe", "--out", "thesis")
    assert process.returncode == 2
    assert "thesis: exists and is not an export to SANA-FE, so it is not replaced" in process.stderr
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "x"
