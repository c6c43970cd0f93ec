"""NetX: the layers that are written, what they lose, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod

import h5py
import numpy as np
import pytest
from builders import connect, dense, network_of, spiking
from hypothesis import given, settings
from hypothesis import strategies as st
from netx_cases import assert_same_decisions, vgg
from strategies import _maps, integer_networks

from deploy.backends.merged_maps import merged_convolution, merged_matrix, square_convolution
from deploy.backends.netx.netx_file import to_netx, write_netx
from sim.stepped import transmit
from toolchain.errors import UnsupportedNetworkError
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.networks.integer_network import (
    IntegerNetwork,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.linear_maps import (
    Convolution,
    Dense,
    Resample,
    Scale,
    SelectChannels,
    SumPool,
    chain_output_shape,
)


def chain(
    timesteps=1, maps=None, threshold=(20, 40), bias=(5, -5), exponent=2, alignment="average"
):
    """input (1 x 2 x 3) -> hidden (two channels) -> logits."""
    maps = maps or (Convolution(weight=np.array([3, -2], np.int8).reshape(2, 1, 1, 1)),)
    hidden_shape = chain_output_shape(maps, (1, 2, 3))
    weight = np.arange(1, 1 + 2 * prod(hidden_shape)).reshape(2, -1)
    return verify_integer_network(
        network_of(
            spiking("hidden", hidden_shape, timesteps, threshold, [10, 21], bias),
            connect("input", "hidden", *maps, exponent=exponent, alignment=alignment),
            connect("hidden", "logits", dense(weight), exponent=1, alignment=alignment),
            image=(1, 2, 3),
            max_value=15,
            classes=2,
            bias=[7, 0],
            steps=1 if alignment == "average" else timesteps,
        )
    )


def test_layers_by_hand():
    """hidden spikes at 4 W N >= Theta - V0 - B: W N >= ceil(5 / 4) = 2, and >= ceil(24 / 4) = 6.

    The second channel's -2 N is never above 0, so deciding at 1 is the same.
    """
    image, hidden, flatten, logits = to_netx(chain()).layers
    assert (image.kind, image.shape, image.fields) == ("input", (1, 2, 3), {})
    assert (hidden.kind, hidden.shape) == ("conv", (2, 2, 3))
    assert hidden.fields["weight"].tolist() == [[[[[3]]]], [[[[-2]]]]]
    assert hidden.fields["neuron/vThMant"] == 0  # in the middle: W N + bias > 0
    assert hidden.fields["bias"].tolist() == [-1, 0]
    assert hidden.fields["neuron/vDecay"] == hidden.fields["neuron/iDecay"] == 4096
    assert (flatten.kind, flatten.shape) == ("flatten", (12,))
    assert (logits.kind, logits.shape) == ("dense", (2,))
    assert logits.fields["weight"].tolist() == np.arange(1, 25).reshape(2, 12).tolist()
    assert logits.fields["bias"].tolist() == [4, 0]  # 7 / 2, rounded half up
    assert logits.fields["neuron/vThMant"] == 2**17 - 1


def test_one_timestep_everywhere_loses_nothing_but_fractions_of_biases():
    export = to_netx(chain())
    assert export.input_message_bits == 4
    assert export.losses == ["biases of logits: rounded to whole steps of their weights"]


def test_several_timesteps_are_written_as_they_are_and_what_is_lost_is_named():
    export = to_netx(chain(timesteps=3, threshold=[20, 20]))
    hidden = export.layers[1].fields
    assert hidden["neuron/vThMant"] == 4  # v > 4 is v >= 20 / 4
    assert hidden["bias"].tolist() == [1, -1]
    assert hidden["neuron/vDecay"] == 0
    assert export.losses == [
        "soft reset of hidden: NetX's neurons are set to 0 when they spike",
        "initial potentials of hidden: NetX's neurons start at 0",
        "firing windows of hidden: 3 timesteps here; NetX has no windows: "
        "present each image that long and use reset_interval",
        "alignment of hidden -> logits: NetX passes each frame on at once; to avoid the loss, "
        "compile with --alignment replicate and one T for all",
        "biases of hidden, logits: rounded to whole steps of their weights",
    ]
    replicated = to_netx(chain(timesteps=3, threshold=[20, 20], alignment="replicate"))
    assert not any("alignment" in loss for loss in replicated.losses)
    odd = to_netx(chain(timesteps=3, threshold=[21, 21]))
    assert "thresholds of hidden: rounded up to whole steps of their weights" in odd.losses


def test_an_input_that_could_wrap_around_is_named():
    wide = Dense(weight=np.full((2, 6), 127, np.int8))
    network = chain(maps=(wide,))
    populations = [replace(network.populations[0], max_value=255), *network.populations[1:]]
    losses = to_netx(IntegerNetwork.build(populations, network.synapses)).losses
    assert losses[-1] == (
        "range of hidden: its input is bounded by 194,310 steps of its weights, beyond the 131,071 at which "
        "NetX's 24 bits wrap around"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"timesteps": 3},
            "hidden: 2 different thresholds (20 to 40), but a NetX layer of several timesteps has one; "
            "compile with --thresholds 1, or with --max-timesteps 1, which NetX can express exactly",
        ),
        (
            {"timesteps": 3, "threshold": [2**20, 2**20]},
            "hidden: threshold 262,144, in steps of its weights, exceeds NetX's 17 bits (131,071); train "
            "with a smaller threshold, or use fewer timesteps",
        ),
        (
            {"timesteps": 2, "threshold": [20, 20], "bias": [40_000, 0]},
            "hidden: bias 10,000, in steps of its weights, exceeds NetX's 13 bits (4,095); compile with "
            "--thresholds 1 or with fewer --weight-bits",
        ),
        (
            {"maps": (Convolution(weight=np.full((2, 1, 1, 3), 100, np.int8), padding=(0, 1)),
                      SumPool(kernel=(1, 3), stride=(1, 1)))},
            "input -> hidden (conv 1x3 > pool 1x3, average): weights from 200 to 300 once its pools are "
            "merged into them, beyond NetX's -256 to 254; use pools whose windows do not overlap, before the "
            "weights",
        ),
        (
            {"maps": (SumPool(kernel=(1, 3), stride=(1, 1), padding=(0, 1)),
                      Convolution(weight=np.ones((2, 1, 1, 3), np.int8), padding=(0, 1)))},
            "input -> hidden (pool 1x3 > conv 1x3, average): no single convolution equals these maps, "
            "because they differ at the borders or resample; use a feature map that the pool divides, no "
            "padding between them, and no upsampling",
        ),
        (
            {"maps": (Dense(weight=np.zeros((2, 6), np.int8)),)},
            "input -> hidden (dense, average): all weights are 0, which lava-dl 0.6.0 cannot read; train it "
            "again",
        ),
    ],
    ids=["thresholds", "threshold", "bias", "weights", "borders", "zeros"],
)  # fmt: skip
def test_what_netx_cannot_say_is_refused(options, message):
    with pytest.raises(UnsupportedNetworkError) as refusal:
        to_netx(chain(**options))
    assert str(refusal.value) == message


def random_selection(rng, shape):
    """Resampling to the same shape, and a selection of as many channels."""
    channels, height, width = shape
    yield Resample(
        rows=rng.integers(0, 2, (height, height)),
        columns=np.eye(width, dtype=np.int64)[::-1].copy(),
    )
    yield SelectChannels(channels=rng.integers(-1, channels, channels))


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1))
def test_a_square_kernel_without_groups_computes_what_a_map_does(seed):
    rng = np.random.default_rng(seed)
    shape = (2 * int(rng.integers(1, 3)), int(rng.integers(3, 8)), int(rng.integers(3, 8)))
    groups, size = int(rng.integers(1, 3)), rng.integers(1, 3, 2)
    convolution = Convolution(
        weight=rng.integers(-9, 10, (4, shape[0] // groups, *size), dtype=np.int8),
        stride=tuple(rng.integers(1, 3, 2)),
        padding=tuple(rng.integers(0, 3, 2)),
        dilation=tuple(rng.integers(1, 3, 2)),
        groups=groups,
    )
    for linear_map in (convolution, *random_selection(rng, shape)):
        square = square_convolution(linear_map, shape, 10**6)
        assert square.groups == 1
        assert square.kernel[0] == square.kernel[1]
        values = rng.integers(0, 4, (2, *shape))
        expected, found = (
            transmit(
                connect("a", "b", m)
                if isinstance(m, Convolution)
                else connect("a", "b", m, Scale(weight=np.ones(shape[0], np.int8))),
                values,
            )
            for m in (linear_map, square)
        )
        assert np.array_equal(found, expected)
    assert square_convolution(convolution, shape, 7) is None


@settings(max_examples=150)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_merged_maps_compute_what_the_chain_does(data, seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    maps = data.draw(_maps(rng, shape, False))
    if data.draw(st.booleans()):
        maps = (*random_selection(rng, shape), *maps)
    maps += tuple(random_selection(rng, chain_output_shape(maps, shape))) * data.draw(
        st.integers(0, 1)
    )
    synapse = IntegerSynapse.of_maps(source="a", target="b", maps=maps, exponent=0)
    values = rng.integers(0, 4, (2, *shape))
    expected = transmit(synapse, values)
    matrix = merged_matrix(synapse, shape)
    assert np.array_equal(values.reshape(2, -1) @ matrix.T, expected.reshape(2, -1))
    if any(isinstance(m, Dense) for m in maps):
        return
    try:
        convolution = merged_convolution(synapse, shape)
    except UnsupportedNetworkError:
        assert len(maps) > 1  # the borders of a pool and a convolution, or resampling
        return
    alone = replace(synapse, pools_before=(), weighted=convolution, pools_after=())
    assert np.array_equal(transmit(alone, values), expected)


@settings(max_examples=150)
@given(integer_networks(any_potential=True))
def test_a_single_decision_is_exact_for_every_input(network):
    """Neuron by neuron: the least W N + bias that spikes in NetX is the least that spikes here."""
    populations = [replace(p, timesteps=1) for p in network.populations]
    try:
        export = to_netx(IntegerNetwork.build(populations, network.synapses))
    except UnsupportedNetworkError:
        return  # a join, or too wide a range; refusals have their own tests
    layers = iter(layer for layer in export.layers if "weight" in layer.fields)
    for population in populations[1:-1]:
        (synapse,) = network.incoming(population.name)
        fields = next(layers).fields
        assert 0 <= fields["neuron/vThMant"] < 2**17
        assert np.abs(fields["bias"]).max() < 2**12
        bias = fields["bias"]
        bias = bias.transpose(2, 1, 0) if bias.ndim == 3 else bias.reshape(-1, 1, 1)
        most = network.input.max_value if synapse.source == "input" else 1
        source = network[synapse.source].shape
        assert_same_decisions(population, synapse, source, most, fields["neuron/vThMant"], bias)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("a.net", "b.net"):
        write_netx(tmp_path / name, to_netx(chain()).layers)
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()


def test_the_command_writes_a_chain_and_says_how_to_read_it(qac_deploy, tmp_path):
    save_checkpoint(tmp_path / "vgg.pt", Checkpoint(vgg(timesteps=2), {}))
    compiled = qac_deploy("compile", "vgg.pt", "--max-timesteps", 1, "--weight-bits", 6)
    assert compiled.returncode == 0, compiled.stderr
    process = qac_deploy("export", "build", "--format", "netx", "--json")
    assert process.returncode == 0, process.stderr
    record = json.loads(process.stdout)
    assert record["file"] == "network.net"
    assert record["layers"] == 11
    assert record["input_message_bits"] == 5
    with h5py.File(tmp_path / "network.net") as file:
        kinds = [file[f"layer/{index}/type"][0].decode() for index in range(11)]
    assert kinds == ["input", *["conv"] * 7, "flatten", "dense", "dense"]
    text = qac_deploy("export", "build", "--format", "netx")
    assert "hdf5.Network(net_config, input_message_bits=5)" in text.stdout
    assert "not expressed: biases of readout" in text.stdout


def test_a_join_is_refused_with_what_else_to_do(qac_deploy, compiled, tmp_path):
    process = qac_deploy("export", compiled[1], "--format", "netx")
    assert process.returncode == 2
    assert process.stderr == (
        "error: join: synapses from inner and stem join here, but a NetX file is a chain of layers; use "
        "--format nir, or a network without joins such as vgg-9\n"
    )
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused(qac_deploy, compiled):
    process = qac_deploy("export", compiled[1], "--format", "xml")
    assert process.returncode == 2
    assert "not 'xml'" in process.stderr
