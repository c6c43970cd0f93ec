"""NetX: what lava-dl itself reads and computes is what the integer network holds and computes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from math import prod
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import _maps, integer_networks

from deploy.export.merged_maps import merged_convolution, merged_matrix
from deploy.export.netx_file import to_netx, write_netx
from deploy.lava_environment import LAVA_DL, find_lava_python
from hw_models.target_description import load_target
from sim.stepped import run_stepped, transmit
from toolchain.checkpoint import Checkpoint, save_checkpoint
from toolchain.conversion import convert
from toolchain.datasets import load_dataset
from toolchain.errors import UnsupportedNetworkError
from toolchain.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.linear_maps import Convolution, Dense, Scale, SumPool, chain_output_shape
from toolchain.model_zoo import build_model
from toolchain.passes import lower_to_integers
from toolchain.passes.change_timesteps import cap_timesteps
from toolchain.quantize_activations import balance_thresholds, quantize_activations
from toolchain.quantizers import TimestepQuantizer, quantizers

READER = Path(__file__).parent / "read_netx.py"


def per_channel(*values):
    return np.array(values, np.int64).reshape(-1, 1, 1)


def chain(timesteps=1, maps=None, threshold=None, bias=None, exponent=2, alignment="average"):
    """input (1 x 2 x 3) -> hidden (two channels) -> logits."""
    shape = (1, 2, 3)
    maps = maps or (Convolution(weight=np.array([3, -2], np.int8).reshape(2, 1, 1, 1)),)
    hidden_shape = chain_output_shape(maps, shape)
    hidden = IntegerSpiking(
        name="hidden",
        shape=hidden_shape,
        timesteps=timesteps,
        threshold=per_channel(20, 40) if threshold is None else threshold,
        initial_potential=per_channel(10, 21),
        bias=per_channel(5, -5) if bias is None else bias,
    )
    steps = 1 if alignment == "average" else timesteps
    readout = IntegerReadout(
        name="logits", shape=(2, 1, 1), timesteps=steps, bias=per_channel(7, 0), unit=1.0
    )
    weight = np.arange(1, 1 + 2 * prod(hidden_shape), dtype=np.int8).reshape(2, -1)
    return verify_integer_network(
        IntegerNetwork.build(
            [IntegerInput(name="input", shape=shape, max_value=15, unit=1.0), hidden, readout],
            [
                IntegerSynapse.of_maps(
                    source="input",
                    target="hidden",
                    maps=maps,
                    exponent=exponent,
                    alignment=alignment,
                ),
                IntegerSynapse.of_maps(
                    source="hidden",
                    target="logits",
                    maps=(Dense(weight=weight),),
                    exponent=1,
                    alignment=alignment,
                ),
            ],
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
    export = to_netx(chain(timesteps=3, threshold=per_channel(20, 20)))
    hidden = export.layers[1].fields
    assert hidden["neuron/vThMant"] == 4  # v > 4 is v >= 20 / 4
    assert hidden["bias"].tolist() == [1, -1]
    assert hidden["neuron/vDecay"] == 0
    assert export.losses == [
        "soft reset of hidden: NetX's neurons are set to 0 when they spike",
        "initial potentials of hidden: NetX's neurons start at 0",
        "firing windows of hidden: 3 timesteps here; NetX says neither how many nor when a sample ends: "
        "present each image that long and use reset_interval",
        "alignment of hidden -> logits: NetX passes each frame on at once; compile with --alignment "
        "replicate and one T for all to have the same",
        "biases of hidden, logits: rounded to whole steps of their weights",
    ]
    replicated = to_netx(chain(timesteps=3, threshold=per_channel(20, 20), alignment="replicate"))
    assert not any("alignment" in loss for loss in replicated.losses)
    odd = to_netx(chain(timesteps=3, threshold=per_channel(21, 21)))
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
            "compile with --thresholds 1, or with --max-timesteps 1, at which all can be said",
        ),
        (
            {"timesteps": 3, "threshold": per_channel(2**20, 2**20)},
            "hidden: threshold 262,144, in steps of its weights, exceeds NetX's 17 bits (131,071); train "
            "with a smaller threshold, or use fewer timesteps",
        ),
        (
            {"timesteps": 2, "threshold": per_channel(20, 20), "bias": per_channel(40_000, 0)},
            "hidden: bias 10,000, in steps of its weights, exceeds NetX's 13 bits (4,095); compile with "
            "--thresholds 1 or with fewer --weight-bits",
        ),
        (
            {"maps": (Convolution(weight=np.full((2, 1, 1, 3), 100, np.int8), padding=(0, 1)),
                      SumPool(kernel=(1, 3), stride=(1, 1)))},
            "input -> hidden (conv 1x3 > pool 1x3, average): weights from 100 to 300 once its pools are "
            "merged into them, beyond NetX's -256 to 254; use pools whose windows do not overlap, before the "
            "weights",
        ),
        (
            {"maps": (SumPool(kernel=(1, 2), stride=(1, 2)),
                      Convolution(weight=np.ones((2, 1, 1, 3), np.int8), padding=(0, 1)))},
            "input -> hidden (pool 1x2 > conv 1x3, average): at the borders no single convolution does what "
            "its pool and its weights do one after another; use a feature map that the pool divides, or no "
            "padding between them",
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


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(0, 2**32 - 1))
def test_merged_maps_compute_what_the_chain_does(data, seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    maps = data.draw(_maps(rng, shape))
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
        assert len(maps) > 1  # the borders of a pool and a convolution
        return
    alone = replace(synapse, pools_before=(), weighted=convolution, pools_after=())
    assert np.array_equal(transmit(alone, values), expected)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
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


def assert_same_decisions(population, synapse, source_shape, most, v_threshold, bias):
    """``W N + bias > vThMant`` is ``V0 + 2^x W N + B >= Theta`` for all sums of ``0 <= N <= most``."""
    matrix = merged_matrix(synapse, source_shape)
    low, high = (
        (most * part.sum(axis=1)).reshape(population.shape)
        for part in (np.minimum(matrix, 0), np.maximum(matrix, 0))
    )
    start = population.initial_potential + population.bias
    ours = -((start - population.threshold) // 2**synapse.exponent)
    for sums in (low, high, ours, ours - 1, v_threshold - bias, v_threshold - bias + 1):
        sums = np.clip(sums, low, high)
        here = start + (sums << synapse.exponent) >= population.threshold
        assert np.array_equal(sums + bias > v_threshold, here)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    for name in ("a.net", "b.net"):
        write_netx(tmp_path / name, to_netx(chain()).layers)
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()


def vgg(timesteps):
    """VGG-9 of an eighth of its width for the digits, with thresholds balanced on some of them."""
    torch.manual_seed(0)
    dataset = load_dataset("digits")
    images = torch.from_numpy(np.asarray(dataset.train_pixels[:64])).float() / dataset.max_value
    module = quantize_activations(
        build_model("vgg-9", dataset.input_shape, 10, 0.125), TimestepQuantizer
    )
    for quantizer in quantizers(module).values():
        torch.nn.init.constant_(quantizer.t, timesteps)
    balance_thresholds(module, images)
    return convert(module, dataset.input_shape, dataset.max_value)


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
    process = qac_deploy("export", compiled[1], "--format", "onnx")
    assert process.returncode == 2
    assert "not 'onnx'" in process.stderr


def random_chain(seed):
    """Every kind of layer in some order, one timestep each, thresholds and biases of every neuron."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(4, 9)))
    image = IntegerInput(
        name="input", shape=shape, max_value=int(rng.choice([1, 16, 255])), unit=1.0
    )
    populations, synapses = [image], []

    def add(maps, bias_range=300):
        nonlocal shape
        exponent = int(rng.integers(0, 4))
        name = f"layer{len(synapses)}"
        synapses.append(
            IntegerSynapse.of_maps(
                source=populations[-1].name, target=name, maps=maps, exponent=exponent
            )
        )
        shape = chain_output_shape(maps, shape)
        whole = shape if rng.random() < 0.5 else (shape[0], 1, 1)
        threshold = rng.integers(1, 4000, whole)
        populations.append(
            IntegerSpiking(
                name=name,
                shape=shape,
                timesteps=1,
                threshold=threshold,
                initial_potential=rng.integers(0, threshold),
                bias=rng.integers(-bias_range, bias_range, (shape[0], 1, 1)),
            )
        )

    for _ in range(int(rng.integers(1, 4))):
        groups = shape[0] if rng.random() < 0.3 else 1
        kernel = tuple(int(rng.integers(1, min(3, n) + 1)) for n in shape[1:])
        outputs = groups * int(rng.integers(1, 4))
        weight = rng.integers(-127, 128, (outputs, shape[0] // groups, *kernel), dtype=np.int8)
        stride = tuple(int(n) for n in rng.integers(1, 3, 2))
        padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
        conv = Convolution(weight=weight, stride=stride, padding=padding, groups=groups)
        pool = (SumPool(kernel=(2, 2), stride=(2, 2)),)
        divides = all(n % 2 == 0 for n in shape[1:]) and min(shape[1:]) >= 2 * max(kernel)
        add((*(pool if divides and rng.random() < 0.5 else ()), conv))
        if min(shape[1:]) < 2:
            break
    if rng.random() < 0.5 and shape[1:] != (1, 1):
        add((Scale(weight=rng.integers(-127, 128, shape[0], dtype=np.int8)),))
    low, high = [(-127, 128), (0, 128), (-127, 1)][seed % 3]  # lava-dl stores each sign its own way
    add((Dense(weight=rng.integers(low, high, (7, prod(shape)), dtype=np.int8)),))
    readout = Dense(weight=rng.integers(-127, 128, (3, 7), dtype=np.int8))
    synapses.append(
        IntegerSynapse.of_maps(
            source=populations[-1].name, target="logits", maps=(readout,), exponent=2
        )
    )
    bias = rng.integers(-900, 900, (3, 1, 1))
    populations.append(IntegerReadout(name="logits", shape=(3, 1, 1), bias=bias, unit=1.0))
    return verify_integer_network(IntegerNetwork.build(populations, synapses))


def read_by_lava_dl(folder, networks):
    """What lava-dl reads and computes of each network; ``networks``: name -> (network, pixels)."""
    python = find_lava_python(environment=LAVA_DL)  # without one, this says how to make it
    for name, (network, pixels) in networks.items():
        export = to_netx(network)
        write_netx(folder / f"{name}.net", export.layers)
        np.savez(
            folder / f"{name}.inputs.npz", pixels=pixels, message_bits=export.input_message_bits
        )
    run = subprocess.run(
        [python, "-I", READER, folder], capture_output=True, text=True, timeout=900, cwd=folder
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return {name: np.load(folder / f"{name}.read.npz") for name in networks}


def held_weights(network, synapse, read, index):
    """The weights of layer ``index`` as this network orders them."""
    weight = read[f"weight_{index}"]
    if weight.ndim == 2:
        return weight, merged_matrix(synapse, network[synapse.source].shape)
    merged = merged_convolution(synapse, network[synapse.source].shape).weight
    return weight.transpose(0, 3, 2, 1)[:, :, ::-1, ::-1], merged


def in_our_order(values, shape):
    """Per-neuron values (ticks first) from lava-dl's order (columns, rows, channels)."""
    if values.ndim == 4:
        values = values.transpose(0, 3, 2, 1)
    return values.reshape(len(values), *shape)


@pytest.mark.lava_dl
def test_lava_dl_reads_and_computes_the_same_integers(tmp_path):
    """One timestep: weights, decisions, every spike of every layer, and the logits up to their bias."""
    networks = {}
    for seed in range(24):
        network = random_chain(seed)
        image = network.input
        pixels = np.random.default_rng(seed).integers(0, image.max_value + 1, (5, *image.shape))
        pixels[0] = image.max_value
        networks[f"chain{seed:02}"] = network, pixels
    dataset = load_dataset("digits")
    graph = cap_timesteps(vgg(timesteps=2), 1)
    widths = replace(load_target("loihi-sim").widths, weight_bits=6)
    network = lower_to_integers(graph, widths)
    networks["vgg"] = network, np.asarray(dataset.test_pixels[:40])
    spiked = 0
    for name, read in read_by_lava_dl(tmp_path, networks).items():
        network, pixels = networks[name]
        run = run_stepped(network, pixels)
        for index, population in enumerate(network.populations[1:]):
            (synapse,) = network.incoming(population.name)
            held, own = held_weights(network, synapse, read, index)
            assert np.array_equal(held, own)
            ticks = slice(1 + index, 1 + index + len(pixels))
            spikes = in_our_order(read[f"spikes_{index}"][ticks], population.shape)
            if isinstance(population, IntegerReadout):
                bias = (read[f"bias_{index}"] << synapse.exponent) - population.bias.reshape(-1)
                assert (np.abs(bias) <= 1 << synapse.exponent >> 1).all()
                logits = (read["v"][ticks].astype(int) >> 6) << synapse.exponent
                assert np.array_equal(logits - bias, run.logits)
                assert not spikes.any()
                continue
            bias = np.broadcast_to(read[f"bias_{index}"], read[f"spikes_{index}"].shape[1:])
            bias = in_our_order(bias[None].astype(int), population.shape)[0]
            most = network.input.max_value if synapse.source == "input" else 1
            source = network[synapse.source].shape
            assert_same_decisions(
                population, synapse, source, most, int(read[f"threshold_{index}"]), bias
            )
            assert np.array_equal(spikes, run.counts[population.name])
            spiked += spikes.sum()
    assert spiked > 1000


@pytest.mark.lava_dl
def test_lava_dl_reads_the_integers_of_several_timesteps(tmp_path):
    """Weights, thresholds, biases and decays; what it computes then differs, as the losses say."""
    graph = vgg(timesteps=3)
    widths = replace(load_target("loihi-sim").widths, weight_bits=5, distinct_thresholds=1)
    network = lower_to_integers(graph, widths)
    pixels = np.asarray(load_dataset("digits").test_pixels[:2])
    read = read_by_lava_dl(tmp_path, {"vgg": (network, pixels)})["vgg"]
    for index, population in enumerate(network.populations[1:]):
        (synapse,) = network.incoming(population.name)
        held, own = held_weights(network, synapse, read, index)
        assert np.array_equal(held, own)
        step = 1 << synapse.exponent
        channels = read[f"bias_{index}"].reshape(-1, population.shape[0])
        bias = channels[0]
        assert (channels == bias).all()
        assert (np.abs(bias * step - population.bias.reshape(-1)) <= step / 2).all()
        if isinstance(population, IntegerSpiking):
            assert 0 <= (read[f"threshold_{index}"] + 1) * step - population.threshold.max() < step
            assert read[f"decays_{index}"].tolist() == [4095, 0]  # u forgets at once, v never


def test_without_lava_dl_the_message_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("QAC_DEPLOY_LAVA_DL_ENV", str(tmp_path / "nothing"))
    monkeypatch.delenv("QAC_DEPLOY_LAVA_DL_PYTHON", raising=False)
    from toolchain.errors import LavaError

    with pytest.raises(LavaError, match=r"run `qac-deploy doctor --create-lava-dl-env`"):
        find_lava_python(environment=LAVA_DL)
