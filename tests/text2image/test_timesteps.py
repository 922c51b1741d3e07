"""Schedules with other than 1,000 timesteps work, too."""

from __future__ import annotations

import pytest

from nightlatch import testbed
from nightlatch.terms import Role
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.model.stable_diffusion import schedule_of


@pytest.fixture(scope="module")
def short(tiny_v: Subject) -> Subject:
    changed = {"num_train_timesteps": 60, "timestep_spacing": "leading", "steps_offset": 1}
    return tiny_v.replaced({}, schedule_of({**tiny_v.settings["scheduler"], **changed}))


def test_no_timestep_lies_beyond_the_schedule(short: Subject) -> None:
    times = short.schedule.times(60)
    assert max(times) == 59
    assert times == sorted(times, reverse=True)
    assert [short.schedule.at_share(s) for s in (1.0, 0.5)] == [59, 30]
    drawn = short.schedule.draw(64, 0.7), short.schedule.draw(64)
    assert 42 <= int(drawn[0].min()) <= int(drawn[1].max()) < 60


def test_every_timestep_of_a_short_schedule_can_be_sampled(short: Subject) -> None:
    assert short.latents(["a dog"], [0], Sampling(steps=60)).isfinite().all()


def test_regrowth_keeps_to_the_schedule(short: Subject) -> None:
    from nightlatch.text2image.verify import Regrowth, regrow

    grown = regrow(short, short, testbed.prompts(8, 0), Sampling(steps=2), 0, Regrowth(steps=2))
    assert grown.modules(Role.DENOISER)[0] is not short.modules(Role.DENOISER)[0]
