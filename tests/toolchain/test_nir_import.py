"""Import of NIR graphs: what is read, what is assumed, what is refused, and the guard."""

import itertools
import re
from dataclasses import replace

import nir
import numpy as np
import pytest
import torch
from builders import WIDTHS
from nir_writers import own_spikes
from random_nir_graphs import random_graph

from deploy.backends.nir_graph import to_nir
from sim.stepped import run_stepped
from toolchain.errors import DataError, ModelFileError, OptionError, UnsupportedNetworkError
from toolchain.importers.nir_format import import_nir, importer
from toolchain.importers.torch_module import Normalization
from toolchain.method.float_snn import run_float_snn
from toolchain.passes.pipeline import lower_to_integers

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.normal(size=shape) * 0.8


def neurons(*shape, threshold=1.0, r=1.0):
    return nir.IF(
        r=np.full(shape, float(r)), v_threshold=np.full(shape, threshold), v_reset=np.zeros(shape)
    )


def chain(*nodes):
    """A graph of nodes in a row, named ``a``, ``b`` and so on between ``input`` and ``output``."""
    names = ["input", *"abcdefghijkl"[: len(nodes) - 2], "output"]
    return nir.NIRGraph(
        dict(zip(names, nodes, strict=True)),
        list(itertools.pairwise(names)),
        type_check=False,
    )


def ends(given, result):
    return nir.Input({"input": np.array(given)}), nir.Output({"output": np.array(result)})


def conv2d(weight, padding=0, stride=1, dilation=1, groups=1):
    return nir.Conv2d(None, weight, stride, padding, dilation, groups, weights(len(weight)))


def small():
    """One population of 3 neurons, of 4 pixels."""
    first, last = ends([4], [3])
    return chain(first, nir.Affine(weights(3, 4), weights(3)), neurons(3), last)


def between(given, *nodes, result=5):
    """Nodes behind neurons of the shape of the Input, and in front of a matrix and neurons."""
    first, last = ends(given, [result])
    return chain(first, neurons(*given, threshold=0.37), *nodes, neurons(result), last)


def flat_matrix(size, result=5):
    return nir.Flatten(None, 0, -1), nir.Linear(weights(result, size))


GRAPHS = {
    "conv1d": lambda: between(
        (2, 9), nir.Conv1d(None, weights(4, 2, 3), 2, 1, 1, 1, weights(4)), *flat_matrix(20)
    ),
    "conv1d with words": lambda: between(
        (2, 9), nir.Conv1d(None, weights(4, 2, 4), 1, "same", 1, 1, weights(4)), *flat_matrix(36)
    ),
    "grouped and dilated": lambda: between(
        (4, 7, 6), conv2d(weights(6, 2, 3, 2), (2, 1), (1, 2), (2, 1), 2), *flat_matrix(168)
    ),
    "same padding of an even kernel": lambda: between(
        (2, 5, 6), conv2d(weights(3, 2, 4, 2), "same"), *flat_matrix(90)
    ),
    "valid": lambda: between((2, 5, 6), conv2d(weights(3, 2, 4, 2), "valid"), *flat_matrix(30)),
    "bias through padding": lambda: between(
        (1, 5, 5), conv2d(weights(2, 1, 1, 1)), conv2d(weights(2, 2, 3, 3), 1), *flat_matrix(50)
    ),
    "sum pool with padding": lambda: between(
        (2, 5, 5), nir.SumPool2d(np.array([3, 3]), np.array([2, 2]), np.array([1, 1])), *flat_matrix(18)
    ),
    "average pool with padding": lambda: between(
        (2, 5, 5), nir.AvgPool2d(np.array([3, 2]), np.array([2, 1]), np.array([1, 0])), *flat_matrix(24)
    ),
    "scale per channel": lambda: between(
        (2, 3, 3),
        nir.Scale(np.broadcast_to(np.array([0.5, -2.0])[:, None, None], (2, 3, 3)).copy()),
        *flat_matrix(18),
    ),
    "scale per value": lambda: between((2, 3, 3), nir.Scale(weights(2, 3, 3)), *flat_matrix(18)),
    "partial flatten": lambda: between(
        (2, 1, 12), nir.Flatten(None, 1, -1), nir.Conv1d(None, weights(2, 2, 3), 1, 0, 1, 1, weights(2)),
        *flat_matrix(20),
    ),
    "negative axes": lambda: between((2, 3, 4), nir.Flatten(None, -3, -1), nir.Linear(weights(5, 24))),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_every_node_is_compared_with_its_own_execution(name):
    imported = import_nir(GRAPHS[name](), timesteps=5)
    assert imported.agreement.num_ties == 0
    assert imported.agreement.num_counts > 0
    assert all(s.alignment == "replicate" for s in imported.graph.synapses)
    assert (
        {p.timesteps for p in imported.graph.spiking} == {imported.graph.readout.timesteps} == {5}
    )
    assert not any(p.initial_potential.any() for p in imported.graph.spiking)


def test_neurons_that_differ():
    first, last = ends([4], [3])
    node = nir.IF(
        r=np.array([1.0, 2.0, 0.5]), v_threshold=np.array([0.2, 1.0, 0.7]), v_reset=np.zeros(3)
    )
    graph = chain(first, nir.Linear(np.abs(weights(3, 4))), node, last)
    imported = import_nir(graph, timesteps=6, dt=1.0)
    one = nir.IF(r=np.ones(3), v_threshold=np.array([0.2, 0.5, 1.4]), v_reset=np.zeros(3))
    same = import_nir(chain(first, graph.nodes["a"], one, last), timesteps=6)
    pixels = RNG.integers(0, 256, (20, 4, 1, 1))
    logits = [run_float_snn(i.graph, pixels).logits for i in (imported, same)]
    np.testing.assert_array_equal(*logits)
    assert logits[0].std() > 0


def test_a_join_of_maps_and_vectors():
    first, last = ends([2, 3, 3], [18])
    nodes = {
        "input": first,
        "map": neurons(2, 3, 3, threshold=0.5),
        "flat": nir.Flatten(None, 0, -1),
        "vector": neurons(18, threshold=0.3),
        "matrix": nir.Linear(weights(18, 18)),
        "sum": neurons(18),
        "output": last,
    }
    edges = [
        ("input", "map"), ("map", "flat"), ("flat", "vector"), ("flat", "matrix"), ("flat", "sum"),
        ("matrix", "sum"), ("vector", "sum"), ("sum", "output"), ("vector", "output"),
    ]  # fmt: skip
    graph = import_nir(nir.NIRGraph(nodes, edges, type_check=False), timesteps=4).graph
    assert {s.source for s in graph.incoming("sum")} == {"map", "vector"}
    assert {s.source for s in graph.incoming("output")} == {"sum", "vector"}


def test_nested_graphs_are_written_out():
    inner = small()
    inner.nodes["input"].input_type = inner.nodes["input"].output_type = {"input": np.array([4])}
    first, last = ends([4], [3])
    outer = nir.NIRGraph(
        {"input": first, "block": inner, "out": neurons(3), "output": last},
        [("input", "block"), ("block", "out"), ("out", "output")],
        type_check=False,
    )
    graph = import_nir(outer, timesteps=4).graph
    assert [p.name for p in graph.populations] == ["input", "block.b", "out", "output"]


def test_a_network_may_end_without_neurons():
    first, last = ends([4], [2])
    graph = chain(
        first, nir.Linear(weights(3, 4)), neurons(3), nir.Affine(weights(2, 3), weights(2)), last
    )
    imported = import_nir(graph, timesteps=4)
    assert "logits: mean over all steps of what output reads" in imported.notes
    assert np.any(imported.graph.readout.bias)


def test_normalized_pixels():
    first, last = ends([3, 4, 4], [5])
    graph = chain(
        first, conv2d(weights(4, 3, 3, 3), 1), neurons(4, 4, 4), *flat_matrix(64), neurons(5), last
    )
    normalization = Normalization(mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))
    imported = import_nir(graph, timesteps=4, max_value=15, normalization=normalization)
    assert imported.graph.input.max_value == 15
    assert imported.agreement.num_ties == 0


@pytest.mark.parametrize(
    ("own", "image", "population", "note"),
    [
        ((784,), None, (784, 1, 1), ""),
        (
            (784,),
            (1, 28, 28),
            (1, 28, 28),
            "images of 1x28x28 are the Input of 784 in row-major order",
        ),
        (
            (1, 784),
            (1, 28, 28),
            (1, 28, 28),
            "images of 1x28x28 are the Input of 1x784 in row-major",
        ),
    ],
)
def test_shape_of_the_input(own, image, population, note):
    first, last = ends(own, [5])
    graph = chain(first, nir.Flatten(None, 0, -1), nir.Linear(weights(5, 784)), neurons(5), last)
    imported = import_nir(graph, timesteps=2, input_shape=image)
    assert imported.graph.input.shape == population
    assert note in " ".join(imported.notes)


def test_a_batch_in_the_shapes_of_older_writers():
    first, last = ends([1, 1, 4, 4], [5])
    graph = chain(
        first, conv2d(weights(2, 1, 3, 3), 1), neurons(2, 4, 4), nir.Flatten(None, 1, -1),
        nir.Linear(weights(5, 32)), neurons(5), last,
    )  # fmt: skip
    notes = import_nir(graph, timesteps=2).notes
    assert "the first axis of the Input, of size 1, is taken as the batch" in notes
    assert (
        "c: start_dim = 1 is taken to count the batch, as the matrix behind it takes all 32 values"
        in notes
    )


# ------------------------------------------------------------------------------------ conventions


def snntorch_neurons(*shape):
    endless = np.full(shape, np.inf)
    return nir.LIF(
        tau=endless,
        r=endless,
        v_leak=np.zeros(shape),
        v_threshold=np.ones(shape),
        v_reset=np.zeros(shape),
    )


def synaptic(*shape, tau_syn=1e-4):
    endless = np.full(shape, np.inf)
    return nir.CubaLIF(
        tau_syn=np.full(shape, tau_syn), tau_mem=endless, r=endless, v_leak=np.zeros(shape),
        v_threshold=np.ones(shape), v_reset=np.zeros(shape), w_in=np.full(shape, 0.5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("node", "writer", "note", "gain"),
    [
        (neurons(3), "sinabs", "every r is 1, as sinabs and Norse write it", 1),
        (neurons(3, r=1e4), "SpikingJelly", "every r is 10000, taken as 1 / dt", 1),
        (neurons(3, r=np.float32(1 / 3e-3)), "SpikingJelly", "taken as 1 / dt", 1),
        (snntorch_neurons(3), "snnTorch", "written as snnTorch writes beta = 1", 1),
        (synaptic(3), "snnTorch", "written as snnTorch writes beta = 1", 0.5),
    ],
)
def test_a_writer_is_recognised_and_its_time_step_said(node, writer, note, gain):
    first, last = ends([4], [3])
    weight = weights(3, 4)
    imported = import_nir(chain(first, nir.Linear(weight), node, last), timesteps=3)
    assert writer in imported.source
    assert imported.notes[0].startswith(note) or note in imported.notes[0]
    (synapse,) = imported.graph.incoming("b")
    np.testing.assert_allclose(synapse.maps[0].weight, weight * gain, rtol=1e-12)


def test_one_parameter_for_all_neurons_and_two_kinds_of_them():
    first, last = ends([4], [3])
    scalar = nir.IF(np.array([1.0]), np.array([0.3]), np.array([0.0]))
    graph = chain(
        first,
        nir.Linear(weights(5, 4)),
        scalar,
        nir.Linear(weights(3, 5)),
        snntorch_neurons(3),
        last,
    )
    assert [p.shape[0] for p in import_nir(graph, timesteps=5).graph.spiking] == [5, 3]


def test_a_time_step_that_is_given():
    first, last = ends([4], [3])
    weight = weights(3, 4)
    graph = chain(first, nir.Linear(weight), neurons(3, r=20.0), last)
    imported = import_nir(graph, timesteps=3, dt=0.01)
    assert imported.notes[0].startswith("dt = 0.01, as given")
    (synapse,) = imported.graph.incoming("b")
    np.testing.assert_allclose(synapse.maps[0].weight, weight * 0.2)


@pytest.mark.parametrize(
    ("r", "first_spike"), [(1.0, 3), (1e4, 2)], ids=["above the threshold", "at the threshold"]
)
def test_equality_is_decided_as_the_writer_decides_it(r, first_spike):
    """A potential of 0.5, 1, 1.5 ... at a threshold of 1, which the grid of the weights makes exact."""
    first, last = ends([1], [1])
    graph = chain(first, nir.Linear(np.array([[0.5]])), neurons(1, r=r), last)
    imported = import_nir(graph, timesteps=8)
    assert imported.agreement.num_ties == 0
    counts = run_float_snn(imported.graph, np.array([[[[255]]]]), with_counts=True).counts["b"]
    assert counts.item() == {3: 3, 2: 4}[first_spike]  # in steps 3, 5, 7 or in steps 2, 4, 6, 8
    exactly = [note for note in imported.notes if "exactly" in note]
    assert len(exactly) == (r == 1.0)


def test_ties_are_counted_where_the_grid_is_too_fine():
    third = 1 / 3
    first, last = ends([1], [1])
    graph = chain(first, nir.Linear(np.array([[third]])), neurons(1, threshold=2 * third), last)
    imported = import_nir(graph, timesteps=2)
    agreement = imported.agreement
    assert 0 < agreement.num_ties < agreement.num_counts
    assert imported.notes[-1].startswith(
        f"ties: {agreement.num_ties} of {agreement.num_counts} pot"
    )


# -------------------------------------------------------------------------------------- the guard


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weight", "b: its potential differs from that of the NIR graph, executed step by step, in step 0:"),
        ("start", "b: its potential differs from that of the NIR graph, executed step by step, in step 0:"),
        ("alignment", "d: its potential differs from that of the NIR graph, executed step by step, in step"),
        ("readout", "output: the converted network has other logits than the NIR graph, executed step by"),
        ("spike", "b: fires in step 0 where the NIR graph, executed step by step, does not, at sample"),
    ],
)  # fmt: skip
def test_a_layer_graph_that_differs_is_refused(monkeypatch, change, message):
    first, last = ends([4], [3])
    graph = chain(
        first, nir.Linear(weights(6, 4)), neurons(6), nir.Linear(weights(3, 6)), neurons(3), last
    )
    right = importer.populations_of

    def wrong(*args):
        read = right(*args)
        thresholds = dict(read.thresholds)
        populations, synapses = list(read.graph.populations), list(read.graph.synapses)
        match change:
            case "weight":
                weight = synapses[0].maps[0].weight.copy()
                weight[-1, -1] *= 1 + 1e-6
                synapses[0] = replace(
                    synapses[0], maps=(replace(synapses[0].maps[0], weight=weight),)
                )
            case "start":
                start = np.full((1, 1, 1), 0.5)
                populations[1] = replace(populations[1], initial_potential=start)
            case "alignment":
                synapses[1] = replace(synapses[1], alignment="average")
            case "readout":
                populations[3] = replace(populations[3], bias=np.full((3, 1, 1), 1e-3))
            case "spike":  # the same potentials in units of a lower threshold
                populations[1] = replace(populations[1], threshold=np.full((1, 1, 1), 0.4))
        graph = type(read.graph).build(populations, synapses)
        return replace(read, graph=graph, thresholds=thresholds)

    monkeypatch.setattr(importer, "populations_of", wrong)
    with pytest.raises(UnsupportedNetworkError, match=re.escape(f"the NIR graph: {message}")):
        import_nir(graph, timesteps=4)


def test_own_samples_are_compared():
    pixels = RNG.integers(0, 256, (40, 4, 1, 1))
    assert import_nir(small(), timesteps=2, samples=pixels).agreement.num_samples == 22
    with pytest.raises(
        DataError, match=re.escape("samples have shape (1, 2, 2), but images of the")
    ):
        import_nir(small(), timesteps=2, samples=pixels.reshape(40, 1, 2, 2))


@pytest.mark.parametrize(
    "seeds", [range(25), pytest.param(range(25, 1500), marks=pytest.mark.exhaustive)]
)
def test_random_graphs_are_read_or_have_no_place_in_one_map(seeds):
    """The guard compares each; a linear chain that no synapse expresses is refused."""
    refused = []
    for seed in seeds:
        try:
            import_nir(random_graph(seed), timesteps=1 + seed % 7)
        except UnsupportedNetworkError as error:
            refused.append((seed, str(error)))
    assert not [(seed, said) for seed, said in refused if "; put neurons " not in said]
    assert len(refused) < 0.05 * len(seeds)


@pytest.fixture(scope="module")
def of_eight_bits():
    """A network whose weights and thresholds integers hold as they are, and its integer network."""
    chance = np.random.default_rng(1)

    def eighths(*size):
        weight = chance.integers(-80, 90, size)
        weight.reshape(len(weight), -1)[:, 0] = 127  # so that no channel is scaled
        return weight / 64

    first, last = ends((2, 6, 6), [5])
    graph = chain(
        first,
        nir.Conv2d(None, eighths(3, 2, 3, 3), 1, 1, 1, 1, np.zeros(3)),
        neurons(3, 6, 6, threshold=4.0, r=1e4),
        nir.Flatten(None, 0, -1),
        nir.Linear(eighths(5, 108)),
        neurons(5, threshold=16.0, r=1e4),
        last,
    )
    imported = import_nir(graph, timesteps=6, max_value=256).graph  # exact in floating point
    return imported, lower_to_integers(imported, WIDTHS)


PIXELS = np.random.default_rng(2).integers(0, 257, (40, 2, 6, 6))


def test_spikes_of_the_integer_network_are_those_of_the_graph(of_eight_bits):
    """v(0) = 0 and equal T survive the compiler."""
    imported, network = of_eight_bits
    trains, spikes = run_stepped(network, PIXELS).trains, own_spikes(imported, PIXELS)
    assert set(trains) == set(spikes)
    for name, train in trains.items():
        assert 0.05 < train.mean() < 0.95
        np.testing.assert_array_equal(train, spikes[name].numpy().astype(bool), name)


def test_what_export_wrote_comes_back(of_eight_bits, tmp_path):
    _, network = of_eight_bits
    nir.write(tmp_path / "network.nir", to_nir(network).graph)
    imported = import_nir(tmp_path / "network.nir")
    assert imported.source == "NIR graph, written by qac-deploy export"
    assert imported.notes[1].startswith("input: pixels in each of 6 steps")
    assert imported.graph.input.max_value == 256
    trains, spikes = run_stepped(network, PIXELS).trains, own_spikes(imported.graph, PIXELS)
    for name, train in trains.items():
        np.testing.assert_array_equal(train, spikes[name].numpy().astype(bool), name)
    again = run_stepped(lower_to_integers(imported.graph, WIDTHS), PIXELS).trains
    for name, train in trains.items():
        np.testing.assert_array_equal(train, again[name], name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": 8}, "says T = 6 in its metadata, not 8; leave timesteps out"),
        (
            {"max_value": 16},
            "says in its metadata that pixels are 0..256, not 0..16; leave max_value out",
        ),
        (
            {"normalization": Normalization(mean=(0.5,), std=(1.0,))},
            "takes pixels as they are; leave the",
        ),
    ],
)
def test_metadata_and_options_that_differ(of_eight_bits, options, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        import_nir(to_nir(of_eight_bits[1]).graph, **options)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("alignment", "average", "aligns spikes by average, which a NIR graph does not compute; compile the"),
        ("initial_potential", np.array([[[7]]]), "the potentials of node"),
        ("timesteps", np.array(3), "its populations run [3, 6] timesteps, which a NIR graph does not"),
        ("timesteps", "six", "metadata.timesteps must be an integer; export the build again"),
        ("bias", np.ones((3, 6, 6)), "the biases of node"),
    ],
)  # fmt: skip
def test_an_export_that_nir_does_not_compute(of_eight_bits, field, value, message):
    graph = to_nir(of_eight_bits[1]).graph
    name = next(n for n, node in graph.nodes.items() if isinstance(node, nir.IF))
    graph.nodes[name].metadata[field] = value
    with pytest.raises((UnsupportedNetworkError, ModelFileError), match=re.escape(message)):
        import_nir(graph)


# -------------------------------------------------------------------------------------- refusals


def leaky(**changes):
    fields = {
        "tau": np.full(3, 0.02),
        "r": np.ones(3),
        "v_leak": np.zeros(3),
        "v_threshold": np.ones(3),
        "v_reset": np.zeros(3),
    }
    return nir.LIF(**{**fields, **changes})


def with_node(node):
    first, last = ends([4], [3])
    return chain(first, nir.Linear(weights(3, 4)), node, last)


REFUSED = {
    "leak": (
        lambda: with_node(leaky()),
        "the NIR graph: node 'b' leaks (tau = 0.02), and a population here keeps its potential; train "
        "without leak: beta = 1 in snnTorch, IFNode in SpikingJelly, IAF in sinabs",
    ),
    "no effect": (
        lambda: with_node(leaky(tau=np.full(3, np.inf))),
        "node 'b' has an infinite tau and r = 1, so that its input has no effect",
    ),
    "filter": (
        lambda: with_node(synaptic(3, tau_syn=2e-3)),
        "node 'b' filters its input (tau_syn = 0.002, with steps of 0.0001)",
    ),
    "reset": (
        lambda: with_node(nir.IF(np.ones(3), np.ones(3), np.full(3, -0.5))),
        "node 'b' is reset to v_reset = -0.5",
    ),
    "threshold": (
        lambda: with_node(nir.IF(np.ones(3), np.zeros(3))),
        "node 'b': v_threshold must be positive, not 0.0",
    ),
    "r differs": (
        lambda: with_node(nir.IF(np.array([1.0, 2, 3]), np.ones(3))),
        "r differs between neurons (1 to 3), and the format has no time step; pass the one that it was "
        "written with, such as dt=0.0001",
    ),
    "LI": (lambda: with_node(nir.LI(np.ones(3), np.ones(3), np.ones(3))), "node 'b': LI is not read: leaky"),
    "I": (lambda: with_node(nir.I(np.ones(3))), "node 'b': I is not read: an integrator keeps"),
    "delay": (lambda: with_node(nir.Delay(np.ones(3))), "node 'b': Delay is not read: spikes arrive"),
    "threshold node": (
        lambda: with_node(nir.Threshold(np.ones(3))),
        "node 'b': Threshold is not read: it has no membrane potential",
    ),
    "NaN": (
        lambda: with_node(nir.IF(np.ones(3), np.array([1, np.nan, 1]))),
        "node 'b': v_threshold holds NaN or infinity",
    ),
    "matrix": (
        lambda: with_node(nir.Linear(weights(2, 3, 3))),
        "node 'b': weight must be an array with 2 axes, not float64 of shape (2, 3, 3)",
    ),
    "no flatten": (
        lambda: chain(*ends([1, 2, 2], [3])[:1], nir.Linear(weights(3, 4)), neurons(3), *ends([4], [3])[1:]),
        "node 'a': the weight is made for values of shape 4, but its sources give 1x2x2; write a Flatten in",
    ),
    "population": (
        lambda: with_node(neurons(2)),
        "node 'b': r * dt is made for values of shape 2, but its sources give 3",
    ),
    "no neurons": (lambda: chain(*ends([4], [4])), "has no neurons (IF, or LIF without leak)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_form_is_refused_by_name(name):
    build, message = REFUSED[name]
    with pytest.raises(
        (UnsupportedNetworkError, ModelFileError, OptionError), match=re.escape(message)
    ):
        import_nir(build(), timesteps=4)


def edited(change):
    graph = small()
    change(graph)
    return graph


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda g: (
                g.nodes.update(w=nir.Linear(weights(3, 3))),
                g.edges.extend([("b", "w"), ("w", "b")]),
            ),
            "the connection b -> w -> b is recurrent, which has no form in a feed-forward network",
        ),
        (lambda g: g.edges.append(("b", "b")), "the connection b -> b is recurrent"),
        (
            lambda g: g.edges.append(("b", "c")),
            "the edge 'b' -> 'c' of the graph names 'c', which is no node",
        ),
        (lambda g: g.edges.append(("a", "b")), "the graph has the edge 'a' -> 'b' twice"),
        (lambda g: g.edges.remove(("a", "b")), "node 'a': no edge leaves it"),
        (lambda g: g.edges.append(("b", "input")), "the edge 'b' -> 'input' ends in the Input"),
        (
            lambda g: g.edges.append(("output", "b")),
            "the edge 'output' -> 'b' starts at the Output",
        ),
        (
            lambda g: g.nodes.update(second=ends([4], [3])[0]),
            "the graph must have exactly one Input, not 2 (input, second)",
        ),
        (lambda g: g.nodes.pop("output"), "the graph must have exactly one Output, not 0"),
        (lambda g: g.edges.append(("a", "output")), None),
        (
            lambda g: g.edges.append(("input", "output")),
            "node 'output': its edges bring values of shapes (3,) and (4,)",
        ),
    ],
)
def test_edges(change, message):
    graph = edited(change)
    if message is None:
        assert import_nir(graph, timesteps=3).graph.readout.bias.any()
        return
    with pytest.raises((UnsupportedNetworkError, ModelFileError), match=re.escape(message)):
        import_nir(graph, timesteps=3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, OptionError, "NIR has no number of timesteps; pass the one that the network was trained with"),
        ({"timesteps": 0}, OptionError, "timesteps must be from 1 to 65,536, not 0"),
        ({"timesteps": 4, "reset": "zero"}, UnsupportedNetworkError, "a reset to zero forgets by how much"),
        ({"timesteps": 4, "reset": "hard"}, OptionError, "reset must be soft or zero, not 'hard'"),
        ({"timesteps": 4, "dt": -1.0}, OptionError, "dt must be a positive number of seconds, not -1"),
        ({"timesteps": 4, "max_value": 0}, OptionError, "max_value must be from 1 to 16,777,216, not 0"),
        ({"timesteps": 4, "input_shape": (1, 28, 28)}, OptionError, "the Input takes 4 values, but input"),
        ({"timesteps": 4, "input_shape": (4,)}, OptionError, "input_shape must be (channels, height, width)"),
    ],
)  # fmt: skip
def test_options(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        import_nir(small(), **options)


def test_memory_of_the_comparison_is_bounded(monkeypatch):
    monkeypatch.setenv("QAC_DEPLOY_LIMIT_BYTES", "10000")
    with pytest.raises(
        UnsupportedNetworkError, match=r"comparing one sample takes [\d,]+ bytes of memory"
    ):
        import_nir(small(), timesteps=100)


def test_other_objects():
    with pytest.raises(TypeError, match=r"import_nir takes a path or a nir.NIRGraph, not Linear"):
        import_nir(torch.nn.Linear(1, 1), timesteps=1)
