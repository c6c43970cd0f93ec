"""The PE array: closed form = loop walk = reference points, and the integers of the network."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import integer_networks, random_pixels

from hw_models.pe_array.array_description import Unrolling, load_array
from hw_models.pe_array.estimate import MODES, estimate_array
from hw_models.pe_array.functional import run_on_array
from hw_models.pe_array.layer_passes import LoopBounds, layer_passes
from hw_models.pe_array.loop_counters import count_loops, utilisation, walk_loops
from sim.simulation import Simulation, first_divergence
from sim.stepped import run_stepped
from toolchain.errors import TargetError, UnsupportedNetworkError
from toolchain.linear_maps import num_accumulations

ARRAY = load_array("pe-array")
unrollings = st.builds(
    Unrolling,
    output_channels=st.integers(1, 5),
    output_columns=st.integers(1, 4),
    timesteps=st.integers(1, 3),
    input_channels=st.integers(1, 5),
)


def bounds(out, inputs, size, timesteps, kernel=(3, 3), groups=1):
    return LoopBounds(
        groups=groups,
        output_channels=out,
        input_channels=inputs,
        rows=size,
        columns=size,
        kernel=kernel,
        timesteps=timesteps,
    )


def unrolling(m, n, s, v):
    return Unrolling(output_channels=m, output_columns=n, timesteps=s, input_channels=v)


@pytest.mark.parametrize(
    ("layer", "array", "cycles", "share"),
    [
        (bounds(16, 8, 8, 4), unrolling(8, 4, 2, 4), 1152, 1.0),
        (bounds(10, 6, 7, 5), unrolling(4, 4, 2, 4), 2268, 0.4557),
        (bounds(32, 16, 6, 3, kernel=(1, 1)), unrolling(16, 8, 4, 16), 12, 0.5625),
        (bounds(32, 16, 6, 3), unrolling(16, 8, 4, 16), 108, 0.5625),
    ],
)
def test_reference_points(layer, array, cycles, share):
    assert count_loops(layer, array).cycles == cycles
    assert utilisation(layer, array) == pytest.approx(share, abs=5e-5)


@settings(deadline=None, max_examples=300)
@given(
    unrollings,
    st.builds(
        bounds,
        out=st.integers(1, 7),
        inputs=st.integers(1, 7),
        size=st.integers(1, 5),
        timesteps=st.integers(1, 6),
        kernel=st.sampled_from([(1, 1), (3, 3), (2, 1)]),
        groups=st.integers(1, 3),
    ),
)
def test_closed_form_equals_the_loop_walk_on_every_counter(array, layer):
    assert count_loops(layer, array) == walk_loops(layer, array)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(integer_networks(any_potential=True), unrollings, st.integers(0, 2**32 - 1))
def test_the_array_computes_the_integers_of_the_network(network, array, seed):
    from dataclasses import replace

    pixels = random_pixels(network, seed)
    counts, logits = run_on_array(network, replace(ARRAY, unrolling=array), pixels)
    on_array = Simulation(logits=logits, counts=counts, trains={})
    assert first_divergence(run_stepped(network, pixels), on_array) is None


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(integer_networks())
def test_ann_accumulations_are_those_of_the_network(network):
    """One step, no tails: the multiplier ANN does each accumulation of the network once."""
    expected = sum(num_accumulations(s.maps, network[s.source].shape) for s in network.synapses)
    estimate = estimate_array(network, ARRAY, "ann_multiplier")
    assert sum(layer.accumulations for layer in estimate.layers) == expected


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(integer_networks())
def test_totals_are_sums_and_modes_differ_only_in_steps(network):
    for mode in MODES:
        estimate = estimate_array(network, ARRAY, mode)
        assert estimate.cycles == sum(layer.cycles for layer in estimate.layers)
        assert 0 < estimate.utilisation <= 1
        assert estimate.latency_us * ARRAY.clock_mhz == pytest.approx(estimate.cycles)
    snn, multiplier, _ = (estimate_array(network, ARRAY, mode) for mode in MODES)
    for layer, one_step, ann in zip(
        layer_passes(network), snn.layers, multiplier.layers, strict=True
    ):
        step_tiles = -(-layer.bounds.timesteps // ARRAY.unrolling.timesteps)
        assert one_step.cycles == ann.cycles * step_tiles


@settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))
@given(integer_networks(alignments=("replicate",)))
def test_other_alignments_are_refused(network):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        estimate_array(network, ARRAY, "snn")
    assert str(refusal.value) == (
        "the PE array model needs 'average' alignment on every synapse; compile with --alignment average "
        "to compare"
    )


def test_a_bad_array_file_names_the_field(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndescription: mine\nfigures:\n"
        "  unrolling: {output_channels: {value: 0, kind: assumed, source: mine}}\n"
    )
    with pytest.raises(TargetError) as refusal:
        load_array(str(path))
    assert str(refusal.value) == (
        f"{path}: unrolling.output_channels.value must be at least 1, not 0"
    )
