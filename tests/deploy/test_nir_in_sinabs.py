"""An exported NIR file, read by nir, nirtorch and sinabs, spikes there as here.

sinabs resets by subtraction and spikes at the threshold. NIR has no place for what the test sets: one spike
per step at most, no lower bound of the potential, and v(0).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import nir
import numpy as np
import pytest
import torch
from small_networks import residual_network
from strategies import random_pixels

from deploy.backends.nir_graph import to_nir
from sim.stepped import run_stepped
from toolchain.networks.integer_network import IntegerNetwork, verify_integer_network

TIMESTEPS = 5


def frame_by_frame(network: IntegerNetwork) -> IntegerNetwork:
    """The network with one T for all, in which each step passes its spikes on, as NIR defines it."""
    return verify_integer_network(
        IntegerNetwork.build(
            [
                p if p is network.input else replace(p, timesteps=TIMESTEPS)
                for p in network.populations
            ],
            [replace(s, alignment="replicate") for s in network.synapses],
        )
    )


@pytest.mark.filterwarnings("ignore")  # of nirtorch and sinabs
def test_sinabs_reads_the_file_and_gives_the_same_spikes_and_logits(tmp_path):
    nirtorch = pytest.importorskip("nirtorch")
    pytest.importorskip("sinabs")
    from sinabs.activation import SingleSpike
    from sinabs.nir import _import_sinabs_module

    network = frame_by_frame(residual_network())
    pixels = random_pixels(network, 3, samples=4)
    expected = run_stepped(network, pixels)
    nir.write(tmp_path / "network.nir", to_nir(network).graph)
    graph = nir.read(tmp_path / "network.nir", type_check=True)
    read = partial(_import_sinabs_module, batch_size=None, num_timesteps=TIMESTEPS)
    kinds = nir.IF, nir.Flatten, nir.Conv2d, nir.Affine
    module = nirtorch.nir_to_torch(graph, dict.fromkeys(kinds, read))
    spikes = {}
    for population in network.spiking:
        neurons = module.get_submodule(population.name.replace(".", "_"))
        neurons.spike_fn, neurons.min_v_mem = SingleSpike, None
        start = np.broadcast_to(population.initial_potential, (len(pixels), *population.shape))
        neurons.v_mem = torch.from_numpy(start.astype(np.float32))
        neurons.register_forward_hook(
            lambda _, given, output, name=population.name: spikes.update({name: output})
        )
    with torch.no_grad():
        currents, _ = module(torch.from_numpy(pixels).float().repeat_interleave(TIMESTEPS, 0))
    for population in network.spiking:
        train = spikes[population.name].reshape(len(pixels), TIMESTEPS, *population.shape)
        assert 0 < train.mean() < 1, population.name
        np.testing.assert_array_equal(train, expected.trains[population.name], population.name)
    logits = currents.reshape(len(pixels), TIMESTEPS, -1).sum(1)
    np.testing.assert_array_equal(logits, expected.logits)
