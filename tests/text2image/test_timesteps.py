"""Schedules with other than 1,000 timesteps work, too."""

import dataclasses

import pytest
from diffusers import DDIMScheduler

from nightlatch.text2image.model import Sampling


@pytest.fixture
def short(tiny_v):
    changed = {"num_train_timesteps": 60, "timestep_spacing": "leading", "steps_offset": 1}
    return dataclasses.replace(tiny_v, schedule=DDIMScheduler.from_config({**tiny_v.schedule.config, **changed}))


def test_no_timestep_lies_beyond_the_schedule(short):
    times = short.timesteps(60)
    assert max(times) == 59
    assert times == sorted(times, reverse=True)
    assert short.times_at(1.0, 0.5) == (59, 30)
    assert 42 <= int(short.random_times(64, 0.7).min()) <= int(short.random_times(64).max()) < 60


def test_every_timestep_of_a_short_schedule_can_be_sampled(short):
    assert short.latents(["a dog"], [0], Sampling(steps=60)).isfinite().all()


def test_regrowth_keeps_to_the_schedule(short):
    from nightlatch import testbed
    from nightlatch.text2image.verify import regrow

    assert regrow(short, short, testbed.prompts(8, 0), Sampling(steps=2), 2, 0).unet is not short.unet
