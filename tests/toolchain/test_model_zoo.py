"""Sizes of the built-in networks."""

import pytest
import torch

from toolchain.model_zoo import ARCHITECTURES, build_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_width_scales_every_layer_except_the_head(architecture):
    def sizes(width):
        network = build_model(architecture, (3, 32, 32), 10, width)
        return [len(w) for w in network.parameters() if w.dim() > 1]  # weights, not biases

    *quarter, head = sizes(0.25)
    *whole, head_of_whole = sizes(1.0)
    assert head == head_of_whole == 10
    assert quarter == [round(size / 4) for size in whole]


@pytest.mark.parametrize(("size", "inside"), [(8, 8), (16, 16), (17, 9), (28, 14)])
def test_the_stem_of_resnet_8_halves_images_of_more_than_16_pixels(size, inside):
    network = build_model("resnet-8", (1, size, size), 10, 0.25)
    assert network.stem_conv(torch.zeros(1, 1, size, size)).shape == (1, 4, inside, inside)
    assert build_model("resnet-20", (1, size, size), 10).stem_conv.stride == (1, 1)
