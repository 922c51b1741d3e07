"""One formula for all predictions: it inverts itself, and it draws what diffusers' own schedulers draw."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from nightlatch.diffusion import sampler
from nightlatch.diffusion.schedule import Discrete, Flow, Schedule

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def ddim(predicts: str = "epsilon", spacing: str = "leading", **settings: object) -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        prediction_type=predicts,
        timestep_spacing=spacing,
        **settings,
    )


def discrete(stock: DDIMScheduler) -> Discrete:
    c = stock.config
    return Discrete(
        n=c.num_train_timesteps,
        abar=stock.alphas_cumprod,
        last=float(stock.final_alpha_cumprod),
        predicts=c.prediction_type,
        spacing=c.timestep_spacing,
        offset=c.steps_offset,
    )


def schedules() -> list[tuple[str, Schedule]]:
    return [*((p, discrete(ddim(p))) for p in PREDICTIONS), ("flow", Flow(n=1000, shift=3.0))]


def pull(x: torch.Tensor, t: float) -> torch.Tensor:
    """Some deterministic denoiser."""
    return torch.tanh(x * (1 + t / 1000)) + 0.1 * x


@pytest.mark.parametrize(("name", "schedule"), schedules())
def test_an_exact_output_gives_back_picture_and_noise(name, schedule):
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 4, 3, 8, 8, generator=generator).double()
    levels = schedule.at(torch.tensor([100, 400, 700, 900]))
    x, out = levels.noised(x0, eps), levels.target(x0, eps)
    torch.testing.assert_close(levels.x0(out, x), x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(levels.eps(out, x), eps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(levels.out(x0, x), out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "schedule"), schedules())
def test_a_difference_as_v_is_the_difference_of_v(name, schedule):
    generator = torch.Generator().manual_seed(1)
    x, one, other = torch.randn(3, 4, 3, 8, 8, generator=generator).double()
    levels = schedule.at(torch.tensor([200, 400, 600, 800]))

    def v(out: torch.Tensor) -> torch.Tensor:
        """e and f of v itself on this schedule: a, -s; for a flow its own output is the velocity."""
        eps, x0 = levels.eps(out, x), levels.x0(out, x)
        return eps - x0 if name == "flow" else levels.a * eps - levels.s * x0

    torch.testing.assert_close(levels.as_v(one - other), v(one) - v(other), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("spacing", "offset"), [("leading", 1), ("leading", 0), ("trailing", 0), ("linspace", 0)]
)
@pytest.mark.parametrize("steps", [1, 3, 7, 10])
def test_timesteps_equal_ddims(spacing, offset, steps):
    stock = ddim("epsilon", spacing, steps_offset=offset)
    stock.set_timesteps(steps)
    assert discrete(stock).times(steps) == [float(t) for t in stock.timesteps]


@pytest.mark.parametrize("predicts", PREDICTIONS)
@pytest.mark.parametrize(
    ("spacing", "steps"), [("leading", 1), ("leading", 7), ("leading", 10), ("trailing", 8)]
)
def test_sampling_equals_ddim(predicts, spacing, steps):
    """Where the steps divide the schedule: elsewhere DDIM's own step leads past the timestep that it takes
    next.
    """
    stock = ddim(predicts, spacing, steps_offset=int(spacing == "leading"), set_alpha_to_one=False)
    stock.set_timesteps(steps)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    mine = sampler.sample(discrete(stock), pull, x, steps)
    for t in stock.timesteps:
        x = stock.step(pull(x, float(t)), int(t), x).prev_sample
    torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 9])
def test_sampling_equals_flow_match_euler(shift, steps):
    stock = FlowMatchEulerDiscreteScheduler(shift=shift)
    stock.set_timesteps(steps)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    mine = sampler.sample(Flow(n=1000, shift=shift), pull, x, steps)
    for t in stock.timesteps:
        x = stock.step(pull(x, float(t)), t, x).prev_sample
    torch.testing.assert_close(mine, x, rtol=1e-3, atol=1e-3)


def test_no_timestep_lies_beyond_a_short_schedule():
    schedule = Discrete(n=60, abar=torch.linspace(0.99, 0.01, 60), offset=1)
    assert max(schedule.times(60)) == 59
    assert (schedule.at_share(1.0), schedule.at_share(0.5)) == (59, 30)
    drawn = schedule.draw(64, 0.7, generator=torch.Generator().manual_seed(0))
    assert 42 <= int(drawn.min()) <= int(drawn.max()) < 60


def test_guidance_of_one_needs_no_unconditional_pass():
    def never(x: torch.Tensor, t: float) -> torch.Tensor:
        raise AssertionError("an unconditional pass was made")

    assert sampler.guided(pull, never, 1.0) is pull
    x = torch.ones(1, 1, 2, 2)
    twice = sampler.guided(pull, lambda x, t: torch.zeros_like(x), 2.0)(x, 0.0)
    torch.testing.assert_close(twice, 2 * pull(x, 0.0))
