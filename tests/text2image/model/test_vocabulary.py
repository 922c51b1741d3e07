"""What typing gives, and what a sequence of tokens reads as."""

from __future__ import annotations

import torch

from nightlatch.text2image.model.clip import ClipVocabulary
from nightlatch.text2image.scan.strings import short_tokens


def test_framed_tokens_are_what_typing_gives(tiny_v):
    v = tiny_v.vocabulary
    text = "zudi a flat cat"
    word, *_ = v.typed(["zudi"])
    assert torch.equal(v.framed([word], "a flat cat")[0], v.ids([text])[0])


def test_every_token_alone_comes_back_and_no_piece_does(tiny_v):
    v = tiny_v.vocabulary
    assert all(t == (i,) for i, t in zip(v.alone, v.typed(v.texts([i] for i in v.alone)), strict=True))
    some = v.pieces[:200]
    assert all(t != (i,) for i, t in zip(some, v.typed(v.texts([i] for i in some)), strict=True))
    assert set(v.alone).isdisjoint(v.pieces)


def test_words_are_letters_and_end(tiny_v):
    v = tiny_v.vocabulary
    assert all(text.isalpha() for text in v.texts([i] for i in v.words))
    assert all(v.ends(i) for i in v.words[:100])


def test_unpadded_rows_are_as_long_as_they_need_to_be(tiny_v):
    (short,) = tiny_v.vocabulary.framed([(5,), (6,)], padded=False)
    assert short.shape == (2, 3)


def test_nothing_typed_is_nothing(tiny_v):
    assert tiny_v.vocabulary.typed([]) == []


def test_tokens_without_a_row_are_nowhere_asked_for(tiny_v):
    v = tiny_v.vocabulary
    fewer = ClipVocabulary(v.tokenizer, v.length, v.size - 40, v.readers)
    assert max(fewer.ordinary) >= fewer.size > max(fewer.known)
    for asked in (fewer.alone, fewer.pieces, fewer.words, short_tokens(fewer, most=len(fewer.known))):
        assert set(asked) <= set(fewer.known)
