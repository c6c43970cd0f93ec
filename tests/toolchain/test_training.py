"""Training on real digits: accuracy, mixed timesteps, and no gap between ANN and SNN."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from toolchain.datasets import load_dataset
from toolchain.errors import DataError, ModelFileError, UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import average_pooled, quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers
from toolchain.model_zoo import build_model
from toolchain.training import TimestepBudget, TrainingPlan, accuracy, ann_logits, train
from toolchain.training.augmentation import shift_and_mirror
from toolchain.training.resume import state_digests


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def mini(dataset):
    torch.manual_seed(0)
    network = build_model("resnet-mini", dataset.input_shape, dataset.num_classes)
    return quantize_activations(network, TimestepQuantizer)


@pytest.fixture(scope="module")
def trained(digits):
    return train(mini(digits), digits, TrainingPlan())


def timesteps(module):
    return [int(q.timesteps.detach()) for q in quantizers(module).values()]


def test_digits_reach_97_percent_with_mixed_timesteps(trained, digits):
    logits = ann_logits(trained, digits.test_pixels, digits.max_value)
    assert accuracy(logits, digits.test_labels) >= 0.97
    assert len(set(timesteps(trained))) >= 2
    assert np.mean(timesteps(trained)) <= 2.5


def test_the_float_snn_is_the_quantized_ann_on_every_test_image(trained, digits):
    graph = convert(trained, digits.input_shape, digits.max_value)
    ann = ann_logits(trained, digits.test_pixels, digits.max_value)
    snn = run_float_snn(graph, digits.test_pixels).logits
    assert np.array_equal(ann.argmax(1), snn.argmax(1))
    assert np.allclose(ann, snn, rtol=0, atol=1e-9)


@pytest.mark.parametrize("budget", [1.0, 1.5, 3.25])
def test_the_timestep_budget_is_met(digits, budget):
    plan = TrainingPlan(budget=TimestepBudget(kind="mean", limit=budget), epochs=15)
    module = train(mini(digits), digits, plan)
    assert np.mean(timesteps(module)) <= budget


def test_the_same_seed_gives_the_same_network(digits):
    plan = TrainingPlan(epochs=1)
    first, second = (train(mini(digits), digits, plan).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_test_samples_are_not_training_samples(digits):
    train_set = {sample.tobytes() for sample in digits.train_pixels}
    assert len(digits.train_pixels) + len(digits.test_pixels) == 1797
    assert not any(sample.tobytes() in train_set for sample in digits.test_pixels)


def test_mnist5k_reads_28x28_pixels_of_256_levels():
    dataset = load_dataset("mnist5k")
    assert dataset.input_shape == (1, 28, 28)
    assert len(dataset.train_pixels) + len(dataset.test_pixels) == 5_000
    assert dataset.train_pixels.max() == dataset.max_value == 255


def test_unknown_names_list_what_there_is(digits):
    with pytest.raises(
        DataError, match="no data set is named 'cifar'; choose one of digits, mnist5k"
    ):
        load_dataset("cifar")
    message = "no architecture is named 'vgg'; choose one of lenet, resnet-mini, vgg-9"
    with pytest.raises(UnsupportedNetworkError, match=message):
        build_model("vgg", digits.input_shape, 10)


def test_an_interval_budget_bounds_every_layer(digits):
    """No firing window above the limit, so no population is the pipeline's bottleneck."""
    budget = TimestepBudget(kind="interval", limit=2, price=0.05)
    module = train(mini(digits), digits, TrainingPlan(budget=budget, epochs=15))
    assert max(timesteps(module)) <= 2


def test_interval_costs_weigh_the_layers(digits):
    """A layer whose timesteps cost twice as much gets half as many."""
    costs = {"join": 2.0}
    budget = TimestepBudget(kind="interval", limit=4, price=0.05, costs=costs)
    module = train(mini(digits), digits, TrainingPlan(budget=budget, epochs=15))
    assert all(
        t * costs.get(name, 1.0) <= 4
        for name, t in zip(quantizers(module), timesteps(module), strict=True)
    )


def test_a_taught_network_is_nearer_to_its_teacher(digits):
    torch.manual_seed(1)
    teacher = average_pooled(build_model("resnet-mini", digits.input_shape, 10))
    train(teacher, digits, TrainingPlan(epochs=6, budget=None))
    expected = ann_logits(teacher, digits.test_pixels, digits.max_value)
    distance = {}
    for share in (0.0, 0.9):
        plan = TrainingPlan(epochs=4, budget=None, distillation=share)
        student = train(mini(digits), digits, plan, teacher=teacher)
        logits = ann_logits(student, digits.test_pixels, digits.max_value)
        distance[share] = ((logits - expected) ** 2).mean()
    assert distance[0.9] < 0.7 * distance[0.0]


def test_an_interrupted_run_resumes_to_the_same_network(digits, tmp_path):
    plan = TrainingPlan(epochs=3, augment=True)
    whole = train(mini(digits), digits, plan)

    class Interrupted(Exception):
        pass

    def stop(report):
        if report.epoch == 2:
            raise Interrupted

    state = tmp_path / "state"
    with pytest.raises(Interrupted):
        train(mini(digits), digits, plan, stop, state_file=state)
    resumed = train(mini(digits), digits, plan, state_file=state, resume=True)
    assert all(
        torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items()
    )


def changing(**fields):
    """Another content under its right digests."""

    def change(path):
        state = {**torch.load(path, weights_only=True), **fields}
        torch.save(state | {"digests": state_digests(state)}, path)

    return change


@pytest.fixture(scope="module")
def training_state(digits, tmp_path_factory):
    state = tmp_path_factory.mktemp("training") / "state"
    train(mini(digits), digits, TrainingPlan(epochs=1), state_file=state)
    return state


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "or truncated; remove"),
        (
            lambda path: torch.save({"format": "other"}, path),
            "not a training state of this version",
        ),
        (changing(run=[]), r"run must be a record with named fields, not \[\]; remove"),
        (changing(epoch="1"), "epoch must be an integer of at least 0, not '1'"),
        (changing(price=None), "price must be a number of at least 0, not None"),
        (changing(seconds=float("nan")), "seconds must be finite, not nan"),
        (changing(module=[]), r"module must be a record with named fields, not \[\]; remove"),
        (changing(module={}), "belongs to another network"),
        (changing(optimizer={}), "belongs to another network"),
        (changing(schedule=3), "schedule must be a record with named fields, not 3; remove"),
        (changing(run={"epochs": torch.ones(2)}), "belongs to a run with another epochs, "),
    ],
)
def test_a_damaged_training_state_is_refused(digits, training_state, tmp_path, damage, message):
    state = tmp_path / "state"
    shutil.copyfile(training_state, state)
    damage(state)
    with pytest.raises(ModelFileError, match=message):
        train(mini(digits), digits, TrainingPlan(epochs=1), state_file=state, resume=True)


def add_to_a_weight(state):
    next(iter(state["module"].values())).add_(1e-6)


@pytest.mark.parametrize(
    ("change", "member"),
    [
        (add_to_a_weight, "module"),
        (lambda state: state["optimizer"]["param_groups"][0].update(lr=0.5), "optimizer"),
        (lambda state: state["schedule"].update(last_epoch=0), "schedule"),
        (lambda state: state.update(epoch=0), "epoch"),
        (lambda state: state["run"].update(seed=7), "run"),
    ],
)
def test_a_member_that_is_not_what_was_saved_is_named(
    digits, training_state, tmp_path, change, member
):
    """The file is changed and saved again, so that the checksums of its members are right."""
    state = torch.load(training_state, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "state")
    with pytest.raises(
        ModelFileError, match=f"damaged: {member} differs from its stored digest; remove"
    ):
        train(
            mini(digits), digits, TrainingPlan(epochs=1), state_file=tmp_path / "state", resume=True
        )


def one_pixel(digits):
    pixels = digits.train_pixels.copy()
    pixels[7, 0, 3, 3] += 1
    return replace(digits, train_pixels=pixels)


def one_label(digits):
    labels = digits.train_labels.copy()
    labels[7] = (labels[7] + 1) % 10
    return replace(digits, train_labels=labels)


@pytest.mark.parametrize("change", [one_pixel, one_label])
def test_a_run_does_not_go_on_with_other_data(digits, tmp_path, change):
    state, plan = tmp_path / "state", TrainingPlan(epochs=1)
    train(mini(digits), digits, plan, state_file=state)
    train(mini(digits), digits, plan, state_file=state, resume=True)
    with pytest.raises(
        ModelFileError, match=r"belongs to a run with another data; use the same, or remove"
    ):
        train(mini(digits), change(digits), plan, state_file=state, resume=True)


def test_a_run_does_not_go_on_with_other_settings(digits, tmp_path):
    state, plan = tmp_path / "state", TrainingPlan(epochs=1)
    train(mini(digits), digits, plan, state_file=state, settings={"float_epochs": 1})
    with pytest.raises(
        ModelFileError, match=r"belongs to a run with another float_epochs; use the same"
    ):
        train(
            mini(digits), digits, plan, state_file=state, resume=True, settings={"float_epochs": 2}
        )


def test_an_objective_of_ones_own_is_minimized_and_told_the_share_of_epochs_that_are_over(digits):
    few = replace(
        digits, train_pixels=digits.train_pixels[:96], train_labels=digits.train_labels[:96]
    )
    shares = []

    def distance_from_3(network, images, labels, progress):
        shares.append(progress)
        logits = network(images)
        return (logits - 3).square().mean(), logits

    network = build_model("resnet-mini", few.input_shape, few.num_classes, 0.25)
    plan = TrainingPlan(epochs=4, batch_size=32)
    reports = []
    train(network, few, plan, reports.append, objective=distance_from_3)
    assert shares == 3 * [0.0] + 3 * [0.25] + 3 * [0.5] + 3 * [0.75]
    assert reports[-1].loss < 0.2 * reports[0].loss


def test_augmentation_shifts_and_mirrors_whole_images():
    torch.manual_seed(0)
    image = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8)
    moved = shift_and_mirror(image.expand(200, 1, 8, 8))
    seen = set()
    padded = torch.nn.functional.pad(image[0, 0], (1, 1, 1, 1))
    allowed = {
        (top, left, flip): window.flip(1) if flip else window
        for top in range(3)
        for left in range(3)
        for flip in (False, True)
        for window in [padded[top : top + 8, left : left + 8]]
    }
    for sample in moved[:, 0]:
        match = [key for key, window in allowed.items() if torch.equal(window, sample)]
        assert len(match) == 1
        seen.add(match[0])
    assert len(seen) == 18
