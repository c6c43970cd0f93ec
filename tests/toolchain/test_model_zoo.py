"""Sizes of the built-in networks."""

import pytest

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
