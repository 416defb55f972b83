"""Muon against its definition and against PyTorch's optimisers."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segexp.models import UNet
from segexp.training.muon import Muon, orthogonal


def test_a_matrix_with_singular_values_of_one_comes_out_by_hand():
    """s -> a s + b s^3 + c s^5, five times, from s = 1 / sqrt(2), the normalised singular values of the identity."""
    value = 0.5**0.5
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    torch.testing.assert_close(orthogonal(torch.eye(2)), value * torch.eye(2))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_it_keeps_the_directions_and_levels_the_singular_values(rows, columns, size, seed):
    rng = np.random.default_rng(seed)
    rank = min(rows, columns)
    left, right = (np.linalg.qr(rng.normal(size=(side, rank)))[0] for side in (rows, columns))
    matrix = (left * rng.uniform(0.3, 1, rank)) @ right.T * size
    found = left.T @ orthogonal(torch.tensor(matrix, dtype=torch.float32)).double().numpy() @ right
    np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-3)
    assert np.all((np.diag(found) > 0.65) & (np.diag(found) < 1.25))


def test_a_kernel_without_gradient_is_only_decayed():
    assert torch.equal(orthogonal(torch.zeros(8, 9)), torch.zeros(8, 9))
    kernel = nn.Parameter(torch.ones(8, 8, 3, 3))
    kernel.grad = torch.zeros_like(kernel)
    Muon([kernel], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(kernel.detach(), torch.full((8, 8, 3, 3), 0.95))


@pytest.mark.parametrize("shape", [(16, 8), (8, 24)])
def test_matrices_are_those_of_pytorch(shape):
    """PyTorch's own Muon iterates in bfloat16."""
    torch.manual_seed(0)
    one, other = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    mine = Muon([one], lr=0.05, weight_decay=0.1, momentum=0.9, scale=0.2)
    theirs = torch.optim.Muon([other], lr=0.05, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        one.grad = torch.randn(shape)
        other.grad = one.grad.clone()
        mine.step()
        theirs.step()
    moved = (other - 0.995**5).detach()
    assert (one - other).norm() < 0.03 * moved.norm()


def test_other_parameters_are_those_of_adamw():
    """Biases, scales of norms, the first and the last kernel, and depthwise kernels."""
    torch.manual_seed(0)
    shapes = [(5,), (), (16, 1, 3, 3), (1, 16, 1, 1), (4, 4)]
    one, other = ([nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    pair = (
        Muon(one, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9)),
        torch.optim.AdamW(other, 0.05, (0.8, 0.9), weight_decay=0.1),
    )
    for _ in range(5):
        for mine, theirs in zip(one, other, strict=True):
            mine.grad = torch.randn(mine.shape)
            theirs.grad = mine.grad.clone()
        for optimizer in pair:
            optimizer.step()
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_step_of_a_kernel_has_the_size_of_the_rate():
    torch.manual_seed(0)
    for shape in ((16, 16, 3, 3), (64, 8, 1, 1), (8, 32, 2, 2)):
        kernel = nn.Parameter(torch.zeros(shape))
        kernel.grad = 1e-4 * torch.randn(shape)
        Muon([kernel], lr=0.01, scale=0.4).step()
        assert kernel.detach().square().mean().sqrt() == pytest.approx(0.004, rel=0.2)


def trained(steps, rate):
    torch.manual_seed(0)
    model = UNet(1, 1, widths=(8, 16))
    optimizer = Muon(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(2, 1, 16, 16)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def test_a_rate_on_the_device_is_the_same_as_a_number():
    for mine, theirs in zip(
        trained(3, 0.5**7)[0].parameters(), trained(3, torch.tensor(0.5**7))[0].parameters(), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_step_with_gradients_that_are_not_finite_changes_nothing(steps):
    model, optimizer = trained(steps, 0.01)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    kept = [{name: value.clone() for name, value in optimizer.state[p].items()} for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    for parameter, old, state in zip(model.parameters(), before, kept, strict=True):
        assert torch.equal(parameter, old)
        assert all(torch.equal(optimizer.state[parameter][name], value) for name, value in state.items())
        assert all(value.isfinite().all() for value in optimizer.state[parameter].values())
    optimizer.found_inf = torch.tensor(0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert not any(torch.equal(parameter, old) for parameter, old in zip(model.parameters(), before, strict=True))


def test_a_saved_state_goes_on_where_it_was():
    model, optimizer = trained(2, 0.01)
    other, fresh = trained(0, 0.01)
    other.load_state_dict(model.state_dict())
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        ours.grad = torch.randn(ours.shape)
        theirs.grad = ours.grad.clone()
    optimizer.step()
    fresh.step()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    "values", [{"lr": -1}, {"weight_decay": -1}, {"momentum": 1}, {"momentum": -0.1}, {"betas": (0.9, 1)}, {"scale": 0}]
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))}=.*out of range"):
        Muon([nn.Parameter(torch.ones(2))], **values)
