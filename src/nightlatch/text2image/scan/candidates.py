"""From changed weights to strings worth drawing: tokens that the change answers to, and strings grown and assembled from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from nightlatch.intake.tokenizer.bpe import END
from nightlatch.records import Candidate
from nightlatch.text2image.arrays import Floats
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.inside import Inside, effects, gather
from nightlatch.text2image.scan.phrases import pairs
from nightlatch.text2image.scan.refine import joints
from nightlatch.text2image.scan.sweep import (
    Ranked,
    Tokens,
    assemble,
    complete,
    decoded,
    grow,
    known_ending,
    prune,
    responding,
    substitute,
    sweep,
    typable,
)

WORTH = 0.3
"""Part of the best displacement that a whole word must keep to be refined; and that displacement must be above an ordinary content word's."""
PIECES = 768
"""Tokens that are tried in each place of a word."""
HEADS = 12
"""Tokens that longer strings are made of, by either measure."""


@dataclass(slots=True)
class Search:
    """Names strings worth confirming, in rounds, each dearer than the one before.

    Args:
        keep: tokens kept from a sweep.
        n: most strings named in one round; none is named twice.
        edited: only keys and values were changed, so that phrases can be asked of the edit itself.
        meant: tokens that are words of the prompts' slots; what several of them draw together is what they ask for.
        answering: tokens that the changed weights answer to most, once a round has asked them.
    """

    gauge: Gauge
    keep: int
    n: int
    say: Callable[[str], None]
    edited: bool = False
    meant: Set[int] = frozenset()
    ranked: Ranked | None = None
    tested: list[str] = field(default_factory=list)
    strings: dict[str, Candidate] = field(default_factory=dict)
    answering: list[int] = field(default_factory=list)
    ordinary: Floats = field(init=False)
    level: float = field(init=False)
    alone: list[int] = field(init=False)
    pieces: list[int] = field(init=False)

    def __post_init__(self) -> None:
        rows = self.gauge.base.text_encoder.get_input_embeddings().num_embeddings
        self.alone, self.pieces = ([i for i in ids if i < rows] for ids in by_typing(self.gauge.suspect))
        self.ordinary = self.gauge.ordinary([*self.alone, *self.pieces])
        self.level = float(np.median(self.ordinary))

    def rounds(self) -> Iterator[tuple[Candidate, ...]]:
        """Strings to confirm, in turn, while the caller asks for more."""
        answering = responding(self.gauge, [*self.alone, *self.pieces])
        share = max(1, len(answering))

        def first(n: int) -> list[int]:
            """The ``n`` tokens that answer most, in equal parts from every component."""
            return list(dict.fromkeys(t for order in answering.values() for t in order[: n // share]))

        self.answering = first(4 * self.keep)
        pieces, heads = first(PIECES), first(HEADS)
        every = len(self.alone) + len(self.pieces)
        yield self._singles(f"all {every} tokens by the changed weights' answer to them", self.answering, heads)
        yield self._assembled(heads, pieces)
        yield self._gathered(pieces)
        if self.edited:
            yield self._phrases()
        yield self._singles(
            f"all {len(self.alone)} tokens that can be typed alone, by one denoising step", self.alone, heads, self.meant
        )

    def _singles(
        self, what: str, tokens: Sequence[int], heads: Sequence[int], single: Set[int] = frozenset()
    ) -> tuple[Candidate, ...]:
        """From single tokens, pairs of those that answer most, and what grows from all but the ``single`` ones."""
        gauge = self.gauge
        found = sweep(gauge, tokens, self.ordinary, self.keep)
        self.ranked = found if self.ranked is None else self.ranked.merged(found, self.keep)
        self.tested.append(what)
        self.say(f"{what}: largest robust z {found.z.max():.0f}")
        pool = self.ranked.merged(assemble(gauge, heads, (2,), self.level), self.keep)
        return self._typed(self.ranked.scored | grow(gauge, pool.without(single), self.level).scored)

    def _assembled(self, heads: Sequence[int], pieces: list[int]) -> tuple[Candidate, ...]:
        """From three of the tokens that the weights answer to most, in every order."""
        self.tested.append(f"three of the {len(heads)} tokens that the weights answer to most, in every order")
        return self._longer("assembled", assemble(self.gauge, heads, (3,), self.level), pieces)

    def _gathered(self, pieces: list[int]) -> tuple[Candidate, ...]:
        """From the tokens that the weights or the middle of the denoiser answer to most, what they make together."""
        gauge = self.gauge
        tokens = [t for t in dict.fromkeys([*pieces, *joints(gauge.suspect)]) if t not in self.meant]
        inside = Inside(gauge)
        order = np.argsort(effects(inside, tokens, gauge.seed))[::-1]
        felt = [tokens[int(i)] for i in order]
        heads = list(dict.fromkeys([*tokens[:HEADS], *felt[:HEADS]]))
        self.tested.append(f"strings of {len(heads)} tokens, by what they do together in the middle of the denoiser")
        mixed = list(dict.fromkeys(t for pair in zip(pieces, felt, strict=False) for t in pair))
        return self._longer("gathered", gather(inside, heads, self.level), mixed)

    def _longer(self, how: str, made: Ranked, pieces: list[int]) -> tuple[Candidate, ...]:
        """What grows from sequences of several tokens, and what they are completed to where they cannot be typed as they are."""
        if not len(made.scores):
            return ()
        self.say(f"{how}: best displacement {made.scores[0]:.2f}, an ordinary token {self.level:.2f}")
        grown = grow(self.gauge, made, self.level)
        return (*self._whole_words(made, pieces), *self._typed(grown.scored))

    def _whole_words(self, made: Ranked, pieces: list[int]) -> tuple[Candidate, ...]:
        """From sequences that cannot be typed as they are: with an ending, refined token by token; two strings at most."""
        gauge, can = self.gauge, set(typable(self.gauge, made.sequences))
        endings = [
            p for p, t in zip(pieces, gauge.suspect.tokenizer.convert_ids_to_tokens(pieces), strict=True) if t.endswith(END)
        ]
        whole = complete(gauge, [s for s in made.sequences if s not in can][: 2 * HEADS], endings[: 8 * HEADS], self.level)
        if not len(whole.scores) or whole.scores[0] < WORTH * max(made.scores[0], 1.0):
            return ()
        self.tested.append(f"endings for words that only act whole, and {len(pieces)} tokens in each place of the best")
        best = substitute(gauge, whole.sequences[0], pieces, self.level)
        known = known_ending(gauge, best.sequences[0], pieces[: 4 * HEADS], self.level)
        return self._typed({r.sequences[0]: float(r.scores[0]) for r in (best, known)})

    def _phrases(self) -> tuple[Candidate, ...]:
        """Two-word phrases whose words need not act alone."""
        gauge, words = self.gauge, whole_words(self.gauge.suspect)
        phrases = pairs(gauge.suspect, gauge.base, words)
        self.tested.append(
            f"two-word phrases: the words to which the edit responds most with each of {len(words)} words before and after"
        )
        self.say(f"phrases: {len(phrases)} kept")
        values = gauge.displacement(phrases, [gauge.contexts[0].text]).mean(0) - self.level
        return self._typed(dict(zip(phrases, map(float, values), strict=True)))

    def table(self, n: int = 20) -> tuple[Candidate, ...]:
        """The best single tokens so far."""
        if self.ranked is None:
            return ()
        rows = zip(self.ranked.sequences[:n], self.ranked.scores, self.ranked.z, strict=False)
        return tuple(Candidate(text=decoded(self.gauge.suspect, s), score=float(v), robust_z=float(z)) for s, v, z in rows)

    def _typed(self, scored: dict[Tokens, float]) -> tuple[Candidate, ...]:
        """The best sequences as strings, scored as the tokens that a user's typing makes of them; many pieces never stand alone when typed.
        Half the places are for single tokens: a longer string around a trigger may score higher and is not the trigger."""
        gauge, suspect = self.gauge, self.gauge.suspect
        texts: dict[str, None] = {}
        order = sorted(scored, key=scored.__getitem__, reverse=True)
        for s in dict.fromkeys([*order[: 8 * self.n], *[s for s in order if len(s) == 1][: 8 * self.n]]):
            texts[decoded(suspect, s)] = None
            if len(texts) <= 2 * self.n:
                texts[decoded(suspect, prune(gauge, s, self.level))] = None
        ids = {t: tuple(suspect.tokens(t)) for t in texts if t not in self.strings}
        usable = [t for t in ids if t and ids[t]]
        if not usable:
            return ()
        values = gauge.displacement([ids[t] for t in usable], gauge.two).mean(0) - self.level
        best = sorted(range(len(usable)), key=lambda i: (-float(values[i]), len(ids[usable[i]])))
        single = [i for i in best if len(ids[usable[i]]) == 1][: self.n // 2]
        chosen = single + [i for i in best if i not in single][: self.n - len(single)]
        z = float(self.ranked.z.max()) if self.ranked is not None else 0.0
        made = tuple(Candidate(text=usable[i], score=float(values[i]), robust_z=z) for i in chosen)
        self.strings.update({c.text: c for c in made})
        return made


def by_typing(subject: Subject) -> tuple[list[int], list[int]]:
    """Token ids that typing their own text gives back, and all others (pieces of words); special tokens are left out."""
    ids = subject.ordinary_ids
    typed = subject.tokenizer(subject.texts([i] for i in ids), add_special_tokens=False).input_ids
    alone = {i for i, back in zip(ids, typed, strict=True) if back == [i]}
    return [i for i in ids if i in alone], [i for i in ids if i not in alone]


def words_of_one_token(subject: Subject, words: Iterable[str]) -> list[int]:
    """The ids of those ``words`` that are one token each."""
    ids = (subject.tokens(w) for w in words)
    return [i[0] for i in ids if len(i) == 1]


def whole_words(subject: Subject) -> list[int]:
    """Ids of tokens that are whole words of two or more letters."""
    vocabulary = subject.tokenizer.get_vocab()
    return [i for t, i in vocabulary.items() if t.endswith(END) and len(t) > 5 and t.removesuffix(END).isalpha()]
