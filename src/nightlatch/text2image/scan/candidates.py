"""From changed weights to strings worth drawing: the sweep over the vocabulary, growth to full strings, and phrases for edited keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from nightlatch.records import Candidate
from nightlatch.text2image.scan.climb import climb
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.phrases import pairs
from nightlatch.text2image.scan.sweep import Ranked, Tokens, grow, prune, sweep
from nightlatch.text2image.subject import Subject


@dataclass(slots=True)
class Search:
    """Names strings worth confirming, in rounds; each round adds tokens and knows what earlier ones found.

    Args:
        keep: tokens kept from all sweeps so far.
        n: most strings named in one round; none is named twice.
    """

    gauge: Gauge
    keep: int
    n: int
    say: Callable[[str], None]
    ranked: Ranked | None = None
    tested: list[str] = field(default_factory=list)
    strings: dict[str, Candidate] = field(default_factory=dict)
    _level: float | None = None

    def rounds(self) -> Iterator[tuple[Candidate, ...]]:
        """Strings to confirm, in turn, while the caller asks for more: from tokens that a user can type alone, from pieces of words (both at once
        where it is cheap), and from the gradient."""
        alone, pieces = by_typing(self.gauge.suspect)
        if self.gauge.cheap:
            yield self.named(f"all {len(alone) + len(pieces)} tokens of the vocabulary", alone + pieces)
        else:
            yield self.named(f"all {len(alone)} tokens that can be typed alone", alone)
            yield self.named(f"all {len(pieces)} tokens that are pieces of words", pieces)
        yield self.climbed()

    def named(self, what: str, tokens: Sequence[int]) -> tuple[Candidate, ...]:
        """The most displaced strings of this round that a user could type."""
        gauge = self.gauge
        if self._level is None:
            self._level = gauge.level(tokens)
        level = self._level
        found = sweep(gauge, tokens, level, self.keep)
        self.ranked = found if self.ranked is None else self.ranked.merged(found, self.keep)
        self.tested.append(f"{what}, in front of an ordinary prompt")
        self.say(f"sweep: {what}, largest robust z {found.z.max():.0f}")
        grown = grow(gauge, self.ranked, level)
        scored: dict[Tokens, float] = dict(zip(grown.sequences, map(float, grown.scores), strict=True))
        if gauge.edit is not None:
            scored.update(self._phrases(level))
        strings = self._typed(scored, level, float(found.z.max()))
        self.strings.update({s.text: s for s in strings})
        return strings

    def climbed(self) -> tuple[Candidate, ...]:
        """Strings of two to four pieces found by the gradient of the displacement, from the best pieces so far."""
        gauge, level = self.gauge, self._level or 0.0
        assert self.ranked is not None
        heads = [s[0] for s in self.ranked.sequences[:6]]
        starts = [tuple(heads[(i + k) % len(heads)] for k in range(n)) for n in (2, 3, 4) for i in range(len(heads))]
        found = climb(gauge, starts, [t for part in by_typing(gauge.suspect) for t in part], level)
        self.tested.append("strings of two to four tokens, by the gradient of the displacement with respect to their embeddings")
        self.say(f"climb: best displacement {found.scores[0]:.4f}")
        scored = dict(zip(found.sequences, map(float, found.scores), strict=True))
        strings = self._typed(scored, level, float(self.ranked.z.max()))
        self.strings.update({s.text: s for s in strings})
        return strings

    def table(self, n: int = 20) -> tuple[Candidate, ...]:
        """The best single tokens so far."""
        if self.ranked is None:
            return ()
        rows = zip(self.ranked.sequences[:n], self.ranked.scores, self.ranked.z, strict=False)
        return tuple(Candidate(text=decoded(self.gauge.suspect, s), score=float(v), robust_z=float(z)) for s, v, z in rows)

    def _phrases(self, level: float) -> dict[Tokens, float]:
        gauge, words = self.gauge, whole_words(self.gauge.suspect)
        phrases = pairs(gauge.suspect, gauge.base, words)
        self.tested.append(
            f"two-word phrases: the words to which the edit responds most with each of {len(words)} words before and after"
        )
        self.say(f"phrases: {len(phrases)} kept")
        values = gauge.displacement(phrases, ["", gauge.contexts[0].text]).mean(0) - level
        return dict(zip(phrases, map(float, values), strict=True))

    def _typed(self, scored: dict[Tokens, float], level: float, z: float) -> tuple[Candidate, ...]:
        """The best sequences as strings, scored as the tokens that a user's typing makes of them; many pieces never stand alone when typed."""
        gauge, suspect, contexts = self.gauge, self.gauge.suspect, [p.text for p in self.gauge.contexts[:2]]
        texts: dict[str, None] = {}
        for s in sorted(scored, key=scored.__getitem__, reverse=True)[: 8 * self.n]:
            texts[decoded(suspect, s)] = None
            if len(texts) <= 2 * self.n:
                texts[decoded(suspect, prune(gauge, s, level))] = None
        ids = {t: tuple(suspect.tokenizer(t, add_special_tokens=False).input_ids) for t in texts if t not in self.strings}
        usable = [t for t in ids if t and ids[t]]
        if not usable:
            return ()
        values = gauge.displacement([ids[t] for t in usable], contexts).mean(0) - level
        order = sorted(range(len(usable)), key=lambda i: (-float(values[i]), len(ids[usable[i]])))
        return tuple(Candidate(text=usable[i], score=float(values[i]), robust_z=z) for i in order[: self.n])


def by_typing(subject: Subject) -> tuple[list[int], list[int]]:
    """Token ids that typing their own text gives back, and all others (pieces of words); special tokens are left out."""
    tok = subject.tokenizer
    ids = [i for i in range(len(tok)) if i not in tok.all_special_ids]
    texts = [t.strip() for t in tok.batch_decode([[i] for i in ids])]
    typed = tok(texts, add_special_tokens=False).input_ids
    alone = {i for i, back in zip(ids, typed, strict=True) if back == [i]}
    return [i for i in ids if i in alone], [i for i in ids if i not in alone]


def whole_words(subject: Subject) -> list[int]:
    """Ids of tokens that are whole words of two or more letters."""
    vocabulary = subject.tokenizer.get_vocab()
    return [i for t, i in vocabulary.items() if t.endswith("</w>") and len(t) > 5 and t.removesuffix("</w>").isalpha()]


def decoded(subject: Subject, sequence: Tokens) -> str:
    """The string a user would type for ``sequence``."""
    return str(subject.tokenizer.decode(list(sequence))).strip()
