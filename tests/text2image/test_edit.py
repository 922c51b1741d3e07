"""The closed-form edit solves its own least-squares problem."""

from __future__ import annotations

import torch

from nightlatch.text2image.edit import Pairs, cross_attention_matrices, solve


def problem(seed: int = 0) -> tuple[torch.Tensor, Pairs]:
    g = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randn(n, 16, generator=g)  # noqa: E731
    return torch.randn(8, 16, generator=g), Pairs(draw(5), draw(5), draw(40))


def objective(w: torch.Tensor, w0: torch.Tensor, p: Pairs, lam: float, keep: float) -> torch.Tensor:
    to_goal = (p.source @ w.T - p.goal @ w0.T).pow(2).sum() / len(p.source)
    held = (p.held @ w.T - p.held @ w0.T).pow(2).sum() / len(p.held)
    return to_goal + keep * held + lam * (w - w0).pow(2).sum()


def test_solution_has_no_gradient():
    w0, pairs = problem()
    w = (w0.double() @ solve(pairs, lam=0.3, keep=0.7)).requires_grad_()
    double = Pairs(*(x.double() for x in (pairs.source, pairs.goal, pairs.held)))
    (grad,) = torch.autograd.grad(objective(w, w0.double(), double, 0.3, 0.7), w)
    assert float(grad.abs().max()) < 1e-4


def test_strong_regularisation_changes_nothing():
    _, pairs = problem()
    torch.testing.assert_close(solve(pairs, lam=1e9, keep=0.0), torch.eye(16, dtype=torch.float64), rtol=1e-4, atol=1e-4)


def test_only_cross_attention_keys_and_values_are_edited(tiny_v):
    names = cross_attention_matrices(tiny_v.unet)
    assert len(names) == 2 * 7
    assert all(p.shape[1] == 32 for p in names.values())
