"""What compile measures, and on how many samples, from the work that they are."""

from dataclasses import replace

import numpy as np
import pytest
from builders import WIDTHS, float_connect, float_dense, float_network_of, float_spiking

from deploy.design import fidelity
from deploy.design.fidelity import accumulations, affordable_samples, measure_fidelity
from toolchain.datasets import Dataset
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import (
    LayerGraph,
)
from toolchain.networks.linear_maps import Convolution
from toolchain.passes import lower_to_integers
from toolchain.passes.align_edges import align_edges


@pytest.fixture
def graph():
    """3x3 convolution of 16 positions, 2 to 4 channels, then a dense readout of 3 classes."""
    convolution = Convolution(weight=np.ones((4, 2, 3, 3)), padding=(1, 1))
    return float_network_of(
        float_spiking("hidden", (4, 4, 4), timesteps=4),
        float_connect("input", "hidden", convolution),
        float_connect("hidden", "readout", float_dense(np.ones((3, 64)))),
        image=(2, 4, 4),
        max_value=255,
        unit=1 / 255,
        readout="readout",
        classes=3,
    )


CONVOLUTION, DENSE = 4 * 16 * 2 * 9, 3 * 64


def test_a_mean_is_sent_once_and_selected_frames_one_by_one(graph):
    assert accumulations(graph) == CONVOLUTION + DENSE
    assert accumulations(align_edges(graph, "replicate")) == CONVOLUTION + 4 * DENSE


@pytest.mark.parametrize(
    ("method", "timesteps", "frames"),
    [("replicate", 2, 2), ("replicate", 6, 4), ("truncate", 2, 2), ("truncate", 6, 4)],
)
def test_a_frame_that_several_steps_read_is_sent_once(graph, method, timesteps, frames):
    hidden_to_readout = graph.incoming("readout")[0]
    populations = [
        replace(p, timesteps=timesteps) if p.name == "readout" else p for p in graph.populations
    ]
    synapses = [*graph.incoming("hidden"), replace(hidden_to_readout, alignment=method)]
    changed = LayerGraph.build(populations, synapses)
    assert accumulations(changed) == CONVOLUTION + frames * DENSE


@pytest.mark.parametrize(
    ("affordable", "samples"), [(1, 128), (128, 128), (129, 129), (1_000, 1_000), (1_001, 1_000)]
)
def test_samples_are_as_many_as_the_work_allows_within_bounds(
    graph, monkeypatch, affordable, samples
):
    monkeypatch.setattr(fidelity, "MOST_ACCUMULATIONS", affordable * accumulations(graph))
    assert affordable_samples(graph, (128, 1_000)) == samples


def test_one_multiplication_past_the_budget_is_one_sample_less(graph, monkeypatch):
    monkeypatch.setattr(fidelity, "MOST_ACCUMULATIONS", 200 * accumulations(graph) - 1)
    assert affordable_samples(graph, (128, 1_000)) == 199


def test_small_networks_are_measured_on_all_of_the_samples(graph):
    assert affordable_samples(graph, fidelity.MEASURED_SAMPLES) == 1_000
    assert affordable_samples(align_edges(graph, "replicate"), fidelity.ALIGNMENT_SAMPLES) == 256


def test_agreement_is_counted_sample_by_sample(graph):
    """All samples are right in floats; integers that always choose class 0 agree on those of class 0."""
    rng = np.random.default_rng(0)
    convolution = Convolution(weight=rng.normal(size=(4, 2, 3, 3)), padding=(1, 1))
    dense = float_dense(rng.normal(size=(3, 64)))
    synapses = [
        float_connect("input", "hidden", convolution),
        float_connect("hidden", "readout", dense),
    ]
    graph = LayerGraph.build(graph.populations, synapses)
    network = lower_to_integers(graph, WIDTHS)
    pixels = rng.integers(0, 256, (40, 2, 4, 4))
    labels = run_float_snn(graph, pixels).logits.argmax(1)
    dataset = Dataset(
        name="noise", max_value=255, num_classes=3, train_pixels=pixels, train_labels=labels,
        test_pixels=pixels, test_labels=labels,
    )  # fmt: skip
    right = measure_fidelity(graph, network, dataset)
    assert (right.samples, right.same_argmax, right.float_accuracy) == (40, 40, 1)
    first_class = np.array([2**20, 0, 0]).reshape(3, 1, 1)
    populations = [*network.populations[:-1], replace(network["readout"], bias=first_class)]
    biased = measure_fidelity(graph, type(network).build(populations, network.synapses), dataset)
    share = float((labels == 0).mean())
    assert 0 < share < 1
    assert (biased.same_argmax, biased.integer_accuracy) == (40 * share, share)
    assert biased.float_accuracy == 1
