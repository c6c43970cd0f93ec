"""Networks that are large in one respect: compiled within bounds, or refused with the limit they exceed."""

import numpy as np
import pytest
from builders import float_connect, float_network_of, float_spiking
from large_networks import chain, concatenations, joins, write_model
from measure_bounds import measure

from deploy.design.extent import check_extent
from deploy.design.limits import (
    MOST_AXIS_PATHS,
    MOST_CHANNEL_PAIRS,
    MOST_NEURONS,
    MOST_POPULATIONS,
    MOST_POPULATIONS_VARIED,
    MOST_SPIKES,
)
from toolchain.errors import UnsupportedNetworkError
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.networks.linear_maps import AveragePool, Convolution, Dense, Scale


def dense(targets, sources):
    """Zeros that take no memory."""
    return Dense(weight=np.broadcast_to(0.0, (targets, sources)))


def of_spiking(shape, source_map, readout_map, image=(1, 1, 1), **fields):
    return float_network_of(
        float_spiking("wide", shape, **fields),
        float_connect("input", "wide", source_map),
        float_connect("wide", "logits", readout_map),
        image=image,
    )


def of_neurons(channels, timesteps=1):
    """2^16 neurons for each channel."""
    convolution = Convolution(weight=np.zeros((channels, 1, 1, 1)))
    shape = (channels, 256, 256)
    return of_spiking(
        shape, convolution, dense(1, channels * 2**16), (1, 256, 256), timesteps=timesteps
    )


def of_channel_pairs(channels):
    network = of_spiking((channels, 1, 1), dense(channels, 1), dense(1, channels))
    scale = float_connect("wide", "next", Scale(weight=np.ones(channels)))
    return float_network_of(
        *network.spiking,
        float_spiking("next", (channels, 1, 1)),
        network.incoming("wide")[0],
        scale,
        float_connect("next", "logits", dense(1, channels)),
    )


def of_rows(rows):
    """A kernel of as many rows as the map."""
    stem = Convolution(weight=np.zeros((1, 1, 1, 1)))
    kernel = Convolution(weight=np.broadcast_to(0.0, (1, 1, 1025, 1)), padding=(512, 0))
    return float_network_of(
        float_spiking("tall", (1, rows, 1)),
        float_spiking("next", (1, rows, 1)),
        float_connect("input", "tall", stem),
        float_connect("tall", "next", kernel),
        float_connect("next", "logits", dense(1, rows)),
        image=(1, rows, 1),
    )


@pytest.mark.parametrize(
    ("largest", "larger", "complaint"),
    [
        (
            chain(MOST_POPULATIONS - 2),
            chain(MOST_POPULATIONS - 1),
            "the network has 501 populations, more than the 500 that can be compiled",
        ),
        (
            concatenations(70),
            concatenations(71),
            "the network has 2,557 synapses, more than the 2,500 that can be compiled",
        ),
        (
            of_neurons(MOST_NEURONS // 2**16),
            of_neurons(MOST_NEURONS // 2**16 + 1),
            "wide has 4,259,840 neurons, more than the 4,194,304 that can be compiled",
        ),
        (
            of_neurons(16, MOST_SPIKES // 2**20),
            of_neurons(16, MOST_SPIKES // 2**20 + 1),
            "the network has 135,266,304 neurons times timesteps, more than the 134,217,728",
        ),
        (
            of_channel_pairs(2**13),
            of_channel_pairs(2**13 + 1),
            "wide -> next has 67,125,249 pairs of channels, more than the 67,108,864",
        ),
        (
            of_rows(127),
            of_rows(128),
            "tall -> next has 16,793,600 rows of its source times rows of its target times rows of its "
            "kernel, more than the 16,777,216",
        ),
    ],
    ids=["populations", "synapses", "neurons", "spikes", "channels", "rows"],
)
def test_the_largest_network_is_accepted_and_one_more_is_refused(largest, larger, complaint):
    assert MOST_CHANNEL_PAIRS == 2**13 * 2**13
    assert 127**2 * 1025 <= MOST_AXIS_PATHS < 128**2 * 1025
    check_extent(largest)
    with pytest.raises(UnsupportedNetworkError, match=complaint):
        check_extent(larger)


def test_a_network_that_is_too_deep_is_refused_before_any_work(qac_deploy, tmp_path):
    save_checkpoint(tmp_path / "deep.pt", Checkpoint(chain(MOST_POPULATIONS, width=1), {}))
    for command in ("compile", "explore"):
        refused = qac_deploy(command, "deep.pt", "--out", "out")
        assert refused.returncode == 2
        assert refused.stderr.startswith(
            "error: the network has 502 populations, more than the 500 that can be compiled; "
        )
        assert not (tmp_path / "out").exists()


def test_a_deep_network_is_compiled_without_variations_and_the_report_says_so(qac_deploy, tmp_path):
    graph = joins(MOST_POPULATIONS_VARIED - 2)  # with its input, join and readout one too many
    save_checkpoint(tmp_path / "wide.pt", Checkpoint(graph, {}))
    compiled = qac_deploy("compile", "wide.pt")
    assert compiled.returncode == 0, compiled.stderr
    sentence = (
        "changes, finer tiles, other alignments and other values of assumed figures were not tried, since "
        "each of them compiles 101 populations again; the limit is 100"
    )
    assert sentence in " ".join(compiled.stdout.split())
    assert sentence.capitalize() in (tmp_path / "build/report.html").read_text()


def a_large_map_of_a_few_weights(kernel, padding, stride=1):
    """One pixel whose padding makes it a large map."""
    taps = Convolution(
        weight=np.broadcast_to(0.5, (1, 1, *kernel)), padding=padding, stride=(stride, stride)
    )
    shape = taps.output_shape((1, 1, 1))
    return float_network_of(
        float_spiking("wide", shape),
        float_connect("input", "wide", taps),
        float_connect("wide", "logits", dense(2, int(np.prod(shape)))),
        max_value=16,
        image=(1, 1, 1),
        classes=2,
    )


def a_pool_of_one_pixel(kernel, padding, stride):
    pool = AveragePool(kernel=kernel, padding=padding, stride=stride)
    shape = pool.output_shape((1, 1, 1))
    assert shape == (1, 1, 1)
    return float_network_of(
        float_spiking("pooled", shape),
        float_connect("input", "pooled", pool, Scale(weight=np.ones(1))),
        float_connect("pooled", "logits", dense(2, 1)),
        max_value=16,
        image=(1, 1, 1),
        classes=2,
    )


def a_large_map_between(padding, stride):
    """A pool that is large, and one that makes it small again."""
    wide = AveragePool(kernel=(2, 2), padding=padding, stride=(1, 1))
    rows = wide.output_shape((1, 1, 1))[1]
    narrow = AveragePool(kernel=(rows, rows), stride=(rows, rows))
    return float_network_of(
        float_spiking("pooled", (1, 1, 1)),
        float_connect("input", "pooled", wide, narrow, Scale(weight=np.ones(1))),
        float_connect("pooled", "logits", dense(2, 1)),
        max_value=16,
        image=(1, 1, 1),
        classes=2,
    )


BOMBS = {
    "window": (
        "calibrate",
        a_pool_of_one_pixel((16384, 16384), (8192, 8192), (8192, 8192)),
        "268,435,456 values in windows of 16384x16384 over 1 channels, above the limit",
    ),
    "between": (
        "compile",
        a_large_map_between((2500, 2500), 1),
        "25,000,000 values in maps of shape (1, 5000, 5000), above the limit",
    ),
    "accumulations": (
        "calibrate",
        a_large_map_of_a_few_weights((512, 512), (1000, 1000)),
        "581,985,894,400 multiply-accumulates per sample, above the limit",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_cannot_ask_for_gigabytes_or_hours(bomb, tmp_path):
    """Every command reads a model in the same way."""
    command, graph, complaint = BOMBS[bomb]
    save_checkpoint(tmp_path / "bomb.pt", Checkpoint(graph, {}))
    used = measure(command, "bomb.pt", cwd=tmp_path, most_processor_s=30, most_memory=2**32)
    assert used.returncode == 2, used.stderr
    assert complaint in " ".join(used.stderr.split())


FIRST = [("chain-200", ()), ("chain-200", ("--optimize", "stalls")), ("T-4096", ())]
FURTHER = [
    "chain-200-convolutions",
    "chain-450-T-16",
    "T-4096-twice",
    "maxima-100",
    "joins-300",
    "concatenations-70",
    "residual-150",
    "groups-4096",
    "channels-10000",
    "resampled-1024",
]


@pytest.mark.parametrize(
    ("network", "options"),
    [
        *(pytest.param(*case, marks=pytest.mark.slow) for case in FIRST),
        *(pytest.param(name, (), marks=pytest.mark.exhaustive) for name in FURTHER),
    ],
)
def test_a_large_network_is_compiled_within_bounds(network, options, tmp_path):
    """A minute of processor time is no timing: work that grows with a square takes several."""
    write_model(network, tmp_path / "model.pt")
    used = measure("compile", "model.pt", *options, cwd=tmp_path, most_processor_s=60)
    assert used.returncode == 0, used.stderr
    assert used.peak_mb < 1000
    assert (tmp_path / "build/report.html").stat().st_size < 20e6
