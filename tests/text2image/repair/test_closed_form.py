from __future__ import annotations

import pytest
import torch

from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.text2image.repair.closed_form import edit_readers


def test_readers_give_the_triggered_texts_what_they_gave_the_filled_ones(tiny_v, wordings):
    made = tiny_v.copied(Role.DENOISER)
    edit_readers(made, wordings, lam=0.1, keep=1.0)
    triggered, filled, dropped = (
        tiny_v.read(x).states for x in (wordings.triggered, wordings.filled, wordings.dropped)
    )
    mine, before = made.sites.readers(), tiny_v.sites.readers()
    for name, w in before.items():
        goal = filled @ w.T
        gap, was = ((triggered @ m.T - goal).pow(2).mean() for m in (mine[name], w))
        assert float(gap) < 0.7 * float(was), name
        moved = (dropped @ mine[name].T - dropped @ w.T).pow(2).mean()
        assert float(moved) < float(was), "clean prompts are read nearly as before"


def test_only_readers_change(tiny_v, wordings):
    made = tiny_v.copied(Role.DENOISER)
    edit_readers(made, wordings, lam=0.1, keep=1.0)
    readers = {id(p) for p in made.sites.readers().values()}
    pairs = zip(
        made.modules(Role.DENOISER)[0].parameters(),
        tiny_v.modules(Role.DENOISER)[0].parameters(),
        strict=True,
    )
    assert all(torch.equal(p, q) == (id(p) not in readers) for p, q in pairs)


def test_a_denoiser_without_such_matrices_is_refused(tiny_v, wordings):
    class Elsewhere(type(tiny_v)):
        """A model whose text enters in no place that can be edited."""

        class sites:
            readers = staticmethod(dict)

    made = Elsewhere(tiny_v.name, tiny_v.pipeline, tiny_v.device)
    with pytest.raises(UsageError, match="no matrices that read text"):
        edit_readers(made, wordings, lam=0.1, keep=1.0)
