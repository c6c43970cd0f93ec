"""A user's network is quantized and converted correctly, or refused; never wrongly."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from guarded_networks import PIXELS, SHAPE, Net, aliased, equal_or_refused, float_logits, statement
from torch import nn
from torch.nn.utils import parametrize, prune

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.float_snn import run_float_snn
from toolchain.method.quantize_activations import quantize_activations
from toolchain.method.quantizers import TimestepQuantizer, quantizers

RIGHT = {
    "in place": lambda y, x: y.add_(x),
    "in place, as a statement": statement(lambda y, x: y.add_(x)),
    "in place, by another name": lambda y, x: (z := y, y.add_(x), z)[2],
    "into the source": lambda y, x: (x.add_(y), x)[1],
    "alpha": lambda y, x: torch.add(y, x, alpha=0.25),
    "negative alpha": lambda y, x: torch.add(y, x, alpha=-1),
    "alpha of a method": lambda y, x: y.add(x, alpha=2),
    "alpha in place": statement(lambda y, x: y.add_(x, alpha=0.5)),
    "other": lambda y, x: torch.add(y, other=x),
    "other, with alpha": lambda y, x: y.add(other=x, alpha=3),
    "dropout off": lambda y, x: F.dropout(y + x, 0.5, training=False),
    "dropout off by position": lambda y, x: F.dropout(y + x, 0.5, False),
    "pool by keyword": lambda y, x: (
        F.interpolate(y + x, scale_factor=1)
        if False
        else F.avg_pool2d(y + x, kernel_size=3, stride=1, padding=1)
    ),
    "to a detached alias": statement(lambda y, x: y.detach().add_(x)),
    "to a view": statement(lambda y, x: y.view(-1).add_(x.view(-1))),
    "to a slice": statement(lambda y, x: y[:, 0].add_(x[:, 0])),
    "by assignment to a slice": statement(lambda y, x: y.__setitem__(slice(None), x)),
    "into an output": lambda y, x: torch.add(y, x, out=torch.empty_like(y)),
    "of a number": statement(lambda y, x: y.add_(1.0)),
    "multiplied in place": statement(lambda y, x: y.mul_(0.5)),
    "relu as a statement": statement(lambda y, x: F.relu_(y)),
    "relu by keyword": statement(lambda y, x: F.relu(y, inplace=True)),
    "relu as a statement, of what is read before and after": lambda y, x: (
        (
            x + y,
            F.relu_(y),
        )[0]
        - y
    ),
    "divisor": lambda y, x: F.avg_pool2d(y + x, 3, 1, 1, divisor_override=2),
    "pool without its padding": lambda y, x: F.avg_pool2d(y + x, 3, 1, 1, count_include_pad=False),
    "pool of a keyword input": lambda y, x: F.avg_pool2d(input=y + x, kernel_size=1),
    "flip": lambda y, x: torch.flip(y, (2,)) + x,
    "mean over channels": lambda y, x: y + x.mean(1, keepdim=True),
}


@pytest.mark.parametrize("name", RIGHT)
def test_joins_as_people_write_them_are_converted(name):
    torch.manual_seed(0)
    assert equal_or_refused(Net(RIGHT[name])) is None


REFUSED = {
    "in place by +=, by another name": aliased,
    "to its data": statement(lambda y, x: y.data.add_(x)),
    "zeroed": statement(lambda y, x: y.zero_()),
    "dropout always on": lambda y, x: F.dropout(y + x, 0.5),
    "noise": lambda y, x: y + x + torch.rand(y.shape if isinstance(y, torch.Tensor) else 1),
    "of other samples": lambda y, x: y + x.roll(1, 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_joins_that_are_no_residual_join_are_refused(name):
    torch.manual_seed(0)
    assert equal_or_refused(Net(REFUSED[name])) is not None


def place(function, offset):
    """File and line of a function, as messages name them."""
    path = Path(inspect.getsourcefile(function))
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{inspect.getsourcelines(function)[1] + offset}"


class TrainingBranch(Net):
    def __init__(self):
        super().__init__()
        self.aux = nn.Linear(256, 5)

    def forward(self, x):
        x = F.relu(self.a(x)).flatten(1)
        return self.aux(x) if self.training else self.f(x)


def test_a_branch_on_training_is_refused_before_it_is_trained():
    with pytest.raises(UnsupportedNetworkError) as refusal:
        quantize_activations(TrainingBranch(), TimestepQuantizer)
    assert str(refusal.value) == (
        "TrainingBranch computes something else in training than in evaluation, from 'f "
        f"({place(TrainingBranch.forward, 2)})' on; remove the branch on self.training from its forward "
        "(nn.Dropout and batch norm are allowed)"
    )


def test_a_branch_on_training_of_a_quantized_network_is_converted_as_in_evaluation():
    torch.manual_seed(0)

    class Branching(TrainingBranch):
        def __init__(self):
            super().__init__()
            self.q = TimestepQuantizer()

        def forward(self, x):
            x = self.q(self.a(x)).flatten(1)
            return self.aux(x) if self.training else self.f(x)

    network = Branching().train()
    graph = convert(network, SHAPE, 16)
    assert network.training
    assert np.allclose(run_float_snn(graph, PIXELS).logits, float_logits(network), atol=1e-9)


def test_functional_dropout_drops_in_training_alone():
    class Dropping(Net):
        def forward(self, x):
            x = F.dropout2d(F.relu(self.a(x)), 0.9, self.training)
            return self.f(F.dropout(x.flatten(1), p=0.9, training=self.training))

    torch.manual_seed(0)
    network = Dropping()
    assert equal_or_refused(network) is None
    module = quantize_activations(network, lambda: TimestepQuantizer(threshold=0.1))
    x = torch.rand(1, *SHAPE)
    assert module.training
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


class Sloped(nn.Module):
    def forward(self, weight):
        return weight * 2


def hooked(network):
    network.c.register_forward_hook(lambda module, inputs, output: output * 3)


def pre_hooked(network):
    network.c.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 3,))


def hooked_whole(network):
    network.register_forward_hook(lambda module, inputs, output: output * 3)


def patched(network):
    convolution = network.c.forward
    network.c.forward = lambda x: convolution(x) * 2


def subclassed(network):
    class Doubling(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    Doubling.__module__ = "torch.nn.modules.conv"  # a leaf of tracing
    network.c.__class__ = Doubling


def wrong_batch_norm(network):
    """Normalizes by the batch in evaluation, too: samples depend on each other."""
    network.join = nn.BatchNorm2d(4, track_running_stats=False)
    network.forward = lambda x: network.f(F.relu(network.join(network.a(x))).flatten(1))


@pytest.mark.parametrize(
    "change", [hooked, pre_hooked, hooked_whole, patched, subclassed, wrong_batch_norm]
)
def test_what_a_trace_does_not_show_is_converted_or_refused(change):
    """An exported program has hooks and the code of leaves; other changes are refused before it is made."""
    torch.manual_seed(0)
    network = Net()
    change(network)
    refusal = equal_or_refused(network)
    assert (refusal is None) == (change in (hooked, pre_hooked, subclassed))


def test_parametrized_and_shared_weights_are_converted():
    torch.manual_seed(0)
    network = Net()
    parametrize.register_parametrization(network.c, "weight", Sloped())
    assert equal_or_refused(network) is None
    network = Net()
    network.c.weight = network.b.weight
    assert equal_or_refused(network) is None


def test_a_pruned_network_is_refused_until_it_is_made_permanent():
    network = Net()
    prune.random_unstructured(network.c, "weight", 0.5)
    refusal = equal_or_refused(network)
    assert refusal == (
        "c: 'weight' is pruned by a hook; make it permanent with prune.remove(module, 'weight')"
    )
    prune.remove(network.c, "weight")
    assert equal_or_refused(network) is None


def test_a_quantized_network_can_be_written_whatever_it_was_made_of():
    class Local(Net):
        pass

    torch.manual_seed(0)
    module = quantize_activations(Local(), TimestepQuantizer)
    again = pickle.loads(pickle.dumps(module))
    pairs = zip(
        convert(module, SHAPE, 16).synapses, convert(again, SHAPE, 16).synapses, strict=True
    )
    assert all(str(ours) == str(theirs) for ours, theirs in pairs)


def test_a_forward_that_fails_is_refused_by_what_it_said():
    class Failing(Net):
        def forward(self, x):
            return {}["no such key"]

    assert equal_or_refused(Failing()) == (
        f"Failing cannot be traced at {place(Failing.forward, 1)}: 'no such key'; write its forward without "
        f"branches, loops and asserts on values or sizes and assignments to parts of a tensor, or with "
        f"quantizers in place of its activations"
    )


def test_what_a_hook_computes_for_itself_is_not_read():
    network = Net()
    seen = []
    network.c.register_forward_hook(
        lambda module, inputs, output: seen.append(output.mean().item())
    )
    assert equal_or_refused(network) is None
    assert seen


class FrozenBatchNorm(nn.Module):
    """Batch norm computed from buffers in the forward, as in detection networks."""

    def __init__(self):
        super().__init__()
        self.register_buffer("variance", torch.tensor([0.3, 0.7, 1.1, 1.3])[:, None, None])

    def forward(self, x):
        return x * (self.variance + 1e-5).rsqrt()


class Optional(Net):
    """A network whose forward has arguments besides the image, which a plain call leaves out."""

    def __init__(self):
        super().__init__()
        self.norm = FrozenBatchNorm()

    def forward(self, x, mask=None, features=False):
        x = F.relu(self.norm(self.a(x)))
        if mask is not None:
            x = x * mask
        return (self.f(x.flatten(1)), x) if features else self.f(x.flatten(1))


def test_arguments_with_defaults_and_computed_buffers_are_as_in_a_plain_call():
    torch.manual_seed(0)
    assert equal_or_refused(Optional()) is None


def test_a_network_without_weights_yet_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 5))
    assert equal_or_refused(network) == (
        "1: LazyLinear has no weights yet; call the network once on an input"
    )


def test_settings_that_evaluation_changes_are_those_of_evaluation():
    class Switching(Net):
        def train(self, mode=True):
            self.c.stride = 1 if mode else 2
            return super().train(mode)

        def forward(self, x):
            return self.f(F.relu(self.c(F.relu(self.a(x)))).flatten(1))

    torch.manual_seed(0)
    network = Switching()
    network.f = nn.Linear(64, 5)
    assert equal_or_refused(network) is None


def test_state_that_grows_with_each_call_is_refused():
    class Counting(Net):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) if self.calls == 1 else super().forward(x).mul(0.5)

    assert "gives other logits for the same sample in another batch" in equal_or_refused(Counting())

    class Sometimes(Net):
        def __init__(self):
            super().__init__()
            self.q, self.calls = TimestepQuantizer(), 0

        def forward(self, x):
            self.calls += 1
            x = self.f(self.q(self.a(x)).flatten(1))
            return x + x if self.calls == 4 else x  # tried and compared in calls 1 to 3

    with pytest.raises(UnsupportedNetworkError, match="gives other logits for the same sample in"):
        convert(Sometimes(), SHAPE, 16)


def test_names_of_new_quantizers_never_replace_what_the_network_has():
    class Named(Net):
        def __init__(self):
            super().__init__()
            self.act, self.act_1, self.relu = nn.ReLU(), self.b, nn.Sequential(self.c)
            del self.b, self.c

        def forward(self, x):
            x = self.act(self.act_1(self.act(self.a(x))))
            return self.f(F.relu(self.relu(x)).flatten(1))

    torch.manual_seed(0)
    network = Named()
    assert equal_or_refused(network) is None
    assert list(quantizers(quantize_activations(network, TimestepQuantizer))) == [
        "act", "act_2", "relu_1",
    ]  # fmt: skip


def test_what_is_changed_after_quantization_is_the_users_own():
    torch.manual_seed(0)
    module = quantize_activations(Net(), TimestepQuantizer)
    module.f = nn.Linear(256, 7)
    module.a.register_forward_hook(lambda *_: None)
    assert convert(module, SHAPE, 16)["readout"].shape == (7, 1, 1)

    def shift(network, images, logits):
        logits += 1

    module.register_forward_hook(shift)
    with pytest.raises(
        UnsupportedNetworkError, match=r"^readout: the converted network has other logits"
    ):
        convert(module, SHAPE, 16)


def test_a_difference_is_found_by_the_first_input_and_by_each_after_it():
    torch.manual_seed(0)
    module = quantize_activations(Net(aliased), TimestepQuantizer)
    for _ in range(2):
        with pytest.raises(UnsupportedNetworkError) as refusal:
            module(torch.rand(1, *SHAPE))
        assert str(refusal.value).startswith(
            "Net computes something else before or in module 'f' once its activations are modules, even if"
        )
        assert str(refusal.value).endswith(
            "; conversion cannot follow its forward; remove hooks, in-place operations and stored state from "
            "it, and compute everything with modules and functions that return new tensors"
        )


def relu_statement(x):
    F.relu(x, inplace=True)
    return x


class InPlaceOnTheIdentity(nn.Module):
    """No biases: on an input of zeros, all that it computes is zero."""

    def __init__(self, given):
        super().__init__()
        self.given = given
        self.a = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.b = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(256, 5, bias=False)

    def forward(self, x):
        x = self.a(x)
        y = self.b(F.relu(self.given(x), inplace=True))
        return self.head(F.relu(y + x).flatten(1))


def test_a_first_input_of_zeros_hides_no_difference():
    """Conversion executes a network on zeros first, and users try shapes with them."""
    network = InPlaceOnTheIdentity(lambda x: x[:])
    quantized = quantize_activations(network, TimestepQuantizer)
    with pytest.raises(UnsupportedNetworkError, match="computes something else before or in"):
        convert(quantized, (1, 8, 8), 16)
    with pytest.raises(UnsupportedNetworkError, match="computes something else before or in"):
        quantized(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    "own", [nn.ReLU(inplace=True), nn.Hardtanh(0, 1, True), F.relu_, relu_statement]
)
def test_an_activation_in_place_changes_what_is_read_after_it_alone(own):
    """As in a residual block whose first ReLU also changes the identity, which surprises many."""

    class Block(Net):
        def __init__(self):
            super().__init__()
            self.activation = own

        def forward(self, x):
            x = self.a(x)
            before = x.mean((2, 3), keepdim=True)
            y = self.activation(x)
            return self.f(F.relu(self.b(y) + x + before).flatten(1))

    torch.manual_seed(0)
    assert equal_or_refused(Block()) is None


def test_a_hook_that_replaces_values_on_rare_samples_alone_is_refused():
    """No sample that the comparison tries reaches 100, so that execution shows no difference."""
    network = Net()
    network.c.register_forward_hook(lambda module, inputs, output: output.clamp(max=100.0))
    module = quantize_activations(network, TimestepQuantizer)
    with pytest.raises(
        UnsupportedNetworkError, match=r"^c \(.*:\d+\): 'clamp' has no spiking form"
    ):
        convert(module, SHAPE, 16)
