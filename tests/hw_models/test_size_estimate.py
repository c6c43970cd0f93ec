"""Networks that are far too large are refused from their shapes alone, with a remedy that works."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from builders import float_connect, float_network_of, float_spiking
from small_targets import small_target, write_target

import hw_models.multicore.mapping.size_estimate as size_estimate
from deploy.compile.compile_model import compile_model
from deploy.design.compilation import CompileOptions
from hw_models.multicore.mapping.mapping import map_network
from hw_models.multicore.mapping.size_estimate import check_size
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from toolchain.errors import MappingError, OptionError
from toolchain.files.checkpoint import Checkpoint, load_structure, save_checkpoint
from toolchain.networks.linear_maps import AveragePool, Convolution, Dense, Scale
from toolchain.passes import lower_to_integers

FEW_CORES = {"mesh": {"width": 1, "height": 1, "cores_per_tile": 2}, "chips": {"count": 1}}


@pytest.fixture(autouse=True)
def _every_network_has_many_weights(monkeypatch):
    monkeypatch.setattr(size_estimate, "MANY_WEIGHTS", 0)


def residual_graph(seed, channels=4):
    """A convolution, a residual join and a dense readout behind a pool; some channels are zero."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        drawn = rng.normal(size=shape)
        drawn[rng.integers(4, size=shape[0]) == 0] = 0
        return drawn

    shape = (channels, 8, 8)
    return float_network_of(
        float_spiking("stem", shape, 2),
        float_spiking("join", shape, 3),
        float_connect(
            "input", "stem", Convolution(weight=weight(channels, 1, 3, 3), padding=(1, 1))
        ),
        float_connect(
            "stem", "join", Convolution(weight=weight(channels, channels, 3, 3), padding=(1, 1))
        ),
        float_connect("input", "join", Convolution(weight=weight(channels, 1, 1, 1))),
        float_connect(
            "join",
            "logits",
            AveragePool(kernel=(2, 2), stride=(2, 2)),
            Scale(weight=weight(channels)),
            Dense(weight=weight(5, channels * 16)),
        ),
        image=(1, 8, 8),
        max_value=15,
        classes=5,
    )


def refused(graph, target, slots=2):
    with pytest.raises(MappingError) as refusal:
        check_size(graph, target, slots)
    return str(refusal.value)


@pytest.mark.parametrize("seed", range(4))
def test_the_estimate_is_not_above_the_exact_number_and_the_chips_it_names_are_enough(seed):
    target = small_target(core={"compartments": 60, "synapse_words": 60}, **FEW_CORES)
    graph = residual_graph(seed)
    message = refused(graph, target)
    least, chips = re.search(r"needs at least (\d+) cores.* use (\d+) chips", message).groups()
    network = lower_to_integers(graph, target.widths)
    mapping = map_network(
        network, replace(target, num_chips=int(chips)), uniform_provisioning(network, 2)
    )
    assert 2 < int(least) <= len(mapping.cores) <= 2 * int(chips)
    check_size(graph, replace(target, num_chips=int(chips)), 2)


def test_one_slot_is_named_where_it_is_enough():
    three = FEW_CORES | {"mesh": {"width": 1, "height": 1, "cores_per_tile": 3}}
    target = small_target(core={"compartments": 1000}, **three)
    graph = residual_graph(0, channels=5)
    assert refused(graph, target).endswith(
        "with one slot in every buffer (--slots 1) it needs 3 and fits"
    )
    check_size(graph, target, 1)


def test_compile_refuses_before_it_reads_the_weights(tmp_path, monkeypatch):
    model = tmp_path / "model.pt"
    save_checkpoint(model, Checkpoint(residual_graph(1), {}))
    write_target(tmp_path / "small.yaml", core={"compartments": 60}, **FEW_CORES)
    options = CompileOptions(target=str(tmp_path / "small.yaml"))
    stages = []
    with pytest.raises(MappingError, match=r"needs at least \d+ cores"):
        compile_model(model, tmp_path / "build", options, stages.append)
    assert stages == ["estimating the size"]
    assert not (tmp_path / "build").exists()


def test_a_run_of_too_many_samples_is_refused_with_the_most_that_can_be_shown(
    tmp_path, monkeypatch
):
    model = tmp_path / "model.pt"
    save_checkpoint(model, Checkpoint(residual_graph(1), {}))
    monkeypatch.setattr("deploy.compile.compile_model.MOST_WINDOWS", 39_999)
    message = (
        "--samples 10,000: 40,000 firing windows of 4 populations are more than the 39,999 "
        "that a report shows; use at most 9,999 samples: steady figures do not depend on them"
    )
    options = CompileOptions(samples=10_000)
    with pytest.raises(OptionError, match=message):
        compile_model(model, tmp_path / "build", options)


def test_a_file_that_is_no_model_has_no_structure(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 nothing")
    assert load_structure(tmp_path / "model.pt") is None
