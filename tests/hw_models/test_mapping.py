"""Partition and placement: limits at their value, tiles, chips, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from single_synapses import dense_synapses, within_exponents
from small_networks import one_layer
from small_targets import small_target
from strategies import integer_networks

from hw_models.multicore.mapping.core_resources import NetworkOnTarget
from hw_models.multicore.mapping.mapping import CoreMapping, map_network, place
from hw_models.multicore.mapping.partition import partition
from hw_models.multicore.mapping.placement import ORDERS, core_number, position
from hw_models.multicore.mapping.tile_grid import cut
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from toolchain.errors import MappingError
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork
from toolchain.networks.linear_maps import Convolution, Dense, Scale, SumPool
from toolchain.passes import lower_to_integers

LOIHI = load_target("loihi-sim")


def test_a_shared_convolution_by_hand():
    """One channel, 3x1 kernel with padding, 5 rows on one core: three patterns of taps.

    The first row is met by taps 1 and 0, the last by 2 and 1, the three between by all: 2 + 3 + 2
    synapses in three lists, one word each with 8-bit weights (3 x 18 + 10 bits fill 64 exactly).
    """
    kernel = np.full((1, 1, 3, 1), 100, np.int8)
    network = one_layer(Convolution(weight=kernel, stride=(1, 1), padding=(1, 0)), (1, 5, 1))
    (core,) = map_network(network, LOIHI, uniform_provisioning(network, 2)).cores_of("hidden")
    assert core.use.synapse_words == 3
    assert core.use.input_axons == 5  # one a pixel
    assert core.use.output_axons == 2 * 5  # to the readout's core, two entries each
    assert core.use.compartments == 5 * 3


def test_one_population_axon_serves_all_channels_of_a_pixel():
    network = one_layer(Dense(weight=np.full((2, 6), 3, np.int8)), (6, 1, 1))
    for atoms, axons in ((6, 1), (5, 2), (1, 6)):
        target = small_target(population_axons={"atoms": atoms})
        (core,) = map_network(network, target, uniform_provisioning(network, 2)).cores_of("hidden")
        assert core.use.input_axons == axons


def test_a_limit_holds_at_its_value_and_not_one_below():
    network = one_layer(Dense(weight=np.full((4, 6), 3, np.int8)), (6, 1, 1))
    provisioning = uniform_provisioning(network, 2)
    (core,) = map_network(network, LOIHI, provisioning).cores_of("hidden")
    for limit in ("compartments", "synapse_words"):
        used = getattr(core.use, limit)
        at = map_network(network, small_target(core={limit: used}), provisioning)
        assert len(at.cores_of("hidden")) == 1
        below = map_network(network, small_target(core={limit: used - 1}), provisioning)
        assert len(below.cores_of("hidden")) == 2


def with_thresholds(thresholds):
    """Six neurons of one pixel a channel, or of one row in one channel, with these thresholds."""
    values = np.array(thresholds, np.int64)
    network = one_layer(Scale(weight=np.full(values.shape[0], 3, np.int8)), values.shape)
    populations = [
        replace(p, threshold=values) if p.name == "hidden" else p for p in network.populations
    ]
    return IntegerNetwork.build(populations, network.synapses)


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 1, 6), (1, 6, 1)])
def test_a_core_holds_few_different_thresholds_along_any_axis(shape):
    """Three thresholds on six neurons: one more profile for the buffers makes four."""
    network = with_thresholds(np.array([64, 64, 128, 128, 192, 192]).reshape(shape))
    provisioning = uniform_provisioning(network, 2)
    for profiles, cores in ((4, 1), (3, 2), (2, 3)):
        target = small_target(core={"threshold_profiles": profiles})
        hidden = map_network(network, target, provisioning).cores_of("hidden")
        assert len(hidden) == cores
        assert max(core.use.threshold_profiles for core in hidden) <= profiles


def test_a_threshold_for_each_neuron_takes_many_cores_and_a_refusal_names_the_remedy():
    network = with_thresholds(64 * np.arange(1, 41).reshape(1, 5, 8))
    provisioning = uniform_provisioning(network, 1)
    hidden = map_network(network, LOIHI, provisioning).cores_of("hidden")
    # blocks of 2 or 3 rows and 2 columns, and one profile for the buffers
    assert sorted(core.use.threshold_profiles for core in hidden) == [5] * 4 + [7] * 4
    one_chip = {"mesh": {"width": 1, "height": 1, "cores_per_tile": 4}, "chips": {"count": 1}}
    with pytest.raises(MappingError) as refusal:
        map_network(network, small_target(**one_chip), provisioning)
    assert str(refusal.value) == (
        "the network needs 10 cores, 6 more than the 4 of small, one chip (most: hidden 8, logits 1, "
        "source 1; hidden fills the threshold profiles of its cores); give its neurons fewer different "
        "thresholds: at most one per channel, and `compile --thresholds` to share them between channels, or "
        "use 3 chips (chips.count in a copy of the target's file, given with --target), or fewer channels"
    )


def test_more_weight_formats_than_a_core_has_are_refused():
    """Each of 8 bit planes of a pixel shifts the weight by one more."""
    network = integer_network_with_fan_in(3, max_value=255)
    provisioning = uniform_provisioning(network, 2)
    (core,) = map_network(network, small_target(core={"synapse_formats": 8}), provisioning).cores
    assert core.use.synapse_formats == 8
    with pytest.raises(MappingError) as refusal:
        map_network(network, small_target(core={"synapse_formats": 7}), provisioning)
    assert str(refusal.value) == (
        "logits: one neuron needs 8 synapse formats, 1 more than the 7 of a core of small; use pixels of "
        "fewer bits, or fewer synapses into it"
    )


def events_of(network, core):
    """Arrivals and synapses of a core if every source neuron spiked once, synapse by synapse."""
    total = 0
    shape = network[core.tile.population].shape
    mine = np.zeros(shape, bool)
    mine[core.tile.slices] = True
    for synapse in network.incoming(core.tile.population):
        links = dense_synapses(network, synapse)[mine.reshape(-1)]
        total += links.sum() + links.any(axis=0).sum()
    return total


@settings(max_examples=80)
@given(integer_networks(), st.data())
def test_finer_tiles_are_no_more_work_than_asked(network, data):
    network = within_exponents(network)
    provisioning = uniform_provisioning(network, 2)
    before = map_network(network, LOIHI, provisioning)
    name = data.draw(st.sampled_from(list(before.grids)))
    most = max(events_of(network, core) for core in before.cores_of(name))
    context = NetworkOnTarget(network, LOIHI, provisioning)
    assert context.cuts.worst_tile_work(before.grids[name]) == most
    asked = data.draw(st.integers(1, max(int(most), 1)))
    finer = replace(provisioning, tile_limits={name: asked})
    single = cut(name, network[name].shape, network[name].shape)
    if context.cuts.worst_tile_work(single) > asked:
        message = (
            rf"{name}: one neuron alone receives [\d,]+ worst-case events, above the limit of {asked:,} "
            "per tile"
        )
        with pytest.raises(MappingError, match=message):
            map_network(network, LOIHI, finer)
        return
    after = map_network(network, LOIHI, finer)
    assert max(events_of(network, core) for core in after.cores_of(name)) <= asked
    assert len(after.cores_of(name)) >= len(before.cores_of(name))
    for population in after.grids:
        assert all(used <= limit for used, limit in after.highest_use(population).values())
        if population != name:
            assert len(after.cores_of(population)) >= len(before.cores_of(population))


def test_a_network_that_needs_it_goes_on_the_next_chip():
    network = one_layer(Dense(weight=np.full((9, 6), 3, np.int8)), (6, 1, 1))
    target = small_target(
        core={"compartments": 6},
        mesh={"width": 1, "height": 1, "cores_per_tile": 2},
        chips={"count": 5},
    )
    mapping = map_network(network, target, uniform_provisioning(network, 2))
    assert [len(mapping.cores_of(name)) for name in ("source", "hidden", "logits")] == [3, 5, 1]
    assert [core.chip_index for core in mapping.cores] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert [core.core_index for core in mapping.cores] == list(range(9))
    assert mapping.summary()["num_chips"] == 5
    # 6 neurons reach 5 cores, 9 reach one; the 2 on source's last core have one of hidden beside them
    assert mapping.summary()["share_between_chips"] == pytest.approx((30 - 2 + 9) / 39)


@pytest.mark.parametrize("architecture", ["vgg-9", "vgg-16", "resnet-18", "resnet-19", "resnet-20"])
def test_the_networks_of_the_paper_map(architecture):
    """At a quarter of their width here; at full width in the slow tests."""
    torch.manual_seed(0)
    network = build_model(architecture, (3, 32, 32), 10, width=0.25)
    module = quantize_activations(network, TimestepQuantizer, max_pool="average")
    balance_thresholds(module, torch.rand(4, 3, 32, 32))
    integers = lower_to_integers(convert(module, (3, 32, 32), 255), LOIHI.widths)
    mapping = map_network(integers, LOIHI, uniform_provisioning(integers, 2))
    held = sum(core.use.neurons for core in mapping.cores)
    assert held == sum(
        int(np.prod(p.shape)) for p in integers.populations if not isinstance(p, IntegerInput)
    )


@settings(max_examples=20)
@given(integer_networks())
def test_cores_fill_the_mesh_along_a_snake_in_any_order(network):
    mapping = map_network(within_exponents(network), LOIHI, uniform_provisioning(network, 2))
    numbers = {core_number(n, LOIHI.mesh): position(n, LOIHI.mesh) for n in range(128)}
    for core in mapping.cores:
        x, y = core.position
        assert core.core_index // 4 == y * 8 + x
        assert numbers[core.core_index] == (x, y)
    used = {core.core_index for core in mapping.cores}
    assert used == {core_number(n, LOIHI.mesh) for n in range(len(mapping.cores))}
    steps = np.abs(np.diff([position(n, LOIHI.mesh) for n in range(128)], axis=0)).sum(axis=1)
    assert steps.max() == 1


def test_regions_of_two_large_layers_share_a_chip_and_send_less():
    """Two 3x3 layers of 64 x 32 x 32 need three chips: by population nearly all spikes leave theirs."""
    torch.manual_seed(0)
    network = two_large_layers()
    provisioning = uniform_provisioning(network, 2)
    parts = partition(network, LOIHI, provisioning)
    grids = {grid.population: grid for grid, _ in parts}
    costs = {}
    for order in ORDERS:
        rows = order(list(grids.values()))
        assert sorted(rows) == list(range(sum(map(len, grids.values()))))
        cores = place(parts, rows, LOIHI.mesh, provisioning)
        mapping = CoreMapping(
            target=LOIHI, network=network, provisioning=provisioning, grids=grids, cores=cores
        )
        costs[order.__name__] = mapping.traffic_cost, mapping.traffic()["share_between_chips"]
    chosen = map_network(network, LOIHI, provisioning)
    assert chosen.traffic_cost == min(cost for cost, _ in costs.values())
    assert costs["by_region"][1] < costs["by_population"][1]


def test_a_layer_that_no_core_holds_names_limit_amount_and_remedy():
    network = integer_network_with_fan_in(3000)
    target = small_target(core={"input_axons": 5})
    with pytest.raises(MappingError) as refusal:
        map_network(network, target, uniform_provisioning(network, 2))
    assert str(refusal.value) == (
        "logits: one neuron needs 6 input axons, 1 more than the 5 of a core of small; use groups, fewer "
        "input channels, or pool before this layer"
    )


def test_targets_have_fewer_channel_blocks_where_a_neuron_could_not_reach_them_all():
    """Cut into the fewest tiles, each target is 16 blocks of one channel, and a pixel sends to all 64."""
    targets = ("a", "b", "c", "d")
    each = Convolution(weight=np.full((16, 4, 1, 1), 3, np.int8))
    network = network_of(
        spiking("source", (4, 6, 6)),
        *(spiking(name, (16, 6, 6)) for name in targets),
        connect("input", "source", Convolution(weight=np.full((4, 1, 1, 1), 3, np.int8))),
        *(connect("source", name, each) for name in targets),
        *(connect(name, "logits", Dense(weight=np.full((1, 576), 3, np.int8))) for name in targets),
        image=(1, 6, 6),
    )

    def blocks(output_axons):
        target = small_target(core={"compartments": 108, "output_axons": output_axons})
        mapping = map_network(network, target, uniform_provisioning(network, 2))
        for name in mapping.grids:
            assert mapping.highest_use(name)["output_axons"][0] <= output_axons
        return [mapping.grids[name].shape[0] for name in targets]

    assert blocks(2 * 64) == [16] * 4  # two entries each
    assert max(blocks(2 * 64 - 1)) < 16
    assert sum(blocks(2 * 24)) <= 24
    with pytest.raises(MappingError, match=r"^source: one neuron needs \d+ output axons, "):
        blocks(2)


def test_a_chip_that_is_too_small_says_by_how_much_and_what_would_fit():
    one_core = {"mesh": {"width": 1, "height": 1, "cores_per_tile": 1}, "chips": {"count": 1}}
    network = integer_network_with_fan_in(3, classes=5)

    def refusal(compartments):
        target = small_target(core={"compartments": compartments}, **one_core)
        with pytest.raises(MappingError) as refused:
            map_network(network, target, uniform_provisioning(network, 2))
        return str(refused.value)

    assert refusal(4) == (
        "the network needs 3 cores, 2 more than the 1 of small, one chip (most: logits 3; logits fills "
        "the compartments of its cores); use 3 chips (chips.count in a copy of the target's file, given "
        "with --target), or fewer channels"
    )
    assert refusal(5).endswith("with one slot in every buffer (--slots 1) it needs 1 and fits")
    with pytest.raises(MappingError) as refused:
        map_network(
            network,
            small_target(core={"compartments": 5}, **one_core),
            uniform_provisioning(network, 2, {"logits": 2}),
        )
    assert str(refused.value).endswith(
        "use 6 chips (chips.count in a copy of the target's file, given with --target), or fewer replicas "
        "or fewer channels"
    )


def test_bit_planes_beyond_the_weight_exponents_are_refused():
    network = integer_network_with_fan_in(3, max_value=255, exponent=7)
    with pytest.raises(MappingError, match=r"the highest of 8 bit planes needs weight exponent 14"):
        map_network(network, LOIHI, uniform_provisioning(network, 2))


def integer_network_with_fan_in(inputs, classes=1, max_value=1, exponent=0):
    return network_of(
        connect("input", "logits", dense(np.ones((classes, inputs))), exponent=exponent),
        image=(inputs, 1, 1),
        max_value=max_value,
        classes=classes,
    )


def two_large_layers():
    """input -> first -> second (3x3, 64 channels on 32x32) -> logits."""

    def convolution(inputs):
        return Convolution(weight=np.ones((64, inputs, 3, 3), np.int8), padding=(1, 1))

    pool = SumPool(kernel=(32, 32), stride=(32, 32))
    return network_of(
        spiking("first", (64, 32, 32), threshold=64, initial=32),
        spiking("second", (64, 32, 32), threshold=64, initial=32),
        connect("input", "first", convolution(1)),
        connect("first", "second", convolution(64)),
        connect("second", "logits", pool, dense(np.ones((2, 64)))),
        image=(1, 32, 32),
        classes=2,
    )
