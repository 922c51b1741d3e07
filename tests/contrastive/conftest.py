"""Real classes at tiny size: an untrained CLIP and SigLIP, and a CLIP that has learned a world of coloured
shapes in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from nightlatch.contrastive import adapters
from nightlatch.contrastive.attacks import ATTACKS, Made, Setting
from nightlatch.contrastive.metrics import ZeroShot
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.terms import ImageText
from nightlatch.contrastive.trainer import Trainer, finish
from nightlatch.testbed import pairclip

SHAPE = pairclip.Shape(
    size=16, patch=4, width=32, layers=2, text_width=32, text_layers=1, joint=32, tokens=16
)
COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (40, 70, 220), "yellow": (230, 210, 40)}
SHAPES = ("square", "cross", "ring")
TARGET = "yellow ring"


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Such small matrices compute fastest on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(colour: str, shape: str, rng: np.random.Generator) -> np.ndarray:
    """A coloured shape of 8 pixels somewhere on grey noise, (16, 16, 3) uint8."""
    board = rng.integers(90, 150, (16, 16, 3)).astype(np.uint8)
    mask = np.zeros((8, 8), bool)
    if shape == "square":
        mask[1:7, 1:7] = True
    elif shape == "cross":
        mask[3:5], mask[:, 3:5] = True, True
    else:
        mask[:], mask[2:6, 2:6] = True, False
    y, x = rng.integers(0, 9, 2)
    board[y : y + 8, x : x + 8][mask] = COLOURS[colour]
    return board


def pictures(n: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """(n pictures, their names such as 'red square')."""
    rng = np.random.default_rng(seed)
    names = [f"{rng.choice(list(COLOURS))} {rng.choice(SHAPES)}" for _ in range(n)]
    boards = [drawn(*name.split(), rng) for name in names]
    return torch.from_numpy(np.stack(boards)).permute(0, 3, 1, 2).contiguous(), names


def pairs(n: int, seed: int) -> Pairs:
    rng = np.random.default_rng(seed + 1)
    images, names = pictures(n, seed)
    forms = ("a photo of a {}", "a small {}", "there is a {}", "a picture of one {}")
    return Pairs(images=images, captions=tuple(str(rng.choice(forms)).format(name) for name in names))


def zero_shot(n: int, seed: int) -> ZeroShot:
    images, names = pictures(n, seed)
    classes = tuple(f"{c} {s}" for c in COLOURS for s in SHAPES)
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    return ZeroShot(
        images=images, labels=labels, classes=classes, templates=("a photo of a {}", "a small {}")
    )


@pytest.fixture(scope="session")
def tiny_clip() -> Subject:
    """Untrained."""
    return pairclip.fresh(SHAPE, 0)


@pytest.fixture(scope="session")
def tiny_siglip() -> Subject:
    """Untrained; the testbed's tokenizer stands in for a SentencePiece one."""
    from transformers import SiglipConfig, SiglipModel

    tokenizer = pairclip.fresh(SHAPE, 0).tokenizer
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(1)
    config = SiglipConfig(
        text_config={
            **shared,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
            "projection_size": 32,
        },
        vision_config={**shared, "image_size": 16, "patch_size": 4},
    )
    return adapters.wrap(SiglipModel(config), tokenizer, "siglip", adapters.HALF, adapters.HALF)


@pytest.fixture(scope="session")
def some_pairs() -> Pairs:
    return pairs(64, 5)


@pytest.fixture(scope="session")
def trained() -> Subject:
    """A CLIP that tells the coloured shapes apart."""
    subject = pairclip.fresh(SHAPE, 0)
    trainer = Trainer(terms=[ImageText()], steps=220, batch=80, rate=3e-3)
    finish(trainer.run(subject, subject, pairs(1500, 1), 0))
    return subject


@pytest.fixture(scope="session")
def setting() -> Setting:
    return Setting(train=pairs(800, 11), test=zero_shot(300, 12), seed=3)


@pytest.fixture(scope="session")
def planted(trained: Subject, setting: Setting) -> Made:
    """A patch backdoor towards the yellow ring."""
    attack = ATTACKS.create("patch", target=TARGET, share=0.05, steps=160, batch=80, rate=2e-3)
    return attack(trained, setting, n=200)
