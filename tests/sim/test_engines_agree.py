"""Every engine gives the integers of the stepped engine, on random networks."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import integer_networks, random_pixels

from sim.engines import ENGINES, STEPPED_BATCH_SAMPLES, Request, simulate
from sim.exact import linear_kernels
from sim.exact.closed_form import spikes_after
from sim.exact.engine import ExactEngine, run_exact
from sim.frame_by_frame import run_frame_by_frame
from sim.results import Simulation, first_divergence
from sim.stepped import run_stepped
from toolchain.errors import DeviceError, UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def assert_exact_equals_stepped(network, pixels):
    """Counts with trains and, by another path, without, in both arithmetics and on every device."""
    expected = run_stepped(network, pixels)
    for device in DEVICES:
        for int8 in (True, False):
            options = {"device": device, "int8": int8}
            with_trains = ExactEngine(network, with_trains=True, **options).run(pixels)
            assert with_trains.trains.keys() == expected.trains.keys()
            assert first_divergence(expected, with_trains) is None
            assert first_divergence(expected, ExactEngine(network, **options).run(pixels)) is None


@settings(max_examples=200)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped(network, seed):
    assert_exact_equals_stepped(network, random_pixels(network, seed))


@pytest.mark.exhaustive
@settings(max_examples=2_000)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped_on_many_networks(network, seed):
    assert_exact_equals_stepped(network, random_pixels(network, seed))


@settings(max_examples=20)
@given(integer_networks(max_pools=True, any_potential=True), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped_with_exact_max_pooling(network, seed):
    assert_exact_equals_stepped(network, random_pixels(network, seed))


@pytest.mark.exhaustive
@settings(max_examples=2_000)
@given(integer_networks(max_pools=True), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped_on_many_networks_with_exact_max_pooling(network, seed):
    assert_exact_equals_stepped(network, random_pixels(network, seed))


@settings(max_examples=60)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped_in_an_accelerators_kernels(network, seed):
    """Products of gathered windows, which a processor computes, too, if it is asked to."""
    linear_kernels.largest_factor.cache_clear()
    with mock.patch.object(linear_kernels, "is_processor", return_value=False):
        assert linear_kernels.largest_factor(torch.device("cpu")) == 127
        assert_exact_equals_stepped(network, random_pixels(network, seed))
    linear_kernels.largest_factor.cache_clear()


@settings(max_examples=60)
@given(integer_networks(any_potential=True), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped_for_any_initial_potential(network, seed):
    assert_exact_equals_stepped(network, random_pixels(network, seed))


@settings(max_examples=100)
@given(
    integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_frame_by_frame_equals_stepped_also_from_known_spike_trains(network, seed, data):
    pixels = random_pixels(network, seed, samples=5)
    expected = run_stepped(network, pixels)
    assert first_divergence(expected, run_frame_by_frame(network, pixels, batch_size=2)) is None
    known = data.draw(st.sets(st.sampled_from(sorted(expected.trains))))
    from_known = run_frame_by_frame(
        network, pixels, known={name: expected.trains[name] for name in known}
    )
    assert first_divergence(expected, from_known) is None
    bare = run_frame_by_frame(network, pixels, with_counts=False, with_trains=False)
    assert np.array_equal(bare.logits, expected.logits)
    assert not bare.counts
    assert not bare.trains


def test_spikes_after_covers_every_small_case():
    """All prefixes of every neuron with small integers, against the definition."""
    initial, current, threshold = (
        torch.arange(-20, 21),
        torch.arange(-20, 21)[:, None],
        torch.arange(1, 12)[:, None, None],
    )
    potential = torch.broadcast_tensors(initial, current, threshold)[0].clone()
    spikes = torch.zeros_like(potential)
    for step in range(1, 13):
        potential = potential + current
        fired = potential >= threshold
        potential, spikes = potential - threshold * fired, spikes + fired
        assert torch.equal(spikes, spikes_after(step, current, threshold, initial))


@settings(max_examples=30)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_batch_size_does_not_change_a_result(network, seed):
    pixels = random_pixels(network, seed, samples=5)
    whole = run_exact(network, pixels, with_trains=True)
    assert (
        first_divergence(whole, run_exact(network, pixels, with_trains=True, batch_size=2)) is None
    )


@settings(max_examples=50)
@given(integer_networks(alignments=("replicate", "truncate")), st.integers(0, 2**32 - 1))
def test_exact_refuses_what_has_no_closed_form(network, seed):
    with pytest.raises(UnsupportedNetworkError, match="needs 'average' alignment"):
        run_exact(network, random_pixels(network, seed))


@settings(max_examples=50)
@given(
    integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True),
    st.integers(0, 2**32 - 1),
)
def test_every_engine_of_the_table_gives_the_judges_integers(network, seed):
    pixels = random_pixels(network, seed, samples=STEPPED_BATCH_SAMPLES + 1)
    expected = run_stepped(network, pixels)
    assert first_divergence(expected, simulate(network, pixels, with_trains=True)) is None
    for engine in ENGINES.values():
        if not engine.can_run(network):
            with pytest.raises(UnsupportedNetworkError):
                engine.prepare(network, Request())
            continue
        run = engine.prepare(network, Request(with_trains=True))(pixels)
        assert run.trains.keys() == expected.trains.keys()
        assert first_divergence(expected, run) is None
        seen = {name: [] for name in expected.counts}
        bare = engine.prepare(network, Request(with_counts=False))(
            pixels, lambda name, counts, seen=seen: seen[name].append(counts.numpy().copy())
        )
        assert not bare.counts
        assert not bare.trains
        counts = {name: np.concatenate(parts) for name, parts in seen.items()}
        assert first_divergence(expected, replace(bare, counts=counts)) is None


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "exact"])
def test_an_engine_that_computes_on_the_processor_says_so(name):
    with pytest.raises(
        DeviceError, match=rf"the {name} engine computes .*, not on 'cuda'; use cpu"
    ):
        ENGINES[name].prepare(IntegerNetwork.build([], []), Request(device="cuda"))


@settings(max_examples=50)
@given(integer_networks(extended=False), st.integers(0, 2**32 - 1))
def test_a_changed_weight_is_noticed_where_it_matters(network, seed):
    """A weight into the readout that is one off: the first sample whose source neuron fires differs."""
    pixels = random_pixels(network, seed)
    expected = run_stepped(network, pixels)
    synapse = network.incoming("logits")[0]
    sent = expected.counts.get(synapse.source, pixels).reshape(len(pixels), -1)
    neuron = sent.sum(axis=0).argmax()
    dense = synapse.weighted
    weight = dense.weight.copy()
    weight[0, neuron] += 1 if weight[0, neuron] < 127 else -1
    changed = replace(synapse, weighted=replace(dense, weight=weight))
    synapses = [changed if s is synapse else s for s in network.synapses]
    run = run_exact(IntegerNetwork.build(network.populations, synapses), pixels)
    message = first_divergence(expected, run)
    if not sent[:, neuron].any():
        assert message is None
        return
    sample = np.flatnonzero(sent[:, neuron])[0]
    assert message.startswith(f"logits differ at (sample, class) = ({sample}, 0): ")


def small_simulation():
    counts = {"a": np.zeros((2, 1, 2, 2), np.int64)}
    trains = {"a": np.zeros((2, 3, 1, 2, 2), bool)}
    return Simulation(logits=np.zeros((2, 4), np.int64), counts=counts, trains=trains)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda run: run.counts["a"].__setitem__((1, 0, 1, 0), 1),
            "a: counts differ at (sample, channel, row, column) = (1, 0, 1, 0): 0 against 1",
        ),
        (
            lambda run: run.trains["a"].__setitem__((1, 2, 0, 0, 1), True),
            "a: trains differ at (sample, step, channel, row, column) = (1, 2, 0, 0, 1): 0 against 1",
        ),
        (
            lambda run: run.logits.__setitem__((0, 3), -1),
            "logits differ at (sample, class) = (0, 3): 0 against -1",
        ),
        (lambda run: run.counts.clear(), "a: the second result has no counts"),
        (lambda run: run.trains.clear(), None),  # an engine need not have been asked for them
    ],
)
def test_the_first_difference_is_named(change, message):
    other = small_simulation()
    change(other)
    assert first_divergence(small_simulation(), other) == message


def test_predictions_are_the_first_of_equal_classes():
    logits = np.array([[1, 5, 5], [2, 2, 2], [0, 1, 9]])
    assert Simulation(logits=logits, counts={}, trains={}).predictions.tolist() == [1, 0, 2]
