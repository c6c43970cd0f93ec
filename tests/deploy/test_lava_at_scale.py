"""ResNet-20 of full width in Lava, at every buffer depth, and on every Python: its integers and counters."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import residual_network
from strategies import random_pixels

from deploy.backends.lava.emit_bundle import SOURCES, emit_bundle
from deploy.backends.lava.environment import (
    LAVA_NC,
    create_lava_environment,
    find_lava_python,
    python_version,
    pythons_at_hand,
)
from deploy.build.load import load_build
from deploy.check.engines import compare_lava_run, run_build_in_lava
from hw_models.multicore.pipeline.initiation_interval import least_replicas
from hw_models.multicore.pipeline.pipeline import pipeline_of
from hw_models.multicore.pipeline.pipeline_ticks import schedule_pipeline
from hw_models.multicore.pipeline.provisioning import uniform_provisioning
from hw_models.target_description import load_target
from sim.runners.lava import run_lava
from sim.stepped import run_stepped
from toolchain.datasets import load_dataset
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
    assert first_difference(resnet20, provisioning, pixels, find_lava_python(), tmp_path) is None


def first_difference(network, provisioning, pixels, python, folder):
    """Where a network's bundle differs in Lava from the stepped engine and the tick model, or None."""
    schedule = schedule_pipeline(pipeline_of(network, provisioning, 1), len(pixels))
    emit_bundle(network, folder, provisioning=provisioning, link_ticks=1, cores={})
    lava = run_lava(folder, pixels, num_ticks=schedule.num_ticks, python=python, timeout_s=600)
    return compare_lava_run(run_stepped(network, pixels), schedule, lava).first_difference


@pytest.fixture(scope="module", params=LAVA_NC.pythons)
def each_python(request):
    """An interpreter of this version in an environment that is made as `doctor` makes it, and kept."""
    version = request.param
    environment = replace(
        LAVA_NC,
        pythons=(version,),
        folder_name=f"lava-env-{version}",
        folder_variable=f"QAC_DEPLOY_LAVA_ENV_{version.replace('.', '_')}",
    )
    if not any(pythons_at_hand(environment)):
        pytest.skip(f"Python {version} is not at hand: not on the PATH, nor of uv or pyenv")
    python = create_lava_environment(environment)
    assert python_version(python) == version
    return python


def test_trained_digits_are_equal_on_every_python(each_python, compiled):
    build = load_build(compiled[1])
    pixels = load_dataset("digits").test_pixels[:4]
    schedule = schedule_pipeline(build.pipeline, len(pixels))
    lava = run_build_in_lava(build, pixels, num_ticks=schedule.num_ticks, python=each_python)
    reference = run_stepped(build.network, pixels)
    assert compare_lava_run(reference, schedule, lava).first_difference is None


def test_a_residual_network_is_equal_on_every_python(each_python, tmp_path):
    network = residual_network()
    provisioning = uniform_provisioning(network, 4, {"inner.0": 2})
    pixels = random_pixels(network, 0, samples=5)
    assert first_difference(network, provisioning, pixels, each_python, tmp_path) is None


def test_resnet20_is_equal_on_every_python(each_python, resnet20, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 1, 28, 28))
    provisioning = uniform_provisioning(resnet20, 2)
    assert first_difference(resnet20, provisioning, pixels, each_python, tmp_path) is None


def import_processes(python, before=""):
    """Run code, import the bundle's processes, and say whether dataclasses then follow this Python's rule."""
    code = f"""
import dataclasses, sys
sys.dont_write_bytecode = True
sys.path.insert(0, {str(SOURCES)!r})
rule = dataclasses._get_field
{before}
import network, placement
print(dataclasses._get_field is rule)
"""
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60)


def test_after_lava_is_imported_dataclasses_follow_the_rule_of_this_python(each_python):
    imported = import_processes(each_python)
    assert (imported.returncode, imported.stdout) == (0, "True\n"), imported.stderr


def test_only_python_310_imports_lava_without_the_bundles_own_rule(each_python):
    imported = import_processes(each_python, "sys.modules['lava_dataclasses'] = sys")
    if python_version(each_python) == "3.10":
        assert imported.returncode == 0
    else:
        assert imported.returncode == 1
        assert (
            "ValueError: mutable default <class 'lava.magma.compiler.var_model.ByteEncoder'>"
            in (imported.stderr)
        )
