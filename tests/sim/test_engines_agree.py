"""Every engine gives the integers of the stepped engine, on random networks."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import integer_networks, random_pixels

from sim import linear_kernels
from sim.closed_form import spikes_after
from sim.exact import ExactEngine, run_exact
from sim.frame_by_frame import run_frame_by_frame
from sim.simulation import first_divergence
from sim.stepped import run_stepped
from toolchain.errors import UnsupportedNetworkError

many = settings(deadline=None, suppress_health_check=list(HealthCheck))


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


@settings(many, max_examples=2_000)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped(network, seed):
    assert_exact_equals_stepped(network, random_pixels(network, seed))


@settings(many, max_examples=500)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped_in_an_accelerators_kernels(network, seed):
    """Products of gathered windows, which a processor computes, too, if it is asked to."""
    linear_kernels.largest_factor.cache_clear()
    with mock.patch.object(linear_kernels, "is_processor", return_value=False):
        assert linear_kernels.largest_factor(torch.device("cpu")) == 127
        assert_exact_equals_stepped(network, random_pixels(network, seed))
    linear_kernels.largest_factor.cache_clear()


@settings(many, max_examples=500)
@given(integer_networks(any_potential=True), st.integers(0, 2**32 - 1))
def test_exact_equals_stepped_for_any_initial_potential(network, seed):
    assert_exact_equals_stepped(network, random_pixels(network, seed))


@settings(many, max_examples=500)
@given(
    integer_networks(alignments=("average", "replicate", "truncate"), any_potential=True),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_any_alignment_equals_stepped_also_from_known_spike_trains(network, seed, data):
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


@settings(many, max_examples=30)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_batch_size_does_not_change_a_result(network, seed):
    pixels = random_pixels(network, seed, samples=5)
    whole = run_exact(network, pixels, with_trains=True)
    assert (
        first_divergence(whole, run_exact(network, pixels, with_trains=True, batch_size=2)) is None
    )


@settings(many, max_examples=50)
@given(integer_networks(alignments=("replicate", "truncate")), st.integers(0, 2**32 - 1))
def test_exact_refuses_what_has_no_closed_form(network, seed):
    with pytest.raises(UnsupportedNetworkError, match="needs 'average' alignment"):
        run_exact(network, random_pixels(network, seed))


@settings(many, max_examples=50)
@given(integer_networks(), st.integers(0, 2**32 - 1))
def test_a_flipped_weight_is_noticed_where_it_matters(network, seed):
    """The comparison itself can fail: changing one logit is reported as such."""
    pixels = random_pixels(network, seed)
    ours = run_stepped(network, pixels)
    theirs = run_stepped(network, pixels)
    theirs.logits[-1, -1] += 1
    message = first_divergence(ours, theirs)
    assert message is not None
    assert message.startswith("logits differ at (sample, class)")
    assert np.array_equal(ours.predictions, ours.logits.argmax(1))
