"""Renoising: no strength gives the sample back, an exact denoiser gives samples of its own kind, and tables
are those of diffusers.
"""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from nightlatch.diffusion import tables, training
from nightlatch.diffusion.renoise import renoise_denoise, times_from

SPREAD, CENTRE = 0.5, 2.0


def test_tables_are_those_of_diffusers():
    linear = DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    torch.testing.assert_close(
        tables.linear(1000, 1e-4, 0.02).abar, linear.alphas_cumprod, atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(
        tables.cosine(1000).abar,
        DDIMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod,
        atol=1e-5,
        rtol=1e-3,
    )


def test_times_fall_and_none_comes_twice():
    table = tables.cosine(1000)
    assert times_from(table, 0.5, 5) == [500, 400, 300, 200, 100]
    assert times_from(table, 0.002, 10) == [2, 1, 0]


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction", "sample"])
def test_an_exact_denoiser_draws_far_samples_to_its_own_kind(predicts):
    """For x ~ N(2, 0.5^2) the posterior mean is known; the more strength, the nearer a far sample comes."""
    table = tables.linear(1000, 1e-4, 0.02, predicts)

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        now = table.at(t, x.ndim)
        gain = now.a * SPREAD**2 / (now.a**2 * SPREAD**2 + now.s**2)
        return now.out(CENTRE + gain * (x - now.a * CENTRE), x)

    far = torch.full((4000, 1), 8.0)
    assert torch.equal(renoise_denoise(table, denoise, far, 0.0, 10), far)
    generator = torch.Generator().manual_seed(0)
    means = [float(renoise_denoise(table, denoise, far, s, 40, generator).mean()) for s in (0.1, 0.4, 1.0)]
    assert 8 > means[0] > means[1] > means[2]
    drawn = renoise_denoise(table, denoise, far, 1.0, 100, generator)
    assert float(drawn.mean()) == pytest.approx(CENTRE, abs=0.1)
    assert float(drawn.std()) == pytest.approx(SPREAD, rel=0.1)


def test_training_finds_the_mean_of_flat_data():
    """With x0 always 3 the best epsilon is (x - 3 a) / s; a layer that is told a and s learns it."""
    torch.manual_seed(0)
    table, layer = tables.linear(100, 1e-4, 0.05, "sample"), nn.Linear(1, 1)
    average = training.Average(layer, 0.9)
    losses = [
        float(value)
        for _, value in training.train(
            layer,
            lambda _: training.loss(table, lambda x, t: layer(x), torch.full((64, 1), 3.0)),
            200,
            0.1,
            average=average,
        )
    ]
    assert losses[-1] < 0.05 * losses[0]
    torch.testing.assert_close(
        average.averaged()(torch.zeros(1, 1)), layer(torch.zeros(1, 1)), atol=0.2, rtol=0.2
    )


def test_the_rate_rises_and_falls_to_nothing():
    layer = nn.Linear(1, 1)
    down = torch.optim.SGD(layer.parameters(), 1.0)
    cycle, seen = training.cycle(down, 40, 0.25), []
    for _ in range(40):
        seen.append(down.param_groups[0]["lr"])
        down.step()
        cycle.step()
    assert max(seen) == pytest.approx(1.0, abs=0.05)
    assert seen.index(max(seen)) in (9, 10, 11)
    assert seen[0] < 0.2
    assert seen[-1] < 0.01
