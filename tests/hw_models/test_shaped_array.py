"""An array with another unrolling is described as a file of its own."""

from __future__ import annotations

import numpy as np
import pytest
from builders import connect, network_of, spiking

from hw_models.pe_array.array_description import load_array
from hw_models.pe_array.array_kernels import array_kernels
from hw_models.pe_array.design_space import with_wide_ports
from hw_models.pe_array.estimate import estimate_kernels
from hw_models.pe_array.loop_nest import Unrolling
from hw_models.pe_array.modes import snn_schedules
from hw_models.pe_array.shaped_array import with_unrolling
from toolchain.bounded_readers import read_yaml
from toolchain.errors import TargetError
from toolchain.networks.linear_maps import Convolution, Dense


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (8, 1, 3, 3), dtype=np.int8)
    head = rng.integers(-127, 128, (5, 8 * 16), dtype=np.int8)
    return network_of(
        spiking("hidden", (8, 4, 4), timesteps=3, threshold=60_000, initial=30_000),
        connect("input", "hidden", Convolution(weight=weight, padding=(1, 1))),
        connect("hidden", "logits", Dense(weight=head), exponent=2),
        image=(1, 4, 4),
        max_value=255,
        classes=5,
    )


@pytest.mark.parametrize("sizes", [(16, 4, 2, 8), (8, 8, 4, 4), (1, 1, 1, 1024), (2, 2, 16, 16)])
def test_it_gives_what_the_sweep_gives(network, sizes):
    """The sweep has ports for one mode, a description those for all modes: wider ones change nothing."""
    array, unrolling = load_array("pe-array"), Unrolling.of(sizes)
    shaped = with_unrolling(array, unrolling, network)
    assert shaped.unrolling == unrolling
    for mode in snn_schedules(network):
        kernels = array_kernels(network, mode)
        ours = estimate_kernels(kernels, shaped, mode)
        swept = estimate_kernels(kernels, with_wide_ports(array, unrolling, kernels), mode)
        assert ours.total_cycles == swept.total_cycles
        assert ours.energy_pj == swept.energy_pj
        assert ours.port_bytes == swept.port_bytes


def test_its_text_describes_it(network, tmp_path):
    shaped = with_unrolling(load_array("pe-array"), Unrolling.of((8, 8, 4, 4)), network)
    (tmp_path / "own.yaml").write_text(shaped.file.text)
    again = load_array(str(tmp_path / "own.yaml"))
    assert (again.unrolling, again.buffers) == (shaped.unrolling, shaped.buffers)
    assert again.name == "pe-array 8x8x4x4"
    document, _ = read_yaml(tmp_path / "own.yaml")
    figure = document["figures"]["unrolling"]["timesteps"]
    assert figure == {
        "value": 4,
        "kind": "assumed",
        "source": "S of Algorithm 2, chosen with --unrolling",
    }


def test_a_shape_that_its_buffers_cannot_hold_is_refused(network):
    with pytest.raises(TargetError, match=r"size_bytes\.value must be at least"):
        with_unrolling(load_array("pe-array"), Unrolling.of((1, 1, 1024, 1024)), network)
