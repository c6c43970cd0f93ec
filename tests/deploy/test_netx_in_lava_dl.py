"""NetX: what lava-dl itself reads and computes is what the integer network holds and computes."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from netx_cases import assert_same_decisions, vgg

from deploy.backends.lava.environment import LAVA_DL, find_lava_python
from deploy.backends.merged_maps import merged_convolution, merged_matrix
from deploy.backends.netx.netx_file import to_netx, write_netx
from hw_models.target_description import load_target
from sim.stepped import run_stepped
from toolchain.datasets import load_dataset
from toolchain.networks.integer_network import (
    IntegerInput,
    IntegerNetwork,
    IntegerReadout,
    IntegerSpiking,
    IntegerSynapse,
    verify_integer_network,
)
from toolchain.networks.linear_maps import Convolution, Dense, Scale, SumPool, chain_output_shape
from toolchain.passes import lower_to_integers
from toolchain.passes.change_timesteps import cap_timesteps

READER = Path(__file__).parent / "read_netx.py"


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
