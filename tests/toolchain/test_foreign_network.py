"""The comparison of a network from another tool with that tool's own execution."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import ForeignNetwork, RuntimeValues
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.foreign.imported_quantizers import imported_quantizer
from toolchain.importers.foreign.input_layout import for_images, image_shape_of, layout_of
from toolchain.importers.foreign.runtime_comparison import compare_with_runtime

STEP, LEVELS = 0.25, 6


def own_network(input_shape=(1, 6, 6), *, rounded=np.rint, quantized="relu", scale=1.0):
    """A network, and a runtime that rounds half to even unless told otherwise, in float32."""
    torch.manual_seed(0)
    size = int(np.prod(input_shape))
    module = nn.Sequential()
    module.add_module("flatten", nn.Flatten())
    module.add_module("hidden", nn.Linear(size, 8))
    module.add_module("relu", imported_quantizer(STEP, LEVELS))
    module.add_module("logits", nn.Linear(8, 3))
    module.double().eval()
    weights = {
        name: value.numpy().astype(np.float32) for name, value in module.state_dict().items()
    }

    def execute(inputs, stimuli=None):
        assert inputs.dtype == np.float32
        rows = inputs.reshape(len(inputs), -1)
        hidden = rows @ weights["hidden.weight"].T + weights["hidden.bias"]
        fired = np.clip(rounded(hidden / STEP), 0, LEVELS) * np.float32(STEP)
        logits = scale * (fired @ weights["logits.weight"].T + weights["logits.bias"])
        return RuntimeValues(logits=logits, quantized={quantized: fired})

    return ForeignNetwork(
        module=module, source="a test", runtime="numpy", execute=execute, input_shape=input_shape
    )


def test_an_equal_network_comes_in_with_its_steps_and_levels():
    imported = import_network(own_network(), (1, 6, 6), 255)
    (population,) = imported.graph.spiking
    assert population.name == "relu"
    assert population.timesteps == LEVELS
    assert population.threshold.item() == STEP * LEVELS
    assert imported.agreement.num_counts == imported.agreement.num_samples * 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rounded": np.floor}, r"^relu: numpy gives \d steps of 0.25 where .* gives \d, at sample and"),
        ({"rounded": lambda x: np.rint(x) + 0.3}, "^relu: numpy gives values that are no multiples of 0.25"),
        ({"rounded": lambda x: x * np.nan}, "^relu: numpy gives values that are no multiples of 0.25"),
        ({"quantized": "other"}, "^relu: numpy does not compute it$"),
        ({"scale": 1.001}, "^the logits differ from those of numpy by "),
    ],
)  # fmt: skip
def test_a_runtime_that_differs_is_reported(changed, message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        import_network(own_network(**changed), (1, 6, 6), 255)


def test_ties_are_counted_and_do_not_reach_later_layers():
    """Half a step is 0 for numpy, which rounds to even, and 1 for us; 1.5 steps are 2 for both."""
    network = own_network((2,))
    with torch.no_grad():
        network.module.hidden.weight.zero_()
        network.module.hidden.bias.copy_(torch.tensor([0.5, 1.5, 2.5, 3.5, 1, 2, 3, 4]) * STEP)
        network.module.logits.weight.fill_(100.0)  # one count more would change a logit by 25
    bias, logits = (
        network.module.get_parameter(name).detach().numpy().astype(np.float32)
        for name in ("hidden.bias", "logits.bias")
    )

    def execute(inputs, stimuli=None):
        fired = np.clip(np.rint(bias / STEP), 0, LEVELS) * np.float32(STEP)
        fired = np.repeat(fired[None], len(inputs), 0)
        return RuntimeValues(
            logits=fired.sum(1, keepdims=True) * np.float32(100) + logits, quantized={"relu": fired}
        )

    agreement = compare_with_runtime(replace(network, execute=execute), torch.zeros(5, 2))
    assert agreement.num_ties == 5 * 2  # 0.5 and 2.5 steps
    assert agreement.num_counts == 5 * 8


def test_a_large_value_hides_no_difference_of_another_neuron():
    """A neuron at a million steps is rounded by 0.06 steps in float32; that is no excuse for the others."""
    network = own_network((2,), rounded=lambda steps: np.rint(steps + 0.02))
    with torch.no_grad():
        network.module.hidden.weight.zero_()
        network.module.hidden.bias.fill_(1.49 * STEP)
        network.module.hidden.bias[0] = 1e6 * STEP
    bias = network.module.hidden.bias.detach().numpy()
    steps = np.clip(np.rint(bias / STEP + 0.02), 0, LEVELS)
    fired = np.repeat((steps * STEP)[None], 2, 0)
    changed = replace(
        network,
        execute=lambda inputs, stimuli=None: RuntimeValues(logits=fired, quantized={"relu": fired}),
    )
    with pytest.raises(UnsupportedNetworkError, match=r"^relu: numpy gives 2 steps of 0.25 where"):
        compare_with_runtime(changed, torch.zeros(2, 2))


def silent_network(*, doubled):
    """No image makes the first quantizer fire, so that nothing shows what its runtime does behind it.

    Args:
        doubled: whether the runtime doubles the weights behind the first quantizer.
    """
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("first", imported_quantizer(STEP, LEVELS))
    module.add_module("hidden", nn.Linear(2, 8))
    module.add_module("second", imported_quantizer(STEP, LEVELS))
    module.double().eval()
    weight, bias = (value.detach().numpy() for value in module.hidden.parameters())

    def execute(inputs, stimuli=None):
        first = np.clip(np.rint(inputs.astype(float) / STEP), 0, LEVELS) * STEP
        read = first if stimuli is None else stimuli["first"]
        second = np.clip(np.rint((read @ weight.T * (1 + doubled) + bias) / STEP), 0, LEVELS) * STEP
        logits = second if stimuli is None else stimuli["second"]
        given = frozenset(stimuli or ())
        quantized = {"first": first, "second": second}
        return RuntimeValues(logits=logits, quantized=quantized, stimulated=given)

    return ForeignNetwork(module=module, source="a test", runtime="numpy", execute=execute)


def test_random_counts_show_what_images_do_not_reach():
    silent = torch.full((5, 2), -1.0)
    assert compare_with_runtime(silent_network(doubled=False), silent).num_counts == 5 * 10
    with pytest.raises(UnsupportedNetworkError, match=r"^second: numpy gives"):
        compare_with_runtime(silent_network(doubled=True), silent)


def test_large_inputs_reach_clips_that_images_do_not():
    """The runtime clips its input at twice the largest pixel."""
    network = own_network()

    def execute(inputs, stimuli=None):
        return network.execute(np.minimum(inputs, 2))

    import_network(replace(network, execute=execute), (1, 6, 6), 255)
    with pytest.raises(UnsupportedNetworkError, match=r"^relu: numpy gives"):
        import_network(replace(network, execute=execute, any_input=True), (1, 6, 6), 255)


@pytest.mark.parametrize(
    ("shape", "image", "layout"),
    [
        ((3, 4, 5), (3, 4, 5), "channels first"),
        ((4, 5, 3), (3, 4, 5), "channels last"),
        ((60,), (3, 4, 5), "flat"),
        ((4, 5), (1, 4, 5), "without channels"),
        ((3, 5), (3, 1, 5), "without height"),
    ],
)
def test_the_layout_of_an_input(shape, image, layout):
    assert layout_of(shape, image) == layout


@pytest.mark.parametrize(
    ("shape", "image"),
    [((28, 28, 3), (3, 28, 28)), ((3, 28, 28), (3, 28, 28)), ((784,), (784, 1, 1)), ((3, 9), (3, 1, 9))],
)  # fmt: skip
def test_the_image_that_a_shape_holds(shape, image):
    assert image_shape_of(shape) == image
    layout_of(shape, image)  # it fits


def test_shapes_that_hold_no_such_image_are_refused():
    with pytest.raises(
        UnsupportedNetworkError, match=r"input of shape \(2, 3, 4, 5\) for each sample"
    ):
        image_shape_of((2, 3, 4, 5))
    with pytest.raises(UnsupportedNetworkError, match=r"but images have shape \(3, 8, 8\)"):
        layout_of((1, 8, 8), (3, 8, 8))


@pytest.mark.parametrize("image", [(2, 3, 4), (1, 4, 6)])
def test_an_image_is_moved_to_where_the_network_reads_it(image):
    """The same pixel reaches the same weight, channels last and flat."""
    channels, height, width = image
    last = own_network((height, width, channels))
    moved = for_images(last, image)
    assert moved.input_shape == image
    assert moved.notes == ("its input holds an image as (height, width, channels)",)
    imported = import_network(moved, image, 255)
    (synapse,) = imported.graph.incoming("relu")
    weight = synapse.maps[-1].weight.reshape(8, *image)
    expected = last.module.hidden.weight.detach().numpy().reshape(8, height, width, channels)
    np.testing.assert_allclose(weight, expected.transpose(0, 3, 1, 2))


def test_the_effect_of_ties_is_said():
    """The runtime's logits follow from its own counts, and ours from ours."""
    network = own_network()
    with torch.no_grad():
        network.module.hidden.weight.zero_()
        network.module.hidden.weight[:, 0] = STEP  # the first pixel, 0 or 1, moves all by one step
        network.module.hidden.bias.fill_(0.5 * STEP)
    weights = {n: v.numpy().astype(np.float32) for n, v in network.module.state_dict().items()}

    def execute(inputs, stimuli=None):
        hidden = (
            inputs.reshape(len(inputs), -1) @ weights["hidden.weight"].T + weights["hidden.bias"]
        )
        fired = np.clip(np.rint(hidden / STEP), 0, LEVELS) * np.float32(STEP)
        logits = fired @ weights["logits.weight"].T + weights["logits.bias"]
        return RuntimeValues(logits=logits, quantized={"relu": fired})

    imported = import_network(replace(network, execute=execute), (1, 6, 6), 1)
    assert imported.agreement.num_ties > 0
    (note,) = imported.notes
    assert re.match(
        r"ties: neurons round half up, numpy half to even\. .* up to [1-9][\d.]*% of", note
    )
