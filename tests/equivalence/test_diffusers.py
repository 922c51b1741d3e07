"""Our contract computes what diffusers computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nightlatch.text2image import probe
from nightlatch.text2image.subject import Sampling


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_equals_the_stock_pipeline(tiny, guidance):
    prompts, seeds = ["a flat cat on a red background", "a dog"], [1, 2]
    ours = tiny.sample(tiny.encode(prompts), seeds, Sampling(steps=5, guidance=guidance))
    stock = tiny.pipeline(
        prompts, num_inference_steps=5, guidance_scale=guidance, output_type="latent", latents=tiny.noise(seeds)
    ).images
    torch.testing.assert_close(ours, stock, rtol=2e-3, atol=2e-3)


def test_conversions_agree_with_the_schedule(tiny):
    x0, eps = torch.randn(4, 4, 8, 8), torch.randn(4, 4, 8, 8)
    t = torch.tensor([50, 400, 700, 900])
    x = tiny.add_noise(x0, eps, t)
    torch.testing.assert_close(x, tiny.schedule.add_noise(x0, eps, t))
    out = tiny.target(x0, eps, t)
    torch.testing.assert_close(tiny.to_x0(out, x, t), x0, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(tiny.to_eps(out, x, t), eps, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(tiny.from_x0(tiny.to_x0(out, x, t), x, t), out, rtol=1e-3, atol=1e-3)


def test_recorded_attention_changes_nothing_and_has_gradients(tiny):
    x, c = torch.randn(2, 4, 8, 8), tiny.encode(["a cat", "a dog"])
    plain = tiny.denoise(x, 500, c)
    with probe.attention(tiny.unet) as maps:
        recorded = tiny.denoise(x, 500, c.clone().requires_grad_())
    torch.testing.assert_close(recorded.detach(), plain, rtol=1e-4, atol=1e-5)
    for a in maps.values():
        torch.testing.assert_close(a.sum(-1), torch.ones_like(a.sum(-1)))
    grads = torch.autograd.grad(recorded.pow(2).sum(), list(maps.values()))
    assert all(float(g.abs().sum()) > 0 for g in grads)
    assert not any(type(m).__name__ == "_Recording" for m in tiny.unet.attn_processors.values())


def test_pictures_depend_on_their_own_prompt_and_seed_only(tiny, few_steps):
    alone = tiny.generate(["a cat"], [5], few_steps)
    among = tiny.generate(["a dog", "a cat", "a bus"], [1, 5, 9], few_steps)
    assert np.abs(alone[0].astype(int) - among[1].astype(int)).max() <= 1
