"""Selections, sums and concatenations on the PE array, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from builders import connect, network_of, spiking

from deploy.design.array_comparison import compare_on_array
from deploy.report.array_document import array_document
from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.closed_form import count_loops
from hw_models.pe_array.estimate import estimate_array
from hw_models.pe_array.kernel_timing import time_kernel
from hw_models.pe_array.modes import ANN_MULTIPLIER
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    chain_output_shape,
)

ARRAY = load_array("pe-array")


def ones(*shape):
    return np.ones(shape, np.int8)


def kernels_of(shape, *maps):
    """The kernels of one synapse from a population of that shape."""
    target = chain_output_shape(maps, shape)
    network = network_of(
        spiking("a", shape, 3),
        spiking("b", target, 3),
        connect("input", "a", Convolution(weight=ones(shape[0], 1, 1, 1))),
        connect("a", "b", *maps),
        connect("b", "logits", Dense(weight=ones(1, int(np.prod(target))))),
        image=(1, *shape[1:]),
    )
    kernels = array_kernels(network, ANN_MULTIPLIER)
    return [kernel for kernel in kernels if kernel.target == "b"]


def counters(kernel):
    return count_loops(kernel.nest, ARRAY.unrolling, ARRAY.dataflow)


def repeated(size, times):
    return np.eye(size, dtype=np.int64).repeat(times, axis=0)


def inserted(size):
    """A zero after each value, but the last."""
    matrix = np.zeros((2 * size - 1, size), np.int64)
    matrix[::2] = np.eye(size)
    return matrix


def test_a_slice_of_channels_costs_what_its_own_map_would():
    convolution = Convolution(weight=ones(4, 3, 3, 3), padding=(1, 1))
    (sliced,) = kernels_of((8, 6, 6), SelectChannels(channels=np.array([5, 6, 1])), convolution)
    (alone,) = kernels_of((3, 6, 6), convolution)
    assert counters(sliced) == counters(alone)
    assert time_kernel(sliced, ARRAY) == time_kernel(alone, ARRAY)
    assert sliced.source_channels.tolist() == [5, 6, 1]


def test_channels_of_zeros_are_not_computed():
    """The identity shortcut that pads channels: 4 of 8 channels get nothing."""
    channels = np.array([-1, -1, 0, 1, 2, 3, -1, -1])
    padded, scale = SelectChannels(channels=channels), Scale(weight=ones(8))
    (kernel,) = kernels_of((4, 5, 5), padded, scale)
    (alone,) = kernels_of((8, 5, 5), scale)
    assert kernel.nest.groups == 8  # the only synapse fires for all channels
    assert kernel.source_channels.tolist() == channels.tolist()
    assert counters(kernel).node_updates == counters(alone).node_updates


def test_upsampling_is_addresses_in_front_and_a_pass_of_copies_behind():
    upsample = Resample(rows=repeated(3, 2), columns=repeated(4, 2))
    convolution = Convolution(weight=ones(2, 2, 3, 3), padding=(1, 1))
    (front,) = kernels_of((2, 3, 4), upsample, convolution)
    (alone,) = kernels_of((2, 6, 8), convolution)
    assert counters(front) == counters(alone)
    small, large = (time_kernel(k, ARRAY).loaded_bytes["input"] for k in (front, alone))
    assert (small, large) == (2 * 3 * 4 * 2 // 8, 2 * 6 * 8 * 2 // 8)  # counts of two bits
    names = [kernel.name for kernel in kernels_of((2, 3, 4), convolution, upsample)]
    assert names == ["a -> b", "a -> b (pool)"]


def test_inserted_zeros_take_iterations_but_are_not_read():
    """A transposed 2x2 convolution of stride 2 on a 2x2 map: 4x4 outputs, one value under each."""
    insertion = Resample(rows=inserted(2), columns=inserted(2))
    (kernel,) = kernels_of(
        (1, 2, 2), insertion, Convolution(weight=ones(1, 1, 2, 2), padding=(1, 1))
    )
    assert (kernel.nest.rows, kernel.nest.columns) == (4, 4)
    assert counters(kernel).accumulations == 16 * 4
    assert counters(kernel).input_reads == 16
    assert time_kernel(kernel, ARRAY).loaded_bytes["input"] == 2 * 1  # a byte per stored row


def test_a_value_that_counts_three_times_is_added_three_times():
    sums = Resample(rows=np.array([[3, 1], [0, 2]]), columns=np.array([[1, 1, 1]]))
    pool, scale = kernels_of((5, 2, 3), sums, Scale(weight=ones(5)))
    assert pool.nest.kernel_size == (4, 3)
    assert counters(pool).accumulations == 5 * 2 * 1 * 12
    assert counters(pool).input_reads == 5 * (4 + 2) * 3  # the second row has two taps
    assert scale.reads.bits == (3 * 12).bit_length()


def test_a_selection_that_breaks_groups_up_runs_one_channel_per_group():
    grouped = Convolution(weight=ones(6, 2, 1, 1), groups=2)
    whole = SelectChannels(channels=np.array([3, 4, 5, 0, 1, 2]))
    (kept,) = kernels_of((4, 2, 2), grouped, whole)
    (broken,) = kernels_of((4, 2, 2), grouped, SelectChannels(channels=np.array([0, 3, 1, 4])))
    assert (kept.nest.groups, broken.nest.groups) == (2, 4)
    assert kept.source_channels.tolist() == [2, 3, 0, 1]
    assert broken.source_channels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]


def concatenation(num_sources, *, overlap=0):
    """Sources of 4 channels into one population, each through its own scale."""
    total = 4 * num_sources
    parts = [spiking(f"s{index}", (4, 6, 6), 3) for index in range(num_sources)]
    synapses = [connect("input", part.name, Convolution(weight=ones(4, 1, 1, 1))) for part in parts]
    for index, part in enumerate(parts):
        channels = np.full(total, -1)
        first = max(0, 4 * index - (overlap if index else 0))
        channels[first : first + 4] = range(4)
        place = SelectChannels(channels=channels)
        synapses.append(connect(part.name, "cat", Scale(weight=ones(4)), place))
    synapses.append(connect("cat", "logits", Dense(weight=ones(1, total * 36))))
    return network_of(*parts, spiking("cat", (total, 6, 6), 3), *synapses, image=(1, 6, 6))


@pytest.mark.parametrize("num_sources", [2, 24])
def test_a_concatenation_costs_what_one_map_of_its_channels_would(num_sources):
    layers = estimate_array(concatenation(num_sources), ARRAY, ANN_MULTIPLIER).layers
    parts = [layer for layer in layers if layer.kernel.target == "cat"]
    (whole,) = kernels_of((4 * num_sources, 6, 6), Scale(weight=ones(4 * num_sources)))
    assert len(parts) == num_sources
    for counter in ("cycles", "accumulations", "weight_reads", "node_updates", "psum_reads"):
        total = sum(getattr(part.counters, counter) for part in parts)
        assert total == getattr(counters(whole), counter), counter


def test_parts_that_overlap_are_a_join_over_all_channels():
    kernels = array_kernels(concatenation(3, overlap=1), ANN_MULTIPLIER)
    into = [kernel for kernel in kernels if kernel.target == "cat"]
    assert [kernel.nest.groups for kernel in into] == [12, 12, 12]
    assert [kernel.nest.adds_sums for kernel in into] == [False, True, True]


def test_kernels_of_equal_cost_are_computed_once(monkeypatch):
    """24 sources of equal shape are two different kernels, that of the input and that of a part."""
    from hw_models.pe_array import estimate

    timed = []
    monkeypatch.setattr(
        estimate, "time_kernel", lambda *a, f=estimate.time_kernel: timed.append(a) or f(*a)
    )
    layers = estimate_array(concatenation(24), ARRAY, ANN_MULTIPLIER).layers
    assert (len(layers), len(timed)) == (49, 3)
    assert len({layer.kernel.name for layer in layers}) == 49


def test_the_report_names_a_dilated_kernel_and_every_pass():
    convolution = Convolution(weight=ones(2, 2, 3, 3), dilation=(2, 2), padding=(2, 2))
    network = network_of(
        spiking("a", (2, 5, 5), 3),
        connect("input", "a", convolution),
        connect("a", "logits", Resample(rows=np.ones((1, 5), int), columns=np.ones((1, 5), int)),
                Dense(weight=ones(1, 2))),
        image=(2, 5, 5),
    )  # fmt: skip
    document = array_document(compare_on_array(network, ARRAY, None))
    assert document["refusal"] is None
    for mode in document["estimates"]:
        names = [layer["name"] for layer in mode["layers"]]
        assert names == ["input -> a", "a -> logits (pool)", "a -> logits"]
