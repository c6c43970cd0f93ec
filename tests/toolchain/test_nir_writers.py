"""NIR files of snnTorch, SpikingJelly and sinabs: our spikes are those of their writers' simulators."""

import nir
import numpy as np
import pytest
import torch
from nir_writers import (
    Convolutional,
    Dense,
    Residual,
    images,
    own_spikes,
    sinabs,
    snntorch,
    spikingjelly,
)

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.nir_format import import_nir

TIMESTEPS = 8
NUM_SAMPLES = 120


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("writer", "kind"),
    [
        (snntorch, Dense),
        (snntorch, Convolutional),
        (spikingjelly, Dense),
        (spikingjelly, Convolutional),
        (spikingjelly, Residual),
        (sinabs, Dense),
        (sinabs, Convolutional),
    ],
    ids=lambda value: value.__name__,
)
def test_spikes_of_a_file_are_those_of_its_writer(writer, kind, tmp_path):
    written = writer(kind)
    if writer is sinabs:
        written.graph.infer_types()  # nir cannot write the shapes that sinabs leaves open
    nir.write(tmp_path / "network.nir", written.graph)
    imported = import_nir(tmp_path / "network.nir", timesteps=TIMESTEPS)
    assert imported.agreement.num_ties == 0
    assert writer.__name__ in f"{imported.source} {imported.notes}".lower()
    graph = imported.graph
    pixels = images(kind.input_shape, NUM_SAMPLES)
    theirs = written.simulate(torch.from_numpy(pixels / 255), TIMESTEPS)
    ours = own_spikes(graph, pixels.reshape(-1, *graph.input.shape))
    assert ours.keys() == theirs.keys()
    for name, spikes in ours.items():
        expected = theirs[name].double()
        assert 0.02 < expected.mean() < 0.98, name
        np.testing.assert_array_equal(spikes.numpy(), expected.reshape(spikes.shape), name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_graph_in_memory_needs_no_shapes():
    written = sinabs(Convolutional)
    assert written.graph.nodes["c1"].input_shape is None
    imported = import_nir(written.graph, timesteps=4)
    assert [p.shape for p in imported.graph.spiking] == [(4, 8, 8), (3, 2, 2), (5, 1, 1)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_addition_that_an_export_lost_is_named():
    graph = sinabs(Residual).graph
    with pytest.raises(UnsupportedNetworkError, match="node 'n2': no edge reaches it; nirtorch"):
        import_nir(graph, timesteps=4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_lost_addition_can_be_put_back():
    written = sinabs(Residual)
    graph = written.graph
    graph.edges = [edge for edge in graph.edges if edge != ("c2", "output")]
    graph.edges += [("n1", "n2"), ("c2", "n2")]
    pixels = images(Residual.input_shape, 20)
    ours = own_spikes(import_nir(graph, timesteps=TIMESTEPS).graph, pixels)
    for name, spikes in written.simulate(torch.from_numpy(pixels / 255), TIMESTEPS).items():
        np.testing.assert_array_equal(ours[name].numpy(), spikes.reshape(ours[name].shape), name)
