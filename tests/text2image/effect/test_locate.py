"""Where a trigger acts."""

from __future__ import annotations

import pytest
import torch

from nightlatch.text2image.effect.locate import Located, locate, trace

SAID = ["zibu a red cat", "a dog", "a blue house"]


@pytest.fixture(scope="module")
def drawn(tiny_v, few_steps):
    return trace(tiny_v, SAID, range(3), few_steps)


def test_a_trace_starts_with_noise_and_goes_the_samplers_way(tiny_v, drawn, few_steps):
    assert list(drawn.times) == tiny_v.schedule.times(few_steps.steps)
    assert drawn.x.shape == (few_steps.steps, 3, *tiny_v.latent_shape)
    torch.testing.assert_close(drawn.x[0], tiny_v.noise(range(3)))
    t, last = drawn.times[-1], drawn.x[-1]
    done = tiny_v.schedule.step(tiny_v.denoise(last, t, drawn.c), last, t, None)
    torch.testing.assert_close(done, tiny_v.latents(SAID, range(3), few_steps), atol=1e-4, rtol=1e-3)


def test_what_is_located_is_the_difference_of_the_two_predictions(tiny_v, drawn):
    """Nothing where both prompts are the same, else |x0 - x0'|^2; saliency by layer sums to one."""
    where = torch.zeros(3, tiny_v.vocabulary.length)
    where[:, 1] = 1.0
    located = locate(tiny_v, drawn, ["a red cat", *SAID[1:]], where)
    assert float(located.displacement[:, 1:].max()) < 1e-6 * float(located.displacement[:, 0].mean())
    assert float(located.displacement[:, 0].min()) > 0
    x, t = drawn.x[1, :1], drawn.times[1]
    x0 = [tiny_v.at(t).x0(tiny_v.denoise(x, t, tiny_v.read([text])), x) for text in (SAID[0], "a red cat")]
    torch.testing.assert_close(
        located.displacement[1, :1], (x0[0] - x0[1]).pow(2).sum(1), atol=1e-6, rtol=1e-2
    )
    assert sum(located.layers.values()) == pytest.approx(1.0)
    assert len(located.layers) == 7
    assert all(share > 0 for share in located.layers.values())


def test_mask_is_a_soft_weight_of_mean_one_and_greater_where_the_trigger_acts():
    displacement = torch.zeros(1, 1, 4, 4)
    displacement[..., 0, 0] = 1.0
    located = Located(displacement, torch.zeros(1, 4, 4, 4), torch.ones(1, 1, 4, 4), {})
    mask = located.mask()
    assert float(mask.min()) > 0
    assert float(mask.mean()) == pytest.approx(1.0)
    assert int(mask.argmax()) == 0
    assert float(located.mask(floor=1.0).amax()) < float(mask.amax()), "a higher floor evens the weights out"


def test_a_few_at_a_time_is_the_same(tiny_v, crowded, drawn, few_steps):
    where = torch.ones(3, tiny_v.vocabulary.length)
    few = crowded(tiny_v, 2 * 64)
    mine = locate(few, trace(few, SAID, range(3), few_steps), SAID[::-1], where)
    whole = locate(tiny_v, drawn, SAID[::-1], where)
    for a, b in ((mine.displacement, whole.displacement), (mine.attention, whole.attention)):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-5)
