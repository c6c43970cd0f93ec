"""Directly trained spiking networks: neurons, joins and losses against their equations, and their table."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import log, sqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.reproduce import whole_paper
from deploy.reproduce.direct_training import METHODS, small_study, spiking_network, table6
from deploy.reproduce.spiking_networks import (
    SpikingBlock,
    SpikingForm,
    SpikingResNet,
    gated_lif,
    integrate_and_fire,
    lif,
    parallel_spiking,
    recorded_potentials,
)
from deploy.reproduce.spiking_objectives import regularized_potentials, rmp_loss, tet_loss
from deploy.reproduce.study import Study
from toolchain.datasets import load_dataset
from toolchain.errors import MissingPackageError
from toolchain.model_zoo import build_model

BEFORE = SpikingForm(neuron=lif, norm="tdBN", join="before")
AFTER = SpikingForm(neuron=integrate_and_fire, norm="BN", join="after")


@pytest.fixture
def study(tmp_path):
    return Study(
        architecture="resnet-8",
        width=0.5,
        dataset=load_dataset("digits"),
        folder=tmp_path / "networks",
        epochs=1,
        further_epochs=2,
        batch_size=32,
    )


@pytest.fixture
def images(study):
    return torch.from_numpy(study.dataset.test_pixels[:8]).float() / study.dataset.max_value


def firing(network, images):
    """The network in evaluation mode with the statistics of these images, with which its neurons fire."""
    for norm in (m for m in network.modules() if hasattr(m, "running_var")):
        norm.momentum = 1.0
    network.train()(images)
    return network.eval()


def over_time(*values):
    """Currents of one neuron, ``(T, B, C, H, W)``."""
    return torch.tensor(values).view(-1, 1, 1, 1, 1)


def test_lif_neurons_forget_three_quarters_and_start_again_at_0_after_a_spike():
    """u = 0.4, 0.1 + 0.45, 0 + 0.45, 0.1125 + 0.45; the threshold is 0.5."""
    assert lif(1, 4)(over_time(0.4, 0.45, 0.45, 0.45)).flatten().tolist() == [0, 1, 0, 1]


def test_if_neurons_sum_up_and_start_again_at_0_after_a_spike():
    """u = 0.7, 1.4, 0.7, 1.4; with a reset by subtraction the third would be 1.1."""
    currents = over_time(0.7, 0.7, 0.7, 0.7)
    assert integrate_and_fire(1, 4)(currents).flatten().tolist() == [0, 1, 0, 1]


def lif_step(node, step, current, potential, spikes):
    return 0.25 * potential * (1 - spikes) + current, 0.5


def if_step(node, step, current, potential, spikes):
    return potential * (1 - spikes) + current, 1.0


def gated_step(node, step, current, potential, spikes):
    """The gated neuron of Yao et al. (2022); every parameter is behind a sigmoid."""

    def channels(parameter):
        return parameter.sigmoid().view(-1, 1, 1)

    alpha, beta, gamma = (channels(gate) for gate in (node.alpha, node.beta, node.gamma))
    remaining = (1 - alpha * (1 - channels(node.tau))) * potential
    leaked = remaining - (1 - alpha) * channels(node.linear_decay)
    reset = spikes * (gamma * remaining + (1 - gamma) * channels(node.v_subreset))
    integrated = (1 - beta * (1 - channels(node.conduct[step]))) * current
    return leaked - reset + integrated, channels(node.v_threshold)


@pytest.mark.parametrize(
    ("neuron", "step"), [(lif, lif_step), (integrate_and_fire, if_step), (gated_lif, gated_step)]
)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), timesteps=st.integers(1, 6))
def test_neurons_of_a_sequence_are_a_loop_over_its_steps(neuron, step, seed, timesteps):
    torch.manual_seed(seed)
    node = neuron(3, timesteps).double()
    for parameter in node.parameters():
        parameter.data += torch.randn_like(parameter)
    currents = torch.randn(timesteps, 2, 3, 2, 2, dtype=torch.float64)
    found = node(currents)
    potential = spikes = torch.zeros_like(currents[0])
    for t, current in enumerate(currents):
        potential, threshold = step(node, t, current, potential, spikes)
        spikes = (potential >= threshold).double()
        assert torch.equal(found[t], spikes)


def test_parallel_neurons_weigh_all_steps_at_once():
    node = parallel_spiking(1, 2)
    node.weight.data = torch.tensor([[1.0, 0.0], [2.0, -1.0]])
    node.bias.data = torch.tensor([[-0.5], [-0.5]])
    assert node(over_time(0.6, 0.8)).flatten().tolist() == [1, 0]  # 0.6 and 1.2 - 0.8
    assert node(over_time(0.4, 0.2)).flatten().tolist() == [0, 1]  # 0.4 and 0.8 - 0.2


def test_potentials_are_those_that_the_neurons_compare():
    torch.manual_seed(0)
    node, currents = lif(2, 5), torch.randn(5, 3, 2, 4, 4)
    with recorded_potentials(node) as layers:
        spikes = node(currents)
    ((potentials, recorded),) = layers
    assert recorded is spikes
    assert torch.equal((potentials >= 0.5).float(), spikes)
    assert torch.equal(potentials[0], currents[0])
    node(currents)
    assert len(layers) == 1


def test_gates_come_from_the_seed_of_torch():
    def gates():
        torch.manual_seed(7)
        return torch.cat([*gated_lif(4, 2).parameters()][:3])

    assert torch.equal(gates(), gates())
    assert len(gates().unique()) == 12


@pytest.mark.parametrize(("form", "expected"), [(BEFORE, [0, 1, 1]), (AFTER, [0, 1, 2])])
def test_a_block_without_weights_passes_on_counts_only_if_it_joins_after_the_neuron(form, expected):
    """Identity mapping (Fang et al., 2021)."""
    block = SpikingBlock(form, 3, 3, 1).eval()
    for parameter in block.parameters():
        parameter.data.zero_()
    counts = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 3, 1, 1)
    assert block(counts).flatten().tolist() == expected


@pytest.mark.parametrize("summands", [1, 2])
def test_tdbn_starts_at_alpha_times_the_threshold(summands):
    torch.manual_seed(0)
    currents = BEFORE.synapse(2, 3, 3, summands=summands)(torch.randn(4, 16, 2, 8, 8))
    deviation = currents.std(dim=(0, 1, 3, 4))
    assert deviation.tolist() == pytest.approx([0.5 / sqrt(summands)] * 3, rel=0.01)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_network_returns_the_mean_of_its_steps_and_keeps_nothing(study, images, method):
    network = firing(spiking_network(study, method), images)
    steps = network(images, by_step=True)
    assert steps.shape == (4, 8, 10)
    assert torch.equal(network(images), steps.mean(0))
    assert len(steps.flatten(1).unique(dim=0)) == 4


@pytest.mark.parametrize("form", [BEFORE, AFTER])
def test_the_first_step_does_not_depend_on_the_number_of_steps(study, images, form):
    four, one = (
        spiking_network(study, replace(METHODS[0], form=replace(form, timesteps=timesteps)))
        for timesteps in (4, 1)
    )
    first, second, *_ = firing(four, images)(images, by_step=True)
    one.load_state_dict(four.state_dict())
    assert torch.allclose(one.eval()(images), first, atol=1e-6)
    assert not torch.allclose(second, first, atol=1e-3)


def test_the_stem_of_large_images_pools_as_that_of_the_ann():
    ann, seen = build_model("resnet-8", (3, 65, 65), 10, 0.25), []
    network = SpikingResNet(ann, BEFORE).eval()
    network.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].shape))
    assert network(torch.zeros(1, 3, 65, 65)).shape == (1, 10)
    assert seen == [(4, 1, 4, 17, 17)]


def test_tet_is_the_mean_cross_entropy_of_the_steps_and_the_distance_from_1():
    logits = torch.tensor([[[log(3), 0.0]], [[0.0, 0.0]]])  # shares of class 0: 3/4 and 1/2
    entropy, distance = (log(4 / 3) + log(2)) / 2, ((log(3) - 1) ** 2 + 3) / 4
    expected = 0.999 * entropy + 0.001 * distance
    assert float(tet_loss(logits, torch.tensor([0]))) == pytest.approx(expected)


def test_rmp_is_the_mean_distance_of_potentials_from_their_spikes():
    potentials = torch.tensor([0.2, 0.7, 1.5], requires_grad=True)
    spikes = torch.tensor([0.0, 1.0, 1.0], requires_grad=True)
    further = (torch.tensor([-0.4]), torch.tensor([0.0]))
    loss = rmp_loss([(potentials, spikes), further])
    assert loss.item() == pytest.approx((0.2 + 0.3 + 0.5 + 0.4) / 4)
    loss.backward()
    assert potentials.grad.tolist() == [0.25, -0.25, 0.25]
    assert spikes.grad is None


def test_the_weight_of_rmp_rises_from_0_over_the_epochs(study, images):
    network = spiking_network(study, METHODS[0])
    labels = torch.from_numpy(study.dataset.test_labels[:8])
    losses = []
    for progress in (0.0, 0.5, 1.0):
        loss, logits = regularized_potentials(network, images, labels, progress)
        losses.append(loss.item())
    assert losses[0] == pytest.approx(F.cross_entropy(logits, labels).item())
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], abs=1e-5)
    with recorded_potentials(network) as layers:
        network(images)
    assert len(layers) == 7  # stem and two per block
    assert losses[2] - losses[0] == pytest.approx(0.1 * rmp_loss(layers).item(), abs=1e-5)


def test_without_spikingjelly_the_message_names_the_extra_before_anything_is_trained(
    study, monkeypatch
):
    monkeypatch.setitem(sys.modules, "spikingjelly", None)
    with pytest.raises(MissingPackageError) as raised:
        table6(study, 10)
    assert str(raised.value) == (
        "the package spikingjelly is not installed; run `pip install 'qac-deploy[benchmark]'`"
    )
    assert not list(study.folder.glob("*"))


def test_the_estimate_counts_what_table_6_trains_beside_the_study(study, monkeypatch):
    """Each timed step takes a second; there are 1,257 images, 32 per step, and 1 and 2 epochs."""
    monkeypatch.setattr(whole_paper, "_seconds", lambda step: step() or 1.0)
    steps = 1257 / 32
    assert whole_paper.direct_training_seconds(study) == pytest.approx(6 * 3 * steps)
    wide = replace(study, width=1.0)
    assert small_study(wide).name == study.name
    beside = 1 + 2 + 2 * 2  # float, float-continued, and QAC with its teacher
    assert whole_paper.direct_training_seconds(wide) == pytest.approx((18 + beside) * steps)
    monkeypatch.setattr(Study, "trained_epochs", lambda study, kind: 3)
    assert whole_paper.direct_training_seconds(wide) == 0


@pytest.mark.slow
def test_every_method_learns_digits_and_is_trained_once(study):
    study = replace(study, architecture="resnet-20")
    result = table6(study, 540)
    rows = {(row[0], row[1]): dict(zip(result.columns, row, strict=True)) for row in result.rows}
    assert list(rows) == [
        ("tdBN", "resnet-8:0.5"),
        ("TET", "resnet-8:0.5"),
        ("RMP-Loss", "resnet-8:0.5"),
        ("GLIF", "resnet-8:0.5"),
        ("SEW ResNet", "SEW resnet-8:0.5"),
        ("PSN", "SEW resnet-8:0.5"),
        ("QAC at this size", "resnet-8:0.5"),
        ("QAC", "resnet-20:0.5"),
    ]
    for row in rows.values():
        assert row["ours %"] > 0.6, row
        assert row["T"] == 4 or row["method"].startswith("QAC")
    glif = rows["GLIF", "resnet-8:0.5"]
    assert (glif["paper's network and T"], glif["paper CIFAR-10 %"]) == ("ResNet-19, T = 4", 0.9467)
    ours = rows["QAC", "resnet-20:0.5"]
    assert (ours["paper's network and T"], ours["paper CIFAR-10 %"]) == (
        *("ResNet-20, T = 3.74", 0.9113),
    )
    assert rows["SEW ResNet", "SEW resnet-8:0.5"]["paper CIFAR-10 %"] is None
    reported = []
    again = table6(replace(study, on_epoch=lambda name, report: reported.append(name)), 540)
    assert again.rows == result.rows
    assert reported == []
