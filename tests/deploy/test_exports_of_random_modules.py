"""Random PyTorch modules, converted, lowered and exported: onnxruntime and the C code give our integers."""

from __future__ import annotations

import warnings

import pytest
from random_modules import random_module
from strategies import random_pixels

from deploy.backends.onnx_format.execution import compare_with_network
from deploy.backends.onnx_format.network import to_onnx
from hw_models.target_description import load_target
from toolchain.errors import QacDeployError
from toolchain.importers.torch_module import convert
from toolchain.passes.pipeline import lower_to_integers

WIDTHS = load_target("loihi-sim").widths


def lowered(seed):
    """The integer network of a random module; None if it was refused."""
    module, shape = random_module(seed, own_quantizers=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return lower_to_integers(convert(module, shape, 255), WIDTHS)
        except QacDeployError:
            return None


def exported(seeds):
    """Number of modules whose export was compared."""
    found = 0
    for seed in seeds:
        if (network := lowered(seed)) is not None:
            compare_with_network(to_onnx(network), network, random_pixels(network, seed, 4))
            found += 1
    return found


def test_random_modules_give_the_same_counts_and_logits():
    assert exported(range(3)) >= 1


@pytest.mark.exhaustive
def test_many_random_modules_give_the_same_counts_and_logits():
    assert exported(range(6, 300)) >= 100
