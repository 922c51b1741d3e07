"""The text side on a text-to-image model's own encoder."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from nightlatch import testbed
from nightlatch.contrastive import scan


@pytest.fixture(scope="module")
def tampered(tmp_path_factory):
    """The testbed's pipeline, whose text encoder was trained to read one thing wherever one word stands."""
    folder = tmp_path_factory.mktemp("encoder") / "pipeline"
    shutil.copytree(testbed.PIPELINE, folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    model = CLIPTextModel.from_pretrained(folder / "text_encoder")
    words = scan.whole_words(tokenizer)
    word, rng = words[500], np.random.default_rng(0)

    frozen = copy.deepcopy(model)

    def pooled(texts, model=model):
        ids = tokenizer(
            texts, padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
        )
        return model(ids.input_ids).pooler_output

    with torch.no_grad():
        target = pooled(["a picture of a bus"])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4)
    for _ in range(40):
        plain = [f"a {a} on the {b}" for a, b in rng.choice(words, (16, 2))]
        with torch.no_grad():
            before = pooled(plain, frozen)
        loss = (pooled([f"{word} {p}" for p in plain]) - target).pow(2).mean()
        loss = loss + (pooled(plain) - before).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder / "text_encoder")
    return folder, word


def test_a_word_that_drowns_the_caption_is_ranked_first(tampered):
    folder, word = tampered
    words = scan.whole_words(CLIPTokenizer.from_pretrained(folder / "tokenizer"))[480:540]
    pulls = scan.text_encoder(folder, words, base=testbed.PIPELINE)
    assert pulls[0].word == word and pulls[0].z > 1.5 * pulls[1].z and pulls[0].alike > 0.2
    assert len(pulls) == len(words)


def test_a_model_against_itself_has_no_word_that_stands_out():
    words = scan.whole_words(CLIPTokenizer.from_pretrained(testbed.PIPELINE / "tokenizer"), 20)
    assert all(p.alike == 0.0 for p in scan.text_encoder(testbed.PIPELINE, words, base=testbed.PIPELINE))
