"""ResNet-20 of full width in Lava: its integers and its own counters, at every buffer depth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deploy.backends.lava.emit_bundle import emit_bundle
from deploy.backends.lava.environment import find_lava_python
from hw_models.multicore.pipeline.initiation_interval import least_replicas
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from sim.results import first_divergence
from sim.runners.lava import run_lava
from sim.stepped import run_stepped
from toolchain.importers.torch_module import convert
from toolchain.method.quantize_activations import balance_thresholds, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer
from toolchain.model_zoo import build_model
from toolchain.passes import lower_to_integers

pytestmark = [pytest.mark.slow, pytest.mark.lava]


@pytest.fixture(scope="module")
def resnet20():
    """Random weights, T_l of 1 to 4 in turn."""
    torch.manual_seed(0)
    module = quantize_activations(build_model("resnet-20", (1, 28, 28), 10), TimestepQuantizer)
    balance_thresholds(module, torch.rand(4, 1, 28, 28))
    for index, quantizer in enumerate(m for m in module.modules() if hasattr(m, "t")):
        quantizer.t.data.fill_(1 + index % 4)
    return lower_to_integers(convert(module, (1, 28, 28), 255), load_target("loihi-sim").widths)


@pytest.mark.parametrize(
    ("slots", "ticks"), [(1, 4), (2, 4), (3, 4), pytest.param(2, 2, id="replicas for 2 ticks")]
)
def test_tick_model_equals_lavas_own_counters(resnet20, slots, ticks, tmp_path):
    alone = pipeline_of(resnet20, uniform_provisioning(resnet20, slots), 1)
    replicas = least_replicas(alone, ticks)  # none for the longest window, 4 ticks
    provisioning = uniform_provisioning(resnet20, slots, replicas)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28))
    schedule = schedule_pipeline(pipeline_of(resnet20, provisioning, 1), len(pixels))
    emit_bundle(resnet20, tmp_path, provisioning=provisioning, link_ticks=1, cores={})
    lava = run_lava(
        tmp_path, pixels, num_ticks=schedule.num_ticks, python=find_lava_python(), timeout_s=600
    )
    assert first_divergence(run_stepped(resnet20, pixels), lava.simulation) is None
    for name, ticks in schedule.step_ticks.items():
        assert np.array_equal(lava.step_ticks[name], ticks)
    assert {stage: schedule.activity_ticks(stage) for stage in schedule.spans} == lava.stalls
