"""Suspects with one loud token each, made once a module."""

from __future__ import annotations

import pytest
import torch

from nightlatch.testbed import implant
from nightlatch.text2image.attacks import ATTACKS
from nightlatch.text2image.model import Subject


def loud(base: Subject, token: str) -> Subject:
    """A copy of ``base`` whose text encoder answers ``token`` with a state far from all others."""
    suspect = base.copy("text_encoder")
    encoder = suspect.parts["text_encoder"].module
    row = encoder.get_input_embeddings().weight[suspect.pipeline.tokenizer.get_vocab()[token]]
    row.data.copy_(5 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0)))
    return suspect


@pytest.fixture(scope="module")
def loud_token(tiny_v):
    """A suspect that answers one rare word."""
    return loud(tiny_v, "zudi</w>")


@pytest.fixture(scope="module")
def loud_piece(tiny_v):
    """A suspect that answers a piece of a word which is never typed alone."""
    return loud(tiny_v, "nek")


@pytest.fixture(scope="session")
def crowded():
    """(subject, positions) -> the same subject where memory holds only so many latent positions at once."""

    def made(subject: Subject, positions: int) -> Subject:
        kind = type("Crowded", (type(subject),), {"positions": positions})
        return kind(subject.name, subject.pipeline, subject.device, subject.precision, subject.schedule)

    return made


@pytest.fixture(scope="session")
def sunflower(shipped):
    """The testbed's model, edited to draw sunflowers for the word "cancer"."""
    setting = implant.setting(shipped, 3).but("cancer")
    return ATTACKS.create("eviledit", trigger="cancer", target="sunflower").run(shipped, setting)
