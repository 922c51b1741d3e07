"""Honest fine-tuning of a repaired model."""

from __future__ import annotations

import pytest
import torch

from nightlatch.terms import Role
from nightlatch.text2image.verify import Regrowth, regrow


def weights(subject):
    return torch.cat([p.flatten() for m in subject.modules(Role.DENOISER, Role.TEXT) for p in m.parameters()])


@pytest.fixture(scope="module")
def once(tiny_v, texts, few_steps):
    return regrow(tiny_v, tiny_v, texts[:20], few_steps, 0, Regrowth(steps=1, pictures=20))


def test_a_copy_is_trained_text_encoder_and_denoiser_and_frozen_again(tiny_v, once):
    before = weights(tiny_v)
    for role in (Role.TEXT, Role.DENOISER):
        pairs = zip(once.modules(role)[0].parameters(), tiny_v.modules(role)[0].parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs)
    assert torch.equal(before, weights(tiny_v))
    assert once.modules(Role.DECODER)[0] is tiny_v.modules(Role.DECODER)[0]
    assert not any(p.requires_grad for part in once.parts.values() for p in part.module.parameters())


def test_the_first_step_has_the_whole_rate(tiny_v, once):
    """As somebody who trains on would do it: no warm-up, and no fall towards the end."""
    assert float((weights(once) - weights(tiny_v)).abs().max()) == pytest.approx(Regrowth().rate, rel=0.01)


def test_a_step_a_few_pictures_at_a_time_is_the_same(tiny_v, crowded, once, texts, few_steps):
    """A first step of AdamW moves every weight by the rate, so that only weights with hardly a gradient may
    go the other way.
    """
    few = regrow(
        crowded(tiny_v, 8 * 3 * 64), tiny_v, texts[:20], few_steps, 0, Regrowth(steps=1, pictures=20)
    )
    assert float((weights(few) - weights(once)).abs().gt(1e-5).float().mean()) < 0.01


def test_where_memory_does_not_hold_all_weights_a_lora_is_trained(tiny_v, texts, few_steps):
    made = regrow(tiny_v, tiny_v, texts[:20], few_steps, 0, Regrowth(steps=2, pictures=20, share=0.0, rank=2))
    for role in (Role.TEXT, Role.DENOISER):
        before = dict(tiny_v.modules(role)[0].named_modules())
        layers = [(n, m) for n, m in made.modules(role)[0].named_modules() if isinstance(m, torch.nn.Linear)]
        ranks = [int(torch.linalg.matrix_rank(m.weight - before[n].weight, rtol=1e-3)) for n, m in layers]
        assert max(ranks) == 2
        assert all(torch.equal(m.bias, before[n].bias) for n, m in layers if m.bias is not None)
    unet, was = made.modules(Role.DENOISER)[0], tiny_v.modules(Role.DENOISER)[0]
    assert torch.equal(unet.conv_in.weight, was.conv_in.weight)
    assert sorted(n for n, _ in unet.named_parameters()) == sorted(n for n, _ in was.named_parameters())
