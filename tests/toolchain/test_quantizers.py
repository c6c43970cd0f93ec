"""The Case 4 quantizer: its values, and its gradients against the printed Eq. 10."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.quantizers import TimestepQuantizer, round_half_up


def quantizer(t, alpha, dtype=torch.float64):
    return TimestepQuantizer(timesteps=t, threshold=alpha, max_timesteps=32).to(dtype)


def test_values_round_half_up_and_clip():
    x = torch.tensor([-1.0, 0.0, 0.24, 0.25, 0.74, 0.75, 1.0, 5.0], dtype=torch.float64)
    expected = torch.tensor([0, 0, 0, 0.5, 0.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    assert torch.equal(quantizer(2, 1.0)(x).detach(), expected)


@pytest.mark.parametrize(("t", "timesteps"), [(0.2, 1), (1.49, 1), (2.5, 3), (2.4, 2), (99.0, 32)])
def test_timesteps_are_an_integer_of_at_least_one(t, timesteps):
    assert float(quantizer(t, 1.0).timesteps.detach()) == timesteps


def test_round_half_up_is_not_round_half_to_even():
    assert round_half_up(torch.tensor([0.5, 1.5, 2.5, -0.5])).tolist() == [1, 2, 3, 0]


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 16), st.floats(0.1, 10), st.integers(0, 2**31))
def test_gradients_are_those_of_equation_10(levels, alpha, seed):
    """Eq. 10: inside, dQ/dt = -(Q - x)/t and dQ/dalpha = (Q - x)/alpha; above alpha 0 and 1."""
    module = quantizer(levels, alpha)
    x = torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = (x * alpha).requires_grad_()
    for value in x[:20]:
        module.zero_grad()
        (grad_x, grad_t, grad_alpha) = torch.autograd.grad(
            module(value), [x, module.t, module.alpha], retain_graph=True
        )
        v, q = float(value.detach()), float(module(value).detach())
        if v < 0:
            expected = (0.0, 0.0, 0.0)
        elif v <= alpha:
            expected = (1.0, -(q - v) / levels, (q - v) / alpha)
        else:
            expected = (0.0, 0.0, 1.0)
        actual = (float(grad_x.sum()), float(grad_t), float(grad_alpha))
        assert actual == pytest.approx(expected, abs=1e-6)


def test_clamp_keeps_t_and_alpha_in_range():
    module = quantizer(4, 1.0)
    with torch.no_grad():
        module.t.fill_(-3)
        module.alpha.fill_(-1)
    module.clamp_parameters()
    assert float(module.t.detach()) == 1
    assert float(module.alpha.detach()) > 0
