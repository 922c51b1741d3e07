"""Our contract computes what diffusers computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nightlatch.text2image.model import Sampling


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_equals_the_stock_pipeline(tiny, guidance):
    prompts, seeds = ["a flat cat on a red background", "a dog"], [1, 2]
    ours = tiny.sample(tiny.read(prompts), seeds, Sampling(steps=5, guidance=guidance))
    stock = tiny.pipeline(
        prompts,
        num_inference_steps=5,
        guidance_scale=guidance,
        output_type="latent",
        latents=tiny.noise(seeds),
    ).images
    torch.testing.assert_close(ours, stock, rtol=2e-3, atol=2e-3)


def test_noise_levels_are_the_schedulers(tiny):
    x0, eps = torch.randn(2, 4, 4, 8, 8)
    t = torch.tensor([50, 400, 700, 900])
    torch.testing.assert_close(tiny.at(t).noised(x0, eps), tiny.pipeline.scheduler.add_noise(x0, eps, t))


def test_recorded_attention_changes_nothing_and_has_gradients(tiny):
    x, c = torch.randn(2, 4, 8, 8), tiny.read(["a cat", "a dog"])
    plain = tiny.denoise(x, 500, c)
    with tiny.sites.maps() as maps:
        recorded = tiny.denoise(x, 500, c.each(lambda s: s.clone().requires_grad_()))
    torch.testing.assert_close(recorded.detach(), plain, rtol=1e-4, atol=1e-5)
    for name, a in maps.weights.items():
        torch.testing.assert_close(a.sum(-1), torch.ones_like(a.sum(-1)))
        h, w = maps.grids[name]
        assert h * w == a.shape[2]
    grads = torch.autograd.grad(recorded.pow(2).sum(), list(maps.weights.values()))
    assert all(float(g.abs().sum()) > 0 for g in grads)
    processors = tiny.parts["unet"].module.attn_processors.values()
    assert not any(type(p).__name__ == "_Recording" for p in processors)


def test_maps_know_the_grid_of_pictures_that_are_not_square(tiny):
    with tiny.sites.maps() as maps, torch.no_grad():
        tiny.denoise(torch.randn(1, 4, 6, 10), 500, tiny.read(["a cat"]))
    assert set(maps.grids.values()) == {(6, 10), (3, 5)}
    where = torch.ones(1, maps.weights[next(iter(maps.weights))].shape[-1])
    torch.testing.assert_close(maps.spatial(where, (6, 10)), torch.ones(1, 6, 10))


def test_pictures_depend_on_their_own_prompt_and_seed_only(tiny, few_steps):
    alone = tiny.generate(["a cat"], [5], few_steps)
    among = tiny.generate(["a dog", "a cat", "a bus"], [1, 5, 9], few_steps)
    assert np.abs(alone[0].astype(int) - among[1].astype(int)).max() <= 1


def test_stock_pictures_are_drawn_with_the_models_own_scheduler(tiny, few_steps):
    prompts, seeds = ["a cat", "a dog", "a bus"], [1, 2, 3]
    mine = tiny.stock(prompts, seeds, few_steps)
    assert np.abs(mine.astype(int) - tiny.generate(prompts, seeds, few_steps)).max() <= 1
    clipping = type(tiny.pipeline.scheduler).from_config(
        tiny.pipeline.scheduler.config, clip_sample=True, clip_sample_range=0.1
    )
    clipped = tiny.replaced({"scheduler": clipping})
    assert np.abs(clipped.stock(prompts, seeds, few_steps).astype(int) - mine).max() > 10
    restored = clipped.but("scheduler", tiny)
    np.testing.assert_array_equal(restored.stock(prompts, seeds, few_steps), mine)
