"""What a pass keeps for the way back is counted, and let go."""

from __future__ import annotations

import gc
import weakref

import torch

from nightlatch.diffusion.memory import give_back, kept_by


def test_what_a_pass_keeps_is_counted_once_and_not_what_is_there_anyway():
    w, x = torch.nn.Parameter(torch.ones(100, 100)), torch.ones(8, 100)
    there = {w.untyped_storage().data_ptr(), x.untyped_storage().data_ptr()}
    assert kept_by(lambda: ((x @ w).exp() * 2).sum(), there) == 8 * 100 * 4
    assert kept_by(lambda: (x @ w).sum(), set()) == x.numel() * 4
    x.requires_grad_(True)
    assert kept_by(lambda: (x @ w).sum(), set()) == (x.numel() + w.numel()) * 4


def test_a_look_at_a_pass_keeps_nothing_of_it():
    """exp keeps its own output: held by the node that made it, it would hold all that went before."""

    def looked_at() -> weakref.ref[torch.Tensor]:
        w = torch.nn.Parameter(torch.ones(1000))
        assert kept_by(lambda: (2 * w).exp().sum(), set()) == 4000
        return weakref.ref(w)

    held = looked_at()
    gc.collect()
    assert held() is None


def test_giving_back_is_no_error_on_any_system(monkeypatch):
    give_back()
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    give_back()
