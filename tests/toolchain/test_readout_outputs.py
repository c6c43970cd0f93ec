"""Networks with several outputs: their channels, their files and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from builders import WIDTHS, float_connect, float_network_of, float_spiking

from toolchain.errors import UnsupportedNetworkError
from toolchain.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolchain.networks.integer_network.serialize import (
    load_integer_network,
    save_integer_network,
)
from toolchain.networks.layer_graph import (
    LayerGraph,
    ReadoutOutput,
    ReadoutPopulation,
    split_outputs,
    verify_layer_graph,
)
from toolchain.networks.linear_maps import Convolution, Scale
from toolchain.passes import lower_to_integers

MASK = ReadoutOutput(name="mask", start=0, stop=2, height=4, width=4)
BOXES = ReadoutOutput(name="boxes", start=2, stop=3, height=2, width=1)


def two_outputs(*outputs):
    """A mask of two channels of 4x4 and boxes of one channel of 2x1, on 3x4x4 logits."""
    shape = (3, 4, 4)
    readout = ReadoutPopulation(
        name="out", shape=shape, bias=np.zeros((3, 1, 1)), outputs=outputs or (MASK, BOXES)
    )
    graph = float_network_of(
        float_spiking("hidden", (1, 4, 4), 2),
        float_connect("input", "hidden", Scale(weight=np.ones(1))),
        float_connect("hidden", "readout", Convolution(weight=np.ones((1, 1, 1, 1)))),
        image=(1, 4, 4),
        readout="readout",
    )
    conv = Convolution(weight=np.arange(1.0, 4).reshape(3, 1, 1, 1))
    return LayerGraph.build(
        [p for p in graph.populations if p.kind != "readout"] + [readout],
        [graph.synapses[0], float_connect("hidden", "out", conv)],
    )


def test_each_output_is_a_view_of_its_channels_and_size():
    logits = np.arange(2 * 48).reshape(2, 48)
    parts = split_outputs(two_outputs().readout, logits)
    assert {name: part.shape for name, part in parts.items()} == {
        "mask": (2, 2, 4, 4),
        "boxes": (2, 1, 2, 1),
    }
    np.testing.assert_array_equal(parts["boxes"][1].ravel(), [48 + 32, 48 + 36])
    alone = replace(two_outputs().readout, outputs=())
    np.testing.assert_array_equal(split_outputs(alone, logits)["out"].reshape(2, 48), logits)


def test_the_outputs_pass_through_files_lowering_and_text(tmp_path):
    graph = verify_layer_graph(two_outputs())
    assert "output mask 0:2 4x4\n  output boxes 2:3 2x1" in str(graph)
    save_checkpoint(tmp_path / "model.pt", Checkpoint(graph, {}))
    graph = load_checkpoint(tmp_path / "model.pt").graph
    assert graph.readout.outputs == (MASK, BOXES)
    network = lower_to_integers(graph, WIDTHS)
    assert network.readout.outputs == (MASK, BOXES)
    save_integer_network(network, tmp_path)
    assert load_integer_network(tmp_path).readout.outputs == (MASK, BOXES)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((MASK, replace(BOXES, name="mask")), "each output must have its own name"),
        ((MASK, replace(BOXES, start=1)), "start at channel 2, where the output before it stops"),
        ((MASK, replace(BOXES, stop=2)), "must have at least one channel"),
        ((MASK, replace(BOXES, stop=4)), "the outputs have 4 channels, but the readout has 3"),
        ((MASK,), "the outputs have 2 channels, but the readout has 3"),
        ((MASK, replace(BOXES, height=5)), "output boxes of 5x1 does not fit the readout's maps"),
    ],
)
def test_outputs_that_do_not_share_the_readout_are_refused(outputs, message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        verify_layer_graph(two_outputs(*outputs))
