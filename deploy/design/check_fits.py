"""Check that a data set is one that a network can be measured on."""

from __future__ import annotations

from deploy.design.accuracy import OPTION, Accuracy
from toolchain.datasets import Dataset
from toolchain.errors import DataError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import LayerGraph, has_classes


def check_fits(
    graph: LayerGraph | IntegerNetwork, dataset: Dataset, accuracy: Accuracy | None = None
) -> None:
    """Check that a network takes the samples of a data set and, if it chooses a class, has its classes.

    Args:
        accuracy: a user's own; labels may then be anything.

    Raises:
        DataError: shape, range or number of classes differ.
    """
    source, classes = graph.input, graph.readout.shape[0]
    if dataset.input_shape != source.shape:
        raise DataError(
            f"data set '{dataset.name}': samples have shape {dataset.input_shape}, but the network's "
            f"input population '{source.name}' takes {source.shape}; choose the data set it was "
            f"trained on with --data"
        )
    if dataset.max_value != source.max_value:
        raise DataError(
            f"data set '{dataset.name}': pixels are 0..{dataset.max_value}, but the network's input "
            f"population '{source.name}' takes 0..{source.max_value}; choose the data set it was "
            f"trained on with --data"
        )
    if accuracy is not None or not has_classes(graph.readout):
        return
    if dataset.test_labels.ndim != 1:
        raise DataError(
            f"data set '{dataset.name}': a label has shape {dataset.test_labels.shape[1:]}, but the network "
            f"chooses one class per sample; define its accuracy with {OPTION}, or choose the data set it was "
            f"trained on with --data"
        )
    if classes != dataset.num_classes:
        raise DataError(
            f"the network has {classes} classes, but data set '{dataset.name}' has "
            f"{dataset.num_classes}; choose the data set it was trained on with --data"
        )
