"""What the tests of NetX files share, with lava-dl and without it."""

from __future__ import annotations

import numpy as np
import torch

from deploy.backends.merged_maps import merged_matrix
from toolchain.datasets import load_dataset
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model


def vgg(timesteps):
    """VGG-9 of an eighth of its width for the digits, with thresholds balanced on some of them."""
    torch.manual_seed(0)
    dataset = load_dataset("digits")
    images = torch.from_numpy(np.asarray(dataset.train_pixels[:64])).float() / dataset.max_value
    module = quantize_activations(
        build_model("vgg-9", dataset.input_shape, 10, 0.125), TimestepQuantizer, max_pool="average"
    )
    for quantizer in quantizers(module).values():
        torch.nn.init.constant_(quantizer.t, timesteps)
    balance_thresholds(module, images)
    return convert(module, dataset.input_shape, dataset.max_value)


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
