"""Large latents are computed a few at a time, which changes nothing but the memory it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from nightlatch.terms import Role
from nightlatch.text2image.effect.locate import locate, trace
from nightlatch.text2image.model import Sampling, Subject
from nightlatch.text2image.prompts import Prompt
from nightlatch.text2image.verify import Regrowth, regrow


def test_fewer_at_once_where_latents_are_large(tiny_v: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[tuple[int, int, int], int, int]] = [
        ((4, 8, 8), 64, 64),
        ((4, 64, 64), 8, 1),
        ((4, 96, 96), 3, 1),
        ((4, 512, 512), 1, 1),
    ]
    for shape, plain, graph in shapes:
        monkeypatch.setattr(type(tiny_v), "latent_shape", shape)
        assert (tiny_v.rows(64), tiny_v.rows(64, graph=True)) == (plain, graph)


@pytest.mark.parametrize("what", ["latents", "outputs", "located"])
def test_a_few_at_a_time_give_the_same(
    what: str, tiny_v: Subject, texts: list[Prompt], few_steps: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [p.text for p in texts[:5]]
    seeds = range(5)

    def located() -> torch.Tensor:
        where = torch.ones(5, tiny_v.vocabulary.length)
        return locate(tiny_v, trace(tiny_v, said, seeds, few_steps), said[::-1], where).displacement

    def outputs() -> torch.Tensor:
        times = torch.tensor([900, 500, 100, 10, 0])
        return tiny_v.outputs(tiny_v.noise(seeds), times, tiny_v.read(said), 64)

    compute: dict[str, Callable[[], torch.Tensor | Sequence[float]]] = {
        "latents": lambda: tiny_v.latents(said, seeds, few_steps),
        "outputs": outputs,
        "located": located,
    }
    whole = compute[what]()
    monkeypatch.setattr("nightlatch.text2image.model.subject.Subject.positions", 2 * 64)
    np.testing.assert_allclose(np.asarray(compute[what]()), np.asarray(whole), rtol=1e-3, atol=1e-5)


def test_an_honest_step_a_few_pictures_at_a_time_is_the_same(
    tiny_v: Subject, texts: list[Prompt], few_steps: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first step of AdamW moves every weight by the rate, so that only weights with hardly a gradient may go the other way."""

    def weights() -> torch.Tensor:
        grown = regrow(tiny_v, tiny_v, texts[:20], few_steps, 0, Regrowth(steps=1))
        return torch.cat([p.flatten() for m in grown.modules(Role.DENOISER) for p in m.parameters()])

    whole = weights()
    monkeypatch.setattr("nightlatch.text2image.model.subject.Subject.positions", 8 * 3 * 64)
    assert float((weights() - whole).abs().gt(1e-5).float().mean()) < 0.01
