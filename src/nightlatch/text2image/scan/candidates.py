"""From changed weights to strings worth drawing: the sweep over the vocabulary, growth to full strings, and phrases for edited keys and values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nightlatch.records import Candidate, ComponentChange
from nightlatch.text2image.scan.fingerprint import changed_components
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.phrases import pairs
from nightlatch.text2image.scan.sweep import Tokens, grow, prune, sweep
from nightlatch.text2image.subject import Subject


@dataclass(frozen=True, slots=True)
class Found:
    """``strings`` to confirm with pictures, ``table`` of the sweep's best tokens, ``tested`` sentences for the report."""

    strings: tuple[Candidate, ...]
    table: tuple[Candidate, ...]
    tested: tuple[str, ...]


def candidates(gauge: Gauge, rows: tuple[ComponentChange, ...], keep: int, n: int, say: Callable[[str], None]) -> Found:
    """The ``n`` most displaced strings that a user could type, without doubles."""
    suspect = gauge.suspect
    tokens = [i for i in range(len(suspect.tokenizer)) if i not in suspect.tokenizer.all_special_ids]
    ranked = sweep(gauge, tokens, keep)
    level = gauge.level(tokens)
    say(f"sweep: {len(tokens)} tokens, largest robust z {ranked.z.max():.0f}")
    tested = [f"all {len(tokens)} tokens of the vocabulary in front of an ordinary prompt"]
    grown = grow(gauge, ranked, level)
    scored: dict[Tokens, float] = dict(zip(grown.sequences, map(float, grown.scores), strict=True))
    if edited_keys_and_values(rows):
        words = whole_words(suspect)
        phrases = pairs(suspect, gauge.base, words)
        values = gauge.displacement(phrases, ["", *(p.text for p in gauge.contexts[:1])]).mean(0) - level
        scored.update(zip(phrases, map(float, values), strict=True))
        tested.append(
            f"two-word phrases: the words to which the edit responds most with each of {len(words)} words before and after"
        )
        say(f"phrases: {len(phrases)} kept")
    z = float(ranked.z.max())
    made: dict[str, Candidate] = {}
    for s in sorted(scored, key=scored.__getitem__, reverse=True)[: 6 * n]:
        text = decoded(suspect, prune(gauge, s, level))
        if text and text not in made:
            made[text] = Candidate(text=text, score=scored[s], robust_z=z)
        if len(made) == n:
            break
    singles = zip(ranked.sequences[:20], ranked.scores, ranked.z, strict=False)
    table = tuple(Candidate(text=decoded(suspect, s), score=float(v), robust_z=float(k)) for s, v, k in singles)
    return Found(tuple(made.values()), table, tuple(tested))


def edited_keys_and_values(rows: tuple[ComponentChange, ...]) -> bool:
    """Whether the fingerprint is that of a closed-form edit."""
    return changed_components(rows) == ("unet",) and any("closed-form" in r.pattern for r in rows)


def whole_words(subject: Subject) -> list[int]:
    """Ids of tokens that are whole words of two or more letters."""
    vocabulary = subject.tokenizer.get_vocab()
    return [i for t, i in vocabulary.items() if t.endswith("</w>") and len(t) > 5 and t.removesuffix("</w>").isalpha()]


def decoded(subject: Subject, sequence: Tokens) -> str:
    """The string a user would type for ``sequence``."""
    return str(subject.tokenizer.decode(list(sequence))).strip()
