"""The four quantizers: their values, their gradients, and why Case 3 diverges."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.torch_module import convert
from toolchain.method.quantizers import (
    BitWidthStepQuantizer,
    BitWidthThresholdQuantizer,
    FixedTimestepQuantizer,
    SlipRelu,
    StepThresholdQuantizer,
    TimestepQuantizer,
    round_half_up,
)

CASES = {
    1: BitWidthStepQuantizer,
    2: BitWidthThresholdQuantizer,
    3: StepThresholdQuantizer,
    4: TimestepQuantizer,
}


def quantizer(case, t, alpha):
    """In float64, with ``alpha / d = t`` exactly up to rounding."""
    module = CASES[case](timesteps=t, threshold=alpha, max_timesteps=32).double()
    with torch.no_grad():
        if case in (1, 2):
            module.n.fill_(math.log2(t))
        if case in (1, 3):
            module.d.fill_(alpha / t)
        if case in (2, 3, 4):
            module.alpha.fill_(alpha)
        if case == 4:
            module.t.fill_(t)
    return module


@pytest.mark.parametrize("case", CASES)
def test_values_round_half_up_and_clip(case):
    x = torch.tensor([-1.0, 0.0, 0.24, 0.25, 0.74, 0.75, 1.0, 5.0], dtype=torch.float64)
    expected = torch.tensor([0, 0, 0, 0.5, 0.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert torch.equal(quantizer(case, 2, 1.0)(x).detach(), expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("t", "timesteps"), [(1.49, 1), (2.5, 3), (2.4, 2), (99.0, 32)])
@pytest.mark.filterwarnings("ignore:.*is capped at max_timesteps = 32")
def test_timesteps_are_an_integer_of_at_least_one(case, t, timesteps):
    module = quantizer(case, t, 1.0)
    assert float(module.timesteps.detach()) == timesteps
    top = module(torch.tensor(1e3, dtype=torch.float64)).detach()
    assert float(top) == pytest.approx(float(module.threshold.detach()), rel=1e-15)


def test_round_half_up_is_not_round_half_to_even():
    assert round_half_up(torch.tensor([0.5, 1.5, 2.5, -0.5])).tolist() == [1, 2, 3, 0]


def printed_gradients(case, levels, alpha, x, q):
    """The printed Eq. 7 to 10, extended by 0 for negative inputs."""
    d = alpha / levels
    if x < 0:
        return 0.0, 0.0
    if x > alpha:
        return {1: (math.log(2) * levels * d, levels), 2: (0, 1), 3: (0, 1), 4: (0, 1)}[case]
    return {
        1: (0, (q - x) / d),
        2: (-math.log(2) * (q - x), (q - x) / alpha),
        3: ((q - x) / d, 0),
        4: (-(q - x) / levels, (q - x) / alpha),
    }[case]


@pytest.mark.parametrize("case", CASES)
@given(levels=st.integers(1, 16), alpha=st.floats(0.1, 10), seed=st.integers(0, 2**31))
def test_gradients_are_the_printed_ones(case, levels, alpha, seed):
    module = quantizer(case, levels, alpha)
    x = torch.randn(20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * alpha
    x.requires_grad_()
    parameters = list(module.parameters())
    for value in x:
        q = module(value)
        gradients = torch.autograd.grad(q, [x, *parameters], allow_unused=True)
        v = float(value.detach())
        assert float(gradients[0].sum()) == (1.0 if 0 <= v <= alpha else 0.0)
        actual = [0.0 if g is None else float(g) for g in gradients[1:]]
        assert actual == pytest.approx(
            printed_gradients(case, levels, alpha, v, float(q.detach())), abs=1e-6
        )


def straight_through(case, module, x):
    """The quantizer in autograd's own operations, rounding and clipping included."""
    match case:
        case 1:
            levels = round_half_up(2**module.n).clamp(1, 32)
            step = module.d
        case 2:
            levels = round_half_up(2**module.n).clamp(1, 32)
            step = module.alpha / levels
        case 3:
            levels = round_half_up(module.alpha / module.d).clamp(1, 32)
            step = module.d
        case 4:
            levels = round_half_up(module.t).clamp(1, 32)
            step = module.alpha / levels
    return step * round_half_up(torch.minimum(torch.relu(x / step), levels))


@pytest.mark.parametrize("case", CASES)
@given(t=st.floats(1, 20), alpha=st.floats(0.1, 10), seed=st.integers(0, 2**31))
def test_gradients_are_autograd_s_through_straight_through_rounding(case, t, alpha, seed):
    """The gradients hold for any real t, n and d, for which the number of levels is rounded."""
    module = quantizer(case, t, alpha)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64) * alpha
    x.requires_grad_()
    weights = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    inputs = [x, *module.parameters()]
    own = torch.autograd.grad((module(x) * weights).sum(), inputs)
    reference = torch.autograd.grad((straight_through(case, module, x) * weights).sum(), inputs)
    for mine, expected in zip(own, reference, strict=True):
        assert torch.allclose(mine, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_clamp_keeps_the_parameters_where_the_quantizer_is_defined(case):
    for bad in (-3.0, 0.0, 1e6):
        module = quantizer(case, 4, 1.0)
        for parameter in module.parameters():
            torch.nn.init.constant_(parameter, bad)
        module.clamp_parameters()
        step, levels = (float(v.detach()) for v in module.step_and_levels())
        assert 1 <= levels <= 32
        assert 0 < step < math.inf


def test_case_3_diverges_without_a_bound_and_holds_with_one():
    """A smaller step rounds less, so d shrinks and T = alpha / d grows from 4 into the hundreds."""
    torch.manual_seed(0)
    levels = {}
    for bound in (None, 16):
        module = StepThresholdQuantizer(max_timesteps=bound)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        for _ in range(501):
            x = torch.randn(256)
            optimizer.zero_grad()
            (module(x) - torch.relu(x)).pow(2).mean().backward()
            optimizer.step()
            module.clamp_parameters()
        levels[bound] = float(module.timesteps.detach())
    assert levels[16] <= 16
    assert levels[None] > 300


def test_a_diverged_quantizer_is_refused_with_the_reason():
    module = StepThresholdQuantizer(max_timesteps=None)
    torch.nn.init.constant_(module.d, 1e-6)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), module, nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(UnsupportedNetworkError) as refusal:
        convert(network, (1, 4, 4), max_value=16)
    assert str(refusal.value) == (
        "1: the quantizer has T = 2e+06 levels, above the limit of 65,536; train it with max_timesteps (in "
        "Case 3, T = alpha / d grows as the step size d shrinks)"
    )


def test_qcfs_is_case_4_with_t_that_does_not_learn():
    x = torch.linspace(-1, 3, 50)
    qcfs, case4 = FixedTimestepQuantizer(8, 1.5), TimestepQuantizer(8, threshold=1.5)
    assert torch.equal(qcfs(x), case4(x))
    qcfs(x).sum().backward()
    assert qcfs.t.grad is None
    assert not qcfs.timestep_parameters()


def test_sliprelu_lies_between_the_clipped_relu_and_the_steps():
    x = torch.tensor([-1.0, 0.3, 0.6, 5.0])
    module = SlipRelu(2, threshold=1.0, slope=0.5)
    assert module(x).tolist() == pytest.approx([0, 0.5 * 0.3 + 0.25, 0.5 * 0.6 + 0.25, 1.0])
