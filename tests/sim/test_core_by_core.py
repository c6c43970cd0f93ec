"""The network core by core: equal to the stepped engine, and every fault of a core found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from single_synapses import within_exponents
from small_targets import small_target
from strategies import integer_networks, random_pixels

from hw_models.multicore.mapping.core_program import core_programs, output_axons
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from sim.core_by_core import frames_and_probes, verify_cores
from sim.stepped import run_stepped
from toolchain.errors import MappingError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.networks.integer_network import IntegerInput
from toolchain.passes import lower_to_integers

LOIHI = load_target("loihi-sim")


def run_of(network, target=LOIHI, slots=2, samples=2, replicas=None):
    """A mapping, the schedule and the frames of a few samples and the probes."""
    provisioning = uniform_provisioning(network, slots, replicas)
    mapping = map_network(network, target, provisioning)
    pixels = random_pixels(network, 0, samples)
    frames = frames_and_probes(mapping, pixels, run_stepped(network, pixels).trains)
    count = len(next(iter(frames.values())))
    schedule = schedule_pipeline(mapping.pipeline, count)
    return mapping, schedule, frames


@settings(max_examples=60)
@given(
    integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True),
    st.integers(1, 3),
    st.integers(8, 60),
    st.integers(1, 9),
    st.data(),
)
def test_every_core_computes_the_stepped_engines_potentials(
    network, slots, compartments, atoms, data
):
    network = within_exponents(network)
    target = small_target(
        core={"compartments": compartments},
        population_axons={"atoms": atoms},
    )
    try:
        replicas = {
            p.name: data.draw(st.sampled_from([1, 1, 2, 3])) for p in network.populations[1:]
        }
        mapping, schedule, frames = run_of(network, target, slots, replicas=replicas)
    except MappingError:
        return  # refusals have their own tests
    assert verify_cores(mapping, schedule, frames) is None


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "replicated"])
def trained(request):
    """resnet-mini with random weights: joins, strides, T_l of 1 to 4, cut into many small cores.

    Once as it is, once with two replicas of every other population.
    """
    torch.manual_seed(0)
    module = quantize_activations(build_model("resnet-mini", (1, 8, 8), 10), TimestepQuantizer)
    balance_thresholds(module, torch.rand(16, 1, 8, 8))
    for index, quantizer in enumerate(m for m in module.modules() if hasattr(m, "t")):
        quantizer.t.data.fill_(1 + index % 4)
    network = lower_to_integers(convert(module, (1, 8, 8), 16), LOIHI.widths)
    replicas = {p.name: request.param for p in network.populations[2::2]}
    return run_of(network, samples=3, replicas=replicas)


def flipped_weight(program, rng):
    """One bit of one weight of one synapse list; zeros may stand for synapses that do not exist."""
    edge_index = rng.integers(len(program.edges))
    edge = program.edges[edge_index]
    number = rng.integers(len(edge.synapse_lists))
    chosen = edge.synapse_lists[number]
    weights = chosen.weights.copy()
    at = tuple(rng.choice(np.argwhere(weights)))
    weights[at] ^= 1 << rng.integers(7)
    lists = list(edge.synapse_lists)
    lists[number] = replace(chosen, weights=weights)
    return with_edge(program, edge_index, synapse_lists=tuple(lists))


def wrong_axon(program, rng):
    """One axon listens to another pixel, or points to another compartment base."""
    edge_index = rng.integers(len(program.edges))
    edge = program.edges[edge_index]
    axon = rng.integers(len(edge.bases))
    bases, lists = edge.bases.copy(), edge.lists.copy()
    if len(edge.synapse_lists) > 1 and rng.integers(2):
        others = [
            n
            for n, other in enumerate(edge.synapse_lists)
            if n != lists[axon] and edge.bases[axon] + other.offsets.max() < len(program.bias)
        ]
        if others:
            lists[axon] = rng.choice(others)
            return with_edge(program, edge_index, lists=lists)
    offsets = edge.synapse_lists[lists[axon]].offsets
    bases[axon] += 1 if bases[axon] + offsets.max() + 1 < len(program.bias) else -1
    if bases[axon] < 0:
        return None  # a single neuron has nowhere else to point to
    return with_edge(program, edge_index, bases=bases)


def threshold_off_by_one(program, rng):
    if program.threshold is None:
        return None
    threshold = program.threshold.copy()
    threshold[rng.integers(len(threshold))] += rng.choice([-1, 1])
    return replace(program, threshold=threshold)


def swapped_slot(program, rng):
    edge_index = rng.integers(len(program.edges))
    return with_edge(program, edge_index, firing=program.edges[edge_index].firing[::-1])


def with_edge(program, index, **changes):
    edges = list(program.edges)
    edges[index] = replace(edges[index], **changes)
    return replace(program, edges=tuple(edges))


@pytest.mark.parametrize("fault", [flipped_weight, wrong_axon, threshold_off_by_one, swapped_slot])
def test_every_one_of_fifty_faults_of_a_kind_is_found_in_the_right_core(trained, fault):
    mapping, schedule, frames = trained
    rng = np.random.default_rng(0)
    injected = 0
    while injected < 50:
        population = rng.choice(
            [p.name for p in mapping.network.populations if not isinstance(p, IntegerInput)]
        )
        chosen = rng.integers(len(mapping.cores_of(population)))
        broken_at = []

        def programs(mapping, name, population=population, chosen=chosen, broken_at=broken_at):
            for index, program in enumerate(core_programs(mapping, name)):
                broken = fault(program, rng) if (name, index) == (population, chosen) else None
                if broken is not None:
                    broken_at.append(program.core.core_index)
                yield broken or program

        found = verify_cores(mapping, schedule, frames, programs=programs)
        if not broken_at:
            continue  # this core cannot have this fault
        injected += 1
        assert found is not None
        assert (found.population, found.core_index) == (population, broken_at[0])


def test_a_core_that_keeps_the_frames_of_another_replica_is_found(trained):
    mapping, schedule, frames = trained
    for population in mapping.network.populations[2:]:
        name = population.name
        if mapping.num_replicas(name) == 1:
            continue

        def programs(mapping, asked, name=name):
            for program in core_programs(mapping, asked):
                yield replace(program, num_replicas=1) if asked == name else program

        found = verify_cores(mapping, schedule, frames, programs=programs)
        assert found is not None
        assert found.population == name


def test_a_wrong_route_is_found_at_the_core_that_it_misses(trained):
    mapping, schedule, frames = trained
    synapse = mapping.network.synapses[2]

    def routes(mapping, asked):
        for number, route in enumerate(output_axons(mapping, asked)):
            if asked is synapse and number == 1:
                route = replace(route, axons=route.axons[::-1])
            yield route

    found = verify_cores(mapping, schedule, frames, routes=routes)
    assert found is not None
    assert found.population == synapse.target
    assert str(found).startswith(f"{synapse.target}, core {found.core_index}, neuron (")
    assert "membrane potential is" in str(found)
