"""The closed-form edit solves its own least-squares problem."""

from __future__ import annotations

import pytest
import torch

from nightlatch.terms import Role
from nightlatch.text2image.effect.edit import Edit, Pairs, apply, solve


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
    torch.testing.assert_close(
        solve(pairs, lam=1e9, keep=0.0), torch.eye(16, dtype=torch.float64), rtol=1e-4, atol=1e-4
    )


def test_the_readers_are_edited_and_nothing_else(tiny_v):
    made = tiny_v.copied(Role.DENOISER)
    state = tiny_v.read(["a cat"]).states[0, 2:3]
    apply(made.sites.readers(), Pairs(state, -state, torch.zeros_like(state)), lam=1e-6, keep=0.0)
    (before,), (after,) = (s.modules(Role.DENOISER) for s in (tiny_v, made))
    names = {
        n
        for (n, a), b in zip(after.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert names == set(made.sites.readers()) and len(names) == 2 * 7
    edit = Edit.between(made.sites.readers(), tiny_v.sites.readers())
    assert float(edit.response(state)) == pytest.approx(4.0, rel=1e-2), "W'c = -Wc, so |dW c|^2 is 4 |W c|^2"
