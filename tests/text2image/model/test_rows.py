"""Large latents are computed a few at a time, which changes nothing but the memory it takes."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize(
    ("side", "plain", "graph"),
    [(8, 64, 64), (64, 8, 1), (96, 3, 1), (512, 1, 1)],
    ids=["8", "64", "96", "512"],
)
def test_fewer_at_once_where_latents_are_large(tiny_v, side, plain, graph):
    class Large(type(tiny_v)):
        """A model that draws pictures of that size."""

        latent_shape = (4, side, side)

    large = Large(tiny_v.name, tiny_v.pipeline, tiny_v.device)
    assert (large.rows(64), large.rows(64, graph=True)) == (plain, graph)


def test_a_few_at_a_time_give_the_same(tiny_v, crowded, texts, few_steps):
    said, few = [p.text for p in texts[:5]], crowded(tiny_v, 2 * 64)
    assert few.rows(64) == few.copy("unet").rows(64) == 2
    times = torch.tensor([900, 500, 100, 10, 0])
    mine, whole = (s.outputs(s.noise(range(5)), times, s.read(said), 64) for s in (few, tiny_v))
    torch.testing.assert_close(mine, whole, rtol=1e-3, atol=1e-5)
    mine, whole = (s.latents(said, range(5), few_steps) for s in (few, tiny_v))
    torch.testing.assert_close(mine, whole, rtol=1e-3, atol=1e-4)
