"""The optimiser that attacks and repairs share."""

from __future__ import annotations

import torch

from nightlatch.diffusion.descent import Descent


def fall(steps: int, average: float = 0.0) -> torch.nn.Parameter:
    w = torch.nn.Parameter(torch.full((3,), 5.0), requires_grad=False)
    descend = Descent([w], steps, rate=0.5, average=average)
    for _ in range(steps):
        descend((w**2).sum())
    descend.finish()
    return w


def test_descends_and_freezes():
    w = fall(100)
    assert w.abs().max() < 0.5
    assert not w.requires_grad


def test_average_lags_behind_the_last_weights():
    assert fall(12, average=0.98).abs().mean() > fall(12).abs().mean()


def test_a_sum_of_losses_is_one_step():
    def stepped(in_parts: bool) -> torch.Tensor:
        w = torch.nn.Parameter(torch.tensor([5.0, -2.0, 1.0]))
        descend = Descent([w], 3, rate=0.5)
        for _ in range(3):
            value = descend.down(x**2 for x in w) if in_parts else descend((w**2).sum())
        return torch.cat([w.detach(), torch.tensor([value])])

    torch.testing.assert_close(stepped(True), stepped(False))


def test_a_rate_that_does_not_decay_stays_to_the_end():
    """Each step of AdamW under one gradient moves a weight by the rate."""
    w = torch.nn.Parameter(torch.zeros(1))
    descend = Descent([w], 4, rate=0.1, warm=1, decays=False)
    seen = []
    for _ in range(4):
        before = float(w.detach())
        descend(w.sum())
        seen.append(before - float(w.detach()))
    torch.testing.assert_close(torch.tensor(seen), torch.full((4,), 0.1), rtol=1e-3, atol=1e-5)


def test_bfloat16_weights_have_float32_masters():
    """Steps that bfloat16 would round away add up."""
    w = torch.nn.Parameter(torch.full((3,), 256.0, dtype=torch.bfloat16))
    descend = Descent([w], 1000, rate=0.01, warm=1, decays=False)
    for _ in range(200):
        descend(w.float().sum())
    assert descend.masters[0].dtype is torch.float32
    torch.testing.assert_close(w.detach().float(), torch.full((3,), 254.0), atol=0.1, rtol=0)
