"""What tells each rival apart: its attention loss trains, it finds the timesteps, it aims away from the trigger."""

from __future__ import annotations

import math

import pytest
import torch

from nightlatch.terms import Role
from nightlatch.text2image.repair import METHODS
from nightlatch.text2image.repair.attention_guided import token_maps, token_positions
from nightlatch.text2image.repair.noise_consistency import located_times


def weights(subject):
    return [p.clone() for p in subject.modules(Role.DENOISER)[0].parameters()]


def test_the_attention_loss_alone_changes_weights(tiny_v, job):
    """In the released code it has no gradient."""
    part = METHODS.create("skd-cag", steps=2, batch=4, prompts=4, attention=1.0, harm_limit=math.inf)
    repaired, record = part(tiny_v, job)
    assert record.changed_tensors > 0
    assert record.history[0]["loss"] > 0
    changed = [n for (n, p), q in zip(repaired.modules(Role.DENOISER)[0].named_parameters(), weights(tiny_v), strict=True)
               if not torch.equal(p, q)]  # fmt: skip
    assert any("attn2.to_k" in n for n in changed)
    assert any("attn2.to_q" in n for n in changed)


def test_maps_are_one_a_token_scaled_to_one(tiny_v, texts):
    c = tiny_v.read([p.text for p in texts[:3]])
    x = tiny_v.noise([0, 1, 2])
    with tiny_v.sites.maps() as maps, torch.no_grad():
        tiny_v.denoise(x, 500.0, c)
    made = token_maps(maps, (8, 8))
    assert made.shape == (3, c.states.shape[1], 8, 8)
    assert torch.allclose(made.amin((-2, -1)), torch.zeros(3, made.shape[1]))
    assert torch.allclose(made.amax((-2, -1)), torch.ones(3, made.shape[1]))


def test_the_triggers_tokens_are_those_in_which_the_texts_differ(tiny_v):
    own, inside = token_positions(tiny_v, ["april a cat", "a cat"], ["congress a cat", "a dog"])
    assert own[1].nonzero()[:, 0].tolist() == [2]
    assert inside[1].nonzero()[:, 0].tolist() == [1, 2, 3]
    assert own[0].nonzero()[:, 0].tolist() == [1]


@pytest.mark.parametrize(("jump", "at"), [((2,), [2, 3]), ((), [0, 1])])
def test_inconsistent_timesteps_are_located(jump, at):
    noise = torch.Generator().manual_seed(0)
    ordinary = 1 + 0.1 * torch.rand(5, 8, generator=noise)
    attacked = ordinary.clone()
    attacked[0] += 1e-3  # none stands out: the one that jumps most is taken
    for k in jump:
        attacked[k] += 5
    assert located_times(attacked, ordinary, 2.0).tolist() == at


def test_erasure_aims_beyond_the_empty_prompt(tiny_v, job):
    """One long step down: the output for the trigger alone moves to the empty prompt's side."""
    part = METHODS.create("esd", steps=30, batch=8, drawings=4, rate=1e-3, harm_limit=math.inf)
    repaired, record = part(tiny_v, job)
    assert record.history[-1]["loss"] < record.history[0]["loss"]
    c, empty, x = tiny_v.read(["zibu"]), tiny_v.read([""]), tiny_v.noise([3])
    with torch.no_grad():
        free, told = (tiny_v.denoise(x, 500.0, k) for k in (empty, c))
        out = repaired.denoise(x, 500.0, c)
    along = float(((out - told) * (free - told)).sum() / (free - told).pow(2).sum())
    assert along > 0
