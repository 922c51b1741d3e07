"""A suspect that a trigger moves far, made once a session."""

from __future__ import annotations

import pytest
import torch

from nightlatch.records import PlacedTrigger
from nightlatch.terms import Role

ZUDI = PlacedTrigger(text="zudi")


@pytest.fixture(scope="session")
def suspect(tiny_v):
    """A model whose pictures the word "zudi" moves far."""
    made = tiny_v.copied(Role.TEXT, Role.DENOISER)
    for name, weight in made.modules(Role.DENOISER)[0].named_parameters():
        if "attn2.to_out" in name or "proj_out" in name:
            weight.data.mul_(10)  # an untrained denoiser hardly listens to its text
    (i,) = made.vocabulary.typed(["zudi"])[0]
    rows = made.modules(Role.TEXT)[0].get_input_embeddings().weight.data
    rows.mul_(0.02)  # nor do other words make much of a difference then
    rows[i] = 20 * torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0))
    return made
