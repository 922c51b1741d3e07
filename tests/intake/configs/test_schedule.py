"""Our own reading of a scheduler's numbers is diffusers', and every usual schedule passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from nightlatch.intake.configs import schedule
from nightlatch.intake.configs.fields import ConfigProblem, Fields

USUAL: list[dict[str, Any]] = [
    {},
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear"},
    {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "linear"},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"num_train_timesteps": 500, "trained_betas": [0.02 * (i + 1) / 500 for i in range(500)]},
    {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
]


@pytest.mark.parametrize("config", USUAL, ids=str)
def test_usual_schedules_pass_and_are_read_as_diffusers_reads_them(config: dict[str, Any]) -> None:
    schedule.check(Fields(config))
    theirs = DDIMScheduler(**{**config, "rescale_betas_zero_snr": False}).alphas_cumprod
    ours = torch.cumprod(1 - torch.tensor(schedule.betas(Fields(config)), dtype=torch.float64), 0)
    assert torch.allclose(ours.float(), theirs, rtol=1e-3, atol=1e-8)


def test_a_number_that_overflows_is_refused() -> None:
    with pytest.raises(ConfigProblem, match="divides by zero"):
        schedule.check(Fields({"num_train_timesteps": 1000, "trained_betas": [0.9] * 1000}))
