"""The judge itself, against cases small enough to compute by hand."""

import numpy as np
import pytest
from builders import connect, dense, network_of, spiking

from sim.engines import ENGINES, Request
from sim.stepped import apply_maps, run_stepped
from toolchain.errors import DataError
from toolchain.networks.integer_network import IntegerInput, IntegerNetwork, IntegerReadout
from toolchain.networks.linear_maps import Convolution, Resample, Scale, SelectChannels, SumPool


def test_soft_reset_keeps_the_remainder_and_fires_at_equality():
    """V0 = 5, A = 7, Theta = 10: 12 spike 2; 9 no; 16 spike 6; 13 spike 3; 10 spike (equality) 0."""
    net = network_of(
        spiking("a", timesteps=5, threshold=10, initial=5),
        connect("input", "a", dense([[7]])),
        connect("a", "logits", dense([[1]])),
    )
    run = run_stepped(net, np.array([[[[1]]]]))
    assert run.trains["a"].reshape(-1).tolist() == [True, False, True, True, True]
    assert run.counts["a"].item() == 4
    assert run.logits.tolist() == [[4]]


def test_one_spike_a_step_however_large_the_current():
    net = network_of(
        spiking("a", timesteps=3, threshold=10),
        connect("input", "a", dense([[100]])),
        connect("a", "logits", dense([[1]])),
    )
    assert run_stepped(net, np.array([[[[1]]]])).counts["a"].item() == 3


def test_averaging_sees_the_count_and_replication_the_frames():
    """a spikes in steps 1 and 3 of 0..3; b has two steps and spikes wherever it gets any input."""

    def counts(alignment):
        net = network_of(
            spiking("a", timesteps=4, threshold=10),
            spiking("b", timesteps=2, threshold=1),
            connect("input", "a", dense([[5]])),
            connect("a", "b", dense([[1]]), alignment=alignment),
            connect("b", "logits", dense([[1]])),
        )
        run = run_stepped(net, np.array([[[[1]]]]))
        assert run.trains["a"].reshape(-1).tolist() == [False, True, False, True]
        return run.trains["b"].reshape(-1).tolist()

    assert counts("average") == [True, True]  # A = 2 in both steps
    assert counts("replicate") == [False, False]  # frames 0 and 2 hold no spike
    assert counts("truncate") == [False, True]  # frames 0 and 1


def test_truncation_gives_no_input_after_the_last_frame():
    net = network_of(
        spiking("a", timesteps=1, threshold=1),
        spiking("b", timesteps=3, threshold=4),
        connect("input", "a", dense([[1]])),
        connect("a", "b", dense([[4]]), alignment="truncate"),
        connect("b", "logits", dense([[1]])),
    )
    assert run_stepped(net, np.array([[[[1]]]])).trains["b"].reshape(-1).tolist() == [
        True,
        False,
        False,
    ]


def test_convolution_with_stride_padding_groups_and_exponent():
    """Two depthwise 2x2 kernels on 3x3 maps, stride 2, padding 1, times 2^1; a readout shows the sums."""
    kernels = np.array([[[[1, 2], [3, 4]]], [[[1, 0], [0, -1]]]], np.int8)
    convolution = Convolution(weight=kernels, stride=(2, 2), padding=(1, 1), groups=2)
    shape, no_bias = (2, 2, 2), np.zeros((2, 1, 1), np.int64)
    net = IntegerNetwork.build(
        [
            IntegerInput(name="input", shape=(2, 3, 3), max_value=255, unit=1.0),
            IntegerReadout(name="logits", shape=shape, bias=no_bias, unit=1.0, timesteps=1),
        ],
        [connect("input", "logits", convolution, exponent=1)],
    )
    pixels = np.arange(1, 19).reshape(1, 2, 3, 3)
    expected = 2 * np.array(
        [[[4 * 1, 3 * 2 + 4 * 3], [2 * 4 + 4 * 7, 1 * 5 + 2 * 6 + 3 * 8 + 4 * 9]],
         [[-10, -12], [-16, 14 - 18]]]
    )  # fmt: skip
    assert run_stepped(net, pixels).logits.reshape(shape).tolist() == expected.tolist()


def test_a_residual_join_adds_both_currents():
    net = network_of(
        spiking("a", timesteps=2, threshold=1),
        spiking("b", timesteps=3, threshold=7),
        connect("input", "a", dense([[1]])),
        connect("input", "b", Scale(weight=np.array([3], np.int8))),
        connect("a", "b", dense([[2]])),
        connect("b", "logits", dense([[1]])),
    )
    # a spikes twice, so b's current is 3 + 2 * 2 = 7 = Theta: one spike in every step
    assert run_stepped(net, np.array([[[[1]]]])).counts["b"].item() == 3


def test_a_sum_pool_adds_its_window():
    net = network_of(
        connect("input", "logits", SumPool(kernel=(2, 2), stride=(2, 2)), dense([[1]])),
        image=(1, 2, 2),
        max_value=4,
    )
    assert run_stepped(net, np.array([[[[1, 2], [3, 4]]]])).logits.tolist() == [[10]]


@pytest.mark.parametrize(
    ("linear_map", "expected"),
    [
        # taps two rows and three columns apart; one column of zeros on each side
        (
            Convolution(
                weight=np.array([[[[1, 10], [100, 0]]], [[[0, 1], [0, 0]]]], np.int8),
                padding=(0, 1),
                dilation=(2, 3),
                groups=2,
            ),
            [[[30 + 0, 0 + 100 * 7 + 1]], [[0 + 12, 0]]],
        ),
        # the middle row twice; the sum of all columns, and the last one
        (
            Resample(rows=np.array([[0, 1, 0]] * 2), columns=np.array([[1, 2, 1], [0, 0, 1]])),
            [[[20, 6]] * 2, [[56, 15]] * 2],
        ),
        (
            SelectChannels(channels=np.array([1, -1, 0])),
            [
                [[10, 11, 12], [13, 14, 15], [16, 17, 18]],
                [[0, 0, 0]] * 3,
                [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
            ],
        ),
    ],
    ids=["dilation", "resampling", "selection of channels"],
)
def test_maps_of_two_channels_of_three_by_three(linear_map, expected):
    values = np.arange(1, 19).reshape(1, 2, 3, 3)
    assert apply_maps([linear_map], values)[0].tolist() == expected


def test_the_logits_of_a_readout_that_is_a_map_are_flattened_by_rows():
    net = network_of(
        connect("input", "logits", Scale(weight=np.array([1, 2], np.int8))),
        image=(2, 2, 3),
        max_value=99,
        classes=(2, 2, 3),
        bias=[0, 100],
    )
    pixels = np.arange(12).reshape(1, 2, 2, 3)
    expected = [[0, 1, 2, 3, 4, 5, 112, 114, 116, 118, 120, 122]]
    for engine in ENGINES.values():
        assert engine.prepare(net, Request())(pixels).logits.tolist() == expected


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.zeros((1, 1, 2, 2), int),
            r"samples have shape \(1, 2, 2\), but .* 'input' takes \(1, 1, 1\)",
        ),
        (np.full((1, 1, 1, 1), 256), r"pixels must be 0\.\.255, but reach 256\.\.256"),
        (np.zeros((1, 1, 1, 1)), "pixels must be integers, not float64"),
    ],
)
def test_wrong_pixels_are_refused(pixels, message):
    net = network_of(connect("input", "logits", dense([[1]])), max_value=255)
    with pytest.raises(DataError, match=message):
        run_stepped(net, pixels)
