"""Small image-text models of transformers' own classes, and their training on a corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from nightlatch.contrastive import adapters
from nightlatch.contrastive.augment import Views
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms import ImageText, InModal, Term
from nightlatch.contrastive.trainer import Trainer
from nightlatch.testbed import PIPELINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a small CLIP is; the defaults train in minutes on one accelerator."""

    size: int = 48
    patch: int = 8
    width: int = 160
    layers: int = 4
    text_width: int = 128
    text_layers: int = 2
    joint: int = 128
    tokens: int = 32


TINY = Shape(size=32, patch=8, width=64, layers=2, text_width=64, text_layers=1, joint=48)
"""What tests and two processor cores can train."""


def fresh(shape: Shape, seed: int) -> Subject:
    """An untrained model with the testbed's tokenizer."""
    torch.manual_seed(seed)
    tokenizer = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer")
    tokenizer.model_max_length = shape.tokens
    special = {k: getattr(tokenizer, k) for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": shape.text_width,
        "intermediate_size": 4 * shape.text_width,
        "num_hidden_layers": shape.text_layers, "num_attention_heads": max(1, shape.text_width // 32),
        "max_position_embeddings": shape.tokens, "projection_dim": shape.joint, **special,
    }  # fmt: skip
    vision = {
        "hidden_size": shape.width, "intermediate_size": 4 * shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": max(1, shape.width // 32), "image_size": shape.size, "patch_size": shape.patch,
        "projection_dim": shape.joint,
    }  # fmt: skip
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=shape.joint))
    return adapters.wrap(model, tokenizer, f"small-clip-{seed}", adapters.HALF, adapters.HALF)


def train(
    subject: Subject, pairs: Pairs, steps: int, batch: int, rate: float, seed: int, in_modal: float = 0.0,
    say: Callable[[int], None] | None = None,
) -> Subject:  # fmt: skip
    """``subject`` trained in place on other views of ``pairs``, as CLIP is; with ``in_modal`` as CleanCLIP's
    hard case is.
    """
    terms: list[Term] = [ImageText(views=True), *([InModal(weight=in_modal)] if in_modal else [])]
    mild = Views(mirror=0.0, smallest=0.7, turn=0.1, colour=0.2, grey=0.0, blur=0.1, cut=0.0)
    trainer = Trainer(
        terms=terms, steps=steps, batch=batch, rate=rate, warm=max(1, steps // 20), decay=0.05, views=mild
    )
    for step, _ in trainer.run(subject, subject, pairs, seed):
        if say is not None:
            say(step)
    return subject
