"""What each core holds: a recount from every single synapse, which shares nothing with the models."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from single_synapses import dense_synapses, stored

from sim.stepped import apply_maps
from toolchain.method.float_snn import transmit
from toolchain.networks.integer_network import IntegerInput, IntegerReadout, IntegerSpiking
from toolchain.networks.linear_maps import Convolution, Dense, Scale, with_weight


def check_every_core(mapping):
    """Compare the use of every core with a count of single synapses."""
    network, target, provisioning = mapping.network, mapping.target, mapping.provisioning
    replicas, atoms = provisioning.replicas, target.atoms
    owner = {}  # population -> core number of each neuron of each replica
    for population in network.populations:
        count = replicas.get(population.name, 1)
        cores = np.full((count, *population.shape), -1)
        for core in mapping.cores_of(population.name):
            block = cores[core.replica][core.tile.slices]
            assert (block == -1).all()
            block[:] = core.core_index
        if not isinstance(population, IntegerInput):
            assert (cores >= 0).all()
        owner[population.name] = cores.reshape(count, -1)
    assert len({c.core_index for c in mapping.cores}) == len(mapping.cores)
    for core in mapping.cores:
        name = core.tile.population
        mine = owner[name][core.replica] == core.core_index
        buffers = sum(
            provisioning.slots_per_replica(s.source, name) for s in network.incoming(name)
        )
        own = 0 if isinstance(network[name], IntegerReadout) else 1
        assert core.use.neurons == mine.sum()
        assert core.use.compartments == mine.sum() * (own + buffers)
        assert core.use.compartments <= target.core.compartments
        assert core.use.threshold_profiles == len(kinds_of_threshold(network[name], mine))
        assert core.use.threshold_profiles <= target.core.threshold_profiles
        assert core.use.compartment_profiles == own + 1 <= 32
        formats = set()
        axons = words_used = 0
        for synapse in network.incoming(name):
            source = network[synapse.source]
            planes = source.max_value.bit_length() if isinstance(source, IntegerInput) else 1
            weight = apply_maps(synapse.maps, every_neuron(source.shape))  # between two neurons
            bits = max(int(np.abs(weight).max()).bit_length() + 1, 2)
            bits += bits == 7  # no such format
            formats |= {(bits, synapse.exponent + plane) for plane in range(planes)}
            lists = shared_lists(network, synapse, core.tile, atoms)
            heard = {r for r, own in shared_samples(replicas, synapse) if own == core.replica}
            axons += planes * len(lists) * len(heard)
            for atom_block, entries in {(axon[0], tuple(e)) for axon, e in lists.items()}:
                assert atom_block * atoms < source.shape[0]
                blocks = [64] * (len(entries) // 64)
                blocks += [len(entries) % 64] if len(entries) % 64 else []
                words_used += planes * sum(ceil((n * (bits + 10) + 10) / 64) for n in blocks)
        assert core.use.input_axons == axons <= 4096
        assert core.use.synapse_words == words_used <= target.core.synapse_words
        assert core.use.synapse_formats == len(formats) <= 15
        sends = set()  # (target core, synapse, atom block, pixel)
        for synapse in network.outgoing(name):
            links = dense_synapses(network, synapse)
            for neuron in np.flatnonzero(mine):
                c, y, x = np.unravel_index(neuron, network[name].shape)
                for own, replica in shared_samples(replicas, synapse):
                    if own != core.replica:
                        continue
                    for other in set(owner[synapse.target][replica][links[:, neuron]]):
                        sends.add((other, synapse.target, c // atoms, y, x))
        assert core.use.output_axons == 2 * len(sends) <= 4096
        assert core.use.compartment_bases <= 256


def shared_lists(network, synapse, tile, atoms):
    """Synapse lists of a tile, one for each pattern and atom block, by looking at every synapse."""
    weights = random_weights(network, synapse)
    shape = network[synapse.target].shape
    channels, rows, columns = (range(*axis) for axis in (tile.channels, tile.rows, tile.columns))
    mine = [(c, y, x) for c in channels for y in rows for x in columns]
    numbers = [np.ravel_multi_index(neuron, shape) for neuron in mine]
    lists = {}
    for source in np.ndindex(network[synapse.source].shape):
        column = weights[numbers, np.ravel_multi_index(source, network[synapse.source].shape)]
        reached = [(n, w) for n, w in zip(mine, column, strict=True) if w]
        if reached:
            base = min(n[1] for n, _ in reached), min(n[2] for n, _ in reached)
            entries = [((c, y - base[0], x - base[1]), round(w, 9)) for (c, y, x), w in reached]
            pixel = lists.setdefault((source[0] // atoms, *source[1:]), [])
            pixel += [(source[0] % atoms, *entry) for entry in entries]
    return lists


def random_weights(network, synapse):
    """Weights (targets, sources) of the synapse with a random number for every tap of its maps."""
    random = np.random.default_rng(1)
    kept = stored(synapse, network[synapse.source].shape)
    maps = tuple(
        with_weight(m, random.uniform(1, 2, m.weight.shape) * kept)
        if isinstance(m, Convolution | Dense | Scale)
        else m
        for m in synapse.maps
    )
    source = network[synapse.source]
    one_hot = torch.eye(int(np.prod(source.shape)), dtype=torch.float64)
    return transmit(maps, one_hot.reshape(-1, *source.shape)).flatten(1).numpy().T


def every_neuron(shape):
    """One sample for each neuron in which it alone is 1."""
    return np.eye(int(np.prod(shape)), dtype=np.int64).reshape(-1, *shape)


def shared_samples(replicas, synapse):
    """(replica of the source, of the target) that both work on a sample; the host is one for all."""
    sources, targets = replicas.get(synapse.source, 1), replicas.get(synapse.target, 1)
    return {(sample % sources, sample % targets) for sample in range(sources * targets)}


def kinds_of_threshold(population, mine):
    """Thresholds that the neurons of a core and its buffers ask for, neuron by neuron."""
    kinds = {"never"}  # the slots of buffers do not spike
    if isinstance(population, IntegerSpiking):
        thresholds = np.broadcast_to(population.threshold, population.shape).reshape(-1)
        kinds |= {int(thresholds[neuron]) for neuron in np.flatnonzero(mine)}
    return kinds
