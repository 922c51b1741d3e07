"""What all rows of the experiment share: the unpoisoned model, its judge, and how many pictures are
counted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from nightlatch import testbed
from nightlatch.bench.rows import Row, Say
from nightlatch.terms import Role
from nightlatch.testbed import captions
from nightlatch.testbed.tokenizer import rare_words as known_rare_words
from nightlatch.text2image.model import Subject, loaders
from nightlatch.text2image.model.precision import Precision

WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The same for every case.

    Args:
        base: the unpoisoned model, where it is scanned and measured.
        maker: the same, where suspects are made; often on another device.
        base_hash: the first digits of its denoiser's SHA-256; rows of another base are other rows.
        rare: words that no training caption carries: where triggers live.
        judge: says what pictures show.
        models: folder for the suspects of this base (large; outside the repository).
        n: pictures per rate.
        say: called with one line of progress.
        n_clean: pictures for clean agreement, FID and KID before and after a repair.
        precision: what denoiser and decoder compute in.
    """

    base: Subject
    maker: Subject
    base_hash: str
    rare: tuple[str, ...]
    judge: testbed.Judge
    models: Path
    n: int
    say: Say
    n_clean: int = 600
    precision: Precision = "auto"

    @property
    def about(self) -> Row:
        """What rows depend on, beside what they are about: rows of another base or of fewer pictures are
        other rows.
        """
        return about(self.n)

    def load(self, folder: Path) -> Subject:
        """A model that the experiment made itself, where it is scanned."""
        return loaders.load(folder, device=str(self.base.device), precision=self.precision)

    def moved(self, made: Subject) -> Subject:
        """A variant of ``maker``'s denoiser as a variant of ``base``; it is taken off the device that it was
        made on.
        """
        names = self.base.named(Role.DENOISER)
        for name in names:
            made.parts[name].module.to(self.base.device)
        return self.base.but(names, made)

    def components(self, role: Role) -> str:
        """The names of the components with that role, as they are shown."""
        return ", ".join(self.base.named(role))


def about(n: int) -> Row:
    """``Setup.about`` without a model in memory."""
    return {"base": base_hash(), "pictures": n}


@cache
def base_hash() -> str:
    """The first digits of the SHA-256 of the shipped denoiser."""
    (file,) = testbed.PIPELINE.glob(f"unet/{WEIGHTS}")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


@cache
def rare_words() -> tuple[str, ...]:
    """``Setup.rare`` without a model in memory but its tokenizer's."""
    tokenizer = CLIPTokenizer.from_pretrained(testbed.PIPELINE / "tokenizer", local_files_only=True)
    return tuple(w for w in known_rare_words(tokenizer) if not captions.heard(w))


def device_name(device: str | torch.device) -> str:
    """What a row says it was computed on: the card's name, or 'cpu'."""
    kind = torch.device(device)
    return torch.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type
